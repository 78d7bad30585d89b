"""The main job on a small virtual session: its result, what a second run does, and runs that are killed or run out of disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import pyarrow.parquet as pq
import pytest

from pipeline.demo import compare_cameras, make_demo_session
from pipeline.job import STAGES
from pipeline.store import Ref
from pipeline.studio import StudioConfig
from pipeline.types import Artefact

POSEMILL = Path(sys.executable).with_name("posemill")
STUDIO = StudioConfig(people=1, people_instants=4, board_instants=30, size_wh=(640, 480))
# Small images: this is about what is done when, not about how well people are found.
SETTINGS = {"detect": {"size_px": 192, "flip": False}, "augment": {"every": 4, "steps": 2}, "rectify": {"depth_every": 4}}


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual session nobody has run yet; tests work on copies."""
    from pipeline.session import load_session, save_session

    root = tmp_path_factory.mktemp("filmed") / "session"
    make_demo_session(root, STUDIO)
    session = load_session(root)
    config = {**session.config, **SETTINGS}
    save_session(session.model_copy(update={"config": config}), root)
    return root


@pytest.fixture(scope="module")
def finished(filmed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The session after one undisturbed run."""
    root = _copy(filmed, tmp_path_factory.mktemp("finished"))
    assert _run(root)["made"] > 0
    return root


def _copy(session: Path, folder: Path) -> Path:
    """The session elsewhere; copy2 keeps the times of raw files, which are part of their fingerprints."""
    return Path(shutil.copytree(session, folder / session.name, dirs_exist_ok=True, copy_function=shutil.copy2))


def _run(root: Path, *words: str, status: int = 0) -> dict:
    done = subprocess.run([POSEMILL, "run", root, "--json", *words], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


def _hashes(root: Path, pattern: str) -> dict[str, str]:
    files = sorted(path for path in root.rglob(pattern) if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_finished_run_has_a_dataset_and_a_rig_near_the_truth(finished: Path) -> None:
    shards = sorted((finished / "export" / "dataset" / "data").glob("train-*.parquet"))
    assert shards
    assert b"huggingface" in pq.read_schema(shards[0]).metadata
    rig = next(path for path in (finished / "rig").iterdir() if path.is_dir())
    errors = compare_cameras(finished / "truth", [(Ref(), Artefact("calibrate", rig, "", 6))])
    assert len(errors) == 6
    # Thirty instants of one board at 0.2 px: the demo with its larger board clip is a few times better.
    assert max(error["centre_mm"] for error in errors) < 30
    assert max(error["rotation_deg"] for error in errors) < 0.5


def test_a_second_run_makes_nothing_in_under_five_cpu_seconds(finished: Path) -> None:
    raw = _hashes(finished / "raw", "*")
    before_s = os.times().children_user
    again = _run(finished)
    cpu_s = os.times().children_user - before_s  # not wall time: other work on the machine must not fail this
    assert again["made"] == 0
    assert "nothing to do" in again["message"]
    assert cpu_s < 5
    assert _hashes(finished / "raw", "*") == raw


def test_a_changed_setting_makes_its_stage_and_those_below_again(finished: Path, tmp_path: Path) -> None:
    root = _copy(finished, tmp_path)
    again = _run(root, "--set", "audit.max_error_px=14")
    assert {step["stage"] for step in again["steps"] if not step["skipped"]} == {"audit", "augment", "export"}


def test_skeletons_are_drawn_over_the_cameras_own_pictures(finished: Path, tmp_path: Path) -> None:
    words = ["overlay", finished, tmp_path, "--clip", "people", "--camera", "cam2", "--json"]
    done = subprocess.run([POSEMILL, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["files"] == [str(tmp_path / "people-cam2.mp4")]
    with av.open(str(tmp_path / "people-cam2.mp4")) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert [frame.shape for frame in frames] == [(480, 640, 3)] * 4
    again = subprocess.run([POSEMILL, *words], capture_output=True, text=True, check=False)
    assert again.returncode == 2 and "nothing is overwritten" in json.loads(again.stdout)["error"]


def _reached(root: Path, stage: str) -> Callable[[], bool]:
    """Whether a run has come as far as the first moments of a stage."""
    before = list(STAGES)[: list(STAGES).index(stage)]
    if not before:
        return lambda: (root / ".lock").exists() and (root / ".lock").read_text() != ""
    if before[-1] == "calibrate":
        return lambda: any((root / "rig").glob("*.json"))
    return lambda: any((root / "clips").glob(f"*/{before[-1]}-*.json"))


def _run_and_kill(root: Path, stage: str) -> bool:
    """Start a run and kill it without warning inside `stage`; False when it was faster than we are."""
    with subprocess.Popen([POSEMILL, "run", root], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        reached = _reached(root, stage)
        while process.poll() is None and not reached():
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        return process.wait() == -signal.SIGKILL


def test_a_run_killed_in_every_stage_ends_with_the_same_bytes(filmed: Path, finished: Path, tmp_path: Path) -> None:
    root = _copy(filmed, tmp_path)
    killed = [stage for stage in STAGES if _run_and_kill(root, stage)]
    assert len(killed) >= len(STAGES) - 1, f"only killed in {killed}"  # the last stage can be over before the signal arrives
    _run(root)
    assert _hashes(root, "*.parquet") == _hashes(finished, "*.parquet")
    assert not list(root.rglob(".[0-9]*-*")), "a killed run's leftovers must be gone"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with little space: only root can mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a small tmpfs needs the right to mount")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_said_and_the_run_goes_on_once_there_is_space(filmed: Path, small_disk: Path) -> None:
    root = small_disk / "session"
    root.mkdir()
    # The recording stays where it is; only what the run writes goes to the small disk.
    text = (filmed / "session.yaml").read_text().replace("path: raw/", f"path: {filmed}/raw/")
    (root / "session.yaml").write_text(text)
    filler = small_disk / "filler"
    free = shutil.disk_usage(small_disk).free
    filler.write_bytes(b"\0" * (free - 2 * 2**20))  # enough for the rig and its report, not for the rectified videos
    raw = _hashes(filmed / "raw", "*")
    error = _run(root, "--until", "rectify", status=1)["error"]
    assert "disk is full" in error
    assert "run the same command again" in error
    assert _hashes(filmed / "raw", "*") == raw
    filler.unlink()
    assert _run(root, "--until", "rectify")["made"] == 1
