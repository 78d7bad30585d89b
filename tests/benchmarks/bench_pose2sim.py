"""From the same detections to trajectories: posemill beside Pose2Sim, in one run.

POSEMILL_PEERS=PYTHON python -m tests.benchmarks.bench_pose2sim --data FOLDER [--rounds 3]      (bar: 3 times faster)

POSEMILL_PEERS names a Python that has Pose2Sim. Detections are those of our own network in `single_balancing` (100 instants,
four cameras, one person and bystanders), written once as OpenPose JSON. Pose2Sim associates, triangulates and filters them with
the settings of its demo; posemill imports them and associates, triangulates, refines, judges and exports them as Parquet. CPU
seconds, the fewest of the rounds, without starting either Python.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import session_config
from pipeline.job import LocalRunner, StopAfter, build_dataset
from pipeline.pose_rows import stream_poses2d
from pipeline.session import load_session, save_session
from pipeline.status import finished
from pipeline.store import Store
from pipeline.tables import frames_of
from tests.benchmarks.bench_flows import LIGHT, balancing

BAR = 3.0
AFTER = ("detect", "reconstruct", "audit", "export")  # of ours: detect only reads the JSON here


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with pose2sim_4cam")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    if not os.environ.get("POSEMILL_PEERS"):
        raise SystemExit("POSEMILL_PEERS names no Python with Pose2Sim")
    data = asked.data / "pose2sim_4cam"
    with tempfile.TemporaryDirectory() as folder:
        detections = detected(data, Path(folder))
        ours = [run_ours(data, Path(folder) / f"ours{n}", detections) for n in range(asked.rounds)]
        theirs = [run_peer(data, Path(folder) / f"peer{n}", detections) for n in range(asked.rounds)]
    mine, theirs_s = best("posemill", ours), sum(best("Pose2Sim", theirs).values())
    print(f"detections to 3D: {theirs_s / (mine['detect'] + mine['reconstruct']):.1f} times faster (bar {BAR:g}); "
          f"to Parquet with pictures: {theirs_s / sum(mine.values()):.1f} times")  # fmt: skip


def best(name: str, rounds: list[dict[str, float]]) -> dict[str, float]:
    """The fewest seconds of each part over the rounds, printed."""
    least = {part: min(each[part] for each in rounds) for part in rounds[0]}
    print(f"{name}: {sum(least.values()):.2f} s ({', '.join(f'{part} {s:.2f}' for part, s in least.items())})")
    return least


def detected(data: Path, folder: Path) -> Path:
    """Detections of every camera as OpenPose JSON in calibrated pixels: DETECTIONS/CAMERA_json/CAMERA_FRAME.json."""
    root, out = balancing(data, folder / "detect"), folder / "detections"
    store = Store(root)
    with suppress(StopAfter):
        build_dataset(store, session_config(store.session, "", LIGHT), LocalRunner(store, "detect"))
    for ref, made in finished(root, ("ingest", "calibrate", "detect"), "", LIGHT):
        if made.kind == "detect":
            write_openpose(ref.only("ingest").path, made.path, ref.part, out / f"{ref.part}_json")
    return out


def write_openpose(frames: Path, poses: Path, camera: str, folder: Path) -> None:
    folder.mkdir(parents=True)
    at = {pose.t_ns: pose for pose in stream_poses2d(poses, 17)}
    for index, times in frames_of(frames, camera).items():
        pose = at.get(times[0])
        people = [] if pose is None else [_person(xy, s) for xy, s in zip(pose.xy_px, pose.score, strict=True)]
        content = {"version": 1.3, "people": people}
        (folder / f"{camera}_{index:06d}.json").write_text(json.dumps(content))


def _person(xy_px: np.ndarray, score: np.ndarray) -> dict[str, Any]:
    rows = np.nan_to_num(np.column_stack([xy_px, score]))
    return {"person_id": [-1], "pose_keypoints_2d": rows.ravel().round(3).tolist()}


def run_ours(data: Path, root: Path, detections: Path) -> dict[str, float]:
    session = load_session(balancing(data, root))
    [clip] = session.clips
    given = {camera: str(detections / f"{camera}_json") for camera in session.cameras}
    clips = (clip.model_copy(update={"detections": given}),)
    save_session(session.model_copy(update={"clips": clips}), root)
    store = Store(root)
    runner = LocalRunner(store)
    build_dataset(store, session_config(store.session, "", LIGHT), runner)
    return {stage: sum(step.cpu_s for step in runner.steps if step.stage == stage) for stage in AFTER}


def run_peer(data: Path, project: Path, detections: Path) -> dict[str, float]:
    shutil.copytree(detections, project / "pose")
    (project / "calibration").mkdir()
    shutil.copy(data / "calib" / "Calib_qualisys.toml", project / "calibration")
    script = Path(__file__).with_name("peer_pose2sim.py").resolve()
    command = [os.environ["POSEMILL_PEERS"], str(script), str(project)]
    # In a folder that has a `calibration` Pose2Sim takes that for the project's.
    done = subprocess.run(command, capture_output=True, text=True, cwd=project, env={**os.environ, "MPLBACKEND": "Agg"})
    if done.returncode:
        raise SystemExit(f"Pose2Sim failed: {done.stderr[-2000:]}")
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


if __name__ == "__main__":
    main()
