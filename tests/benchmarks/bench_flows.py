"""What Prefect costs, and what a second worker brings.

python -m tests.benchmarks.bench_flows prefect --data FOLDER   share of a run on `single_balancing` (bar: 5 %)
python -m tests.benchmarks.bench_flows workers --runner dask   one worker against two (bar: 1.6 times)
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from calibration.formats import save_rig
from calibration.rig import Rig
from calibration.synthetic import ring_rig
from pipeline.config import session_config
from pipeline.job import LocalRunner, StopAfter, build_dataset
from pipeline.new_session import Request, new_session
from pipeline.session import CalibrationInputs, Clip, Session, Source, save_session
from pipeline.store import Store

BAR_SHARE, BAR_TIMES = 0.05, 1.6
WITHOUT_IMAGES = ["augment.enabled=false"]
# A quick detector as well: the less the stages do, the larger is Prefect's share.
LIGHT = [*WITHOUT_IMAGES, "detect.scales=[1.0]", "detect.size_px=192", "detect.flip=false"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    prefect = kinds.add_parser("prefect")
    prefect.add_argument("--data", type=Path, required=True, help="folder with pose2sim_4cam")
    prefect.add_argument("--rounds", type=int, default=3)
    prefect.add_argument("--light", action="store_true", help="with a quick detector")
    workers = kinds.add_parser("workers")
    workers.add_argument("--frames", type=int, default=2000)
    workers.add_argument("--runner", default="dask")
    asked = parser.parse_args()
    if asked.kind == "prefect":
        measure_prefect(asked.data / "pose2sim_4cam", asked.rounds, LIGHT if asked.light else WITHOUT_IMAGES)
    else:
        measure_workers(asked.frames, asked.runner)


def measure_prefect(data: Path, rounds: int, settings: list[str]) -> None:
    """Directly and as a flow in turn; the pictures that a flow draws for its reviewer are told apart.

    Two runs of minutes differ by several percent on a machine that shares its cores. So what passed outside the stages in the
    flow's own time, or while they told of their progress, is counted too: it says what Prefect takes without that noise.
    """
    from prefect.testing.utilities import prefect_test_harness

    from flows.build_dataset import build_dataset as flow

    with tempfile.TemporaryDirectory() as folder, prefect_test_harness(server_startup_timeout=180):
        flow(str(balancing(data, Path(folder) / "warm")), settings=LIGHT)
        timed = _timed()
        direct, flowed = [], []
        for number in range(rounds):
            direct.append(_directly(balancing(data, Path(folder) / f"direct{number}"), settings))
            session = balancing(data, Path(folder) / f"flow{number}")
            before = [each.seconds for each in timed]
            begin = time.perf_counter()
            flow(str(session), settings=settings)
            whole = time.perf_counter() - begin
            flowed.append([whole, *(each.seconds - old for each, old in zip(timed, before, strict=True))])
            print(f"round {number + 1}: directly {direct[-1]:.1f} s, as a flow {whole:.1f} s", flush=True)
    print(_shares(float(np.median(direct)), np.array(flowed)))


def _directly(session: Path, settings: list[str]) -> float:
    """Seconds of all stages without Prefect."""
    begin = time.perf_counter()
    store = Store(session)
    build_dataset(store, session_config(store.session, "", settings), LocalRunner(store))
    return time.perf_counter() - begin


def _timed() -> tuple[Timed, Timed, Timed, Timed]:
    """Contact sheets, stages, and the making and bringing up to date of progress bars, from now on timed."""
    from flows import review, tasks

    review.contact_sheet = drawing = Timed(review.contact_sheet)
    tasks.timed_call = stages = Timed(tasks.timed_call)
    tasks.create_progress_artifact = begun = Timed(tasks.create_progress_artifact)
    tasks.update_progress_artifact = told = Timed(tasks.update_progress_artifact)
    return drawing, stages, begun, told


def _shares(direct: float, flowed: NDArray[np.float64]) -> str:
    """Shares of the direct time from rows of seconds: whole flow, contact sheets, stages, bars begun, bars updated."""
    whole, drawn = np.median(flowed[:, :2], axis=0)
    outside = float(np.median(flowed[:, 0] - flowed[:, 1] - flowed[:, 2] + flowed[:, 3] + flowed[:, 4]))
    share, of_pictures = whole / direct - 1, drawn / direct
    return (
        f"stages directly {direct:.1f} s, as a flow {whole:.1f} s (medians of {len(flowed)}, in turn): {100 * share:+.1f} %: "
        f"{100 * of_pictures:.1f} contact sheets, {100 * (share - of_pictures):.1f} Prefect (bar {100 * BAR_SHARE:.0f})\n"
        f"of the flow's time {outside:.1f} s passed outside the stages or telling of progress: {100 * outside / direct:.1f} %"
    )


class Timed:
    """A function that counts the seconds spent in it."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call, self.seconds = call, 0.0

    def __call__(self, *given: Any, **named: Any) -> Any:
        begin = time.perf_counter()
        try:
            return self.call(*given, **named)
        finally:
            self.seconds += time.perf_counter() - begin


def balancing(data: Path, root: Path) -> Path:
    """A session of the real recording, with its own rig; our detector looks at every frame."""
    clip = data / "single_balancing"
    videos = sorted((clip / "videos").glob("*.mp4"))
    cameras = tuple(f"cam{number:02d}={path}" for number, path in enumerate(videos, 1))
    # Two of the videos are cropped by 8 px of the width they were calibrated at.
    origins = ("cam01=4,0", "cam02=4,0")
    rig = str(data / "calib" / "Calib_qualisys.toml")
    request = Request(cameras=cameras, clip="balancing", rig=rig, image_origins=origins)
    new_session(root, request)
    return root


def measure_workers(frames: int, runner: str) -> None:
    """One worker process, then two, on the same frames."""
    from prefect.testing.utilities import prefect_test_harness

    from flows.distributed import Workers, on_workers

    settings = ["detect.batch=8", *LIGHT]
    seconds, results = {}, {}
    with tempfile.TemporaryDirectory() as folder, prefect_test_harness(server_startup_timeout=180):
        film = Path(folder) / "film.mp4"
        write_film(film, frames)
        for count in (1, 2):
            store = Store(filmed(Path(folder) / f"with{count}", film))
            config = session_config(store.session, "", settings).model_dump(mode="json")
            on_workers(store, config, Workers(runner=runner, count=count), "calibrate")
            begin = time.perf_counter()
            on_workers(store, config, Workers(runner=runner, count=count), "detect")
            seconds[count] = time.perf_counter() - begin
            results[count] = [file.read_bytes() for file in sorted(store.root.rglob("detect-*.parquet"))]
    same = "identical" if results[1] == results[2] else "NOT identical"
    print(f"{frames} frames, {runner}: one worker {seconds[1]:.0f} s, two {seconds[2]:.0f} s: {seconds[1] / seconds[2]:.2f} "
          f"times as fast (bar {BAR_TIMES}), results {same}")  # fmt: skip


def filmed(root: Path, film: Path) -> Path:
    """A session of one camera, its rig imported."""
    root.mkdir()
    rig = Rig(ring_rig(2, size_wh=(640, 480), focal_px=560.0).cameras[:1])
    save_rig(rig, root / "given.yaml")
    shutil.copy(film, root / "film.mp4")
    clip = Clip(name="long", sources={rig.names[0]: Source(path="film.mp4")})
    inputs = CalibrationInputs(rig="given.yaml")
    save_session(Session(name="long", cameras=rig.names, clips=(clip,), calibration=inputs), root)
    return root


def write_film(path: Path, frames: int) -> None:
    """Noise that moves: the network's cost does not depend on what it sees."""
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 255, (480, 1280, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast", "crf": "35", "g": "30"})
        stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
        for number in range(frames):
            shift = 2 * number % 640
            image = np.ascontiguousarray(texture[:, shift : shift + 640])
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt, StopAfter):
        main()
