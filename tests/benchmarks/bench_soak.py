"""Four streams through detection and reconstruction for a long time: does memory stay flat, does speed?

python -m tests.benchmarks.bench_soak --minutes 30      a line a minute, then slopes (bars: memory and speed within 5 %)

Neighbours on the machine slow a frame by a tenth and more, so a matrix product of fixed size is timed after every batch; a
frame is told in CPU time and in such products, and the second has to stay.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path

import numpy as np
import torch

from calibration.formats import load_rig
from calibration.rig import Rig
from pipeline.bumps import Instant
from pipeline.config import Config, session_config
from pipeline.demo import make_demo_session
from pipeline.detect import detect, detector_of
from pipeline.ingest import read_frame_sets
from pipeline.job import LocalRunner, StopAfter, build_dataset
from pipeline.reconstruct import reconstruct
from pipeline.store import Store
from pipeline.studio import StudioConfig
from pipeline.types import Artefact, FrameSet

CAMERAS = ("cam1", "cam2", "cam3", "cam4")
STUDIO = StudioConfig(people=2, people_instants=90, board_instants=3, size_wh=(640, 480))
BAR = 0.05
WARM_UP = 2  # minutes that caches and pools may take to fill
YARD = 1024  # side of the matrices: 2.1 GFLOP, about a thirtieth of a batch
SETTINGS = ["detect.scales=[1.0]", "detect.flip=false"]


@dataclass(frozen=True)
class Minute:
    """What passed in one minute: frames of all cameras, wall and CPU s, CPU s of one product, resident MiB at its end."""

    frames: int
    wall_s: float
    cpu_s: float
    product_s: float
    rss_mib: float

    @property
    def cpu_ms(self) -> float:
        """CPU ms a frame: neighbours on the machine stretch the clock on the wall."""
        return 1e3 * self.cpu_s / max(self.frames, 1)

    @property
    def products(self) -> float:
        """CPU time of a frame in products of the yardstick."""
        return self.cpu_s / max(self.frames, 1) / self.product_s


class Yardstick:
    """A product of two fixed matrices, timed when told to; what it took is no part of the work."""

    def __init__(self) -> None:
        self.square, self.cpu_s, self.count = torch.rand(YARD, YARD), 0.0, 0

    def measure(self) -> None:
        begin = time.process_time()
        self.square @ self.square
        self.cpu_s += time.process_time() - begin
        self.count += 1

    def taken(self) -> tuple[float, float]:
        """CPU s of all products since the last call, and of one."""
        cpu_s, count = self.cpu_s, max(self.count, 1)
        self.cpu_s, self.count = 0.0, 0
        return cpu_s, cpu_s / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=30)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "session"
        film = multiprocessing.get_context("spawn").Process(target=make_demo_session, args=(root, STUDIO))
        film.start()  # in a process of its own, whose memory goes with it
        film.join()
        minutes = list(told(soaked(root), asked.minutes))
    print(verdict(minutes))


def soaked(root: Path) -> Iterator[Minute]:
    """The film again and again, as if it never ended; a Minute after each."""
    store = Store(root)
    config = session_config(store.session, "", SETTINGS)
    [(_, ingest)] = _ingested(store, config)
    rig = load_rig(root / "truth" / "rig.yaml")
    rig = Rig(tuple(rig[name] for name in CAMERAS))
    yard = Yardstick()
    frames, wall_s, cpu_s = 0, time.monotonic(), time.process_time()
    for _ in reconstruct(rig, detected(endless(store, ingest), config, yard), config.reconstruct):
        frames += len(CAMERAS)
        if (passed_s := time.monotonic() - wall_s) >= 60:
            products_s, product_s = yard.taken()
            yield Minute(frames, passed_s, time.process_time() - cpu_s - products_s, product_s, _rss_mib())
            frames, wall_s, cpu_s = 0, time.monotonic(), time.process_time()


def _ingested(store: Store, config: Config) -> list[tuple[object, Artefact]]:
    runner = LocalRunner(store, "ingest")
    with suppress(StopAfter):
        build_dataset(store, config, runner)
    return [(ref, made) for ref, made in runner.made if ref.clip == "people"]


def endless(store: Store, ingest: Artefact) -> Iterator[FrameSet]:
    """The clip's instants over and over, their times going on; files are opened and decoded anew each time."""
    step_ns = round(1e9 / STUDIO.fps)
    for turn in count():
        for instant in read_frame_sets(store, ingest, "people", CAMERAS):
            yield replace(instant, t_ns=instant.t_ns + turn * STUDIO.people_instants * step_ns)


def detected(stream: Iterator[FrameSet], config: Config, yard: Yardstick) -> Iterator[Instant]:
    """People in every view of every instant, in batches of one camera; the yardstick is laid on after each."""
    detector = detector_of(config.detect)
    while batch := list(islice(stream, config.detect.batch)):
        views = []
        for c, camera in enumerate(CAMERAS):
            images = [(one.t_ns, frame.image) for one in batch if (frame := one.frames[c]) is not None]
            views.append(list(detect(detector, images, camera, config.detect)))
            yard.measure()
        for k, one in enumerate(batch):
            yield one.t_ns, [poses[k] for poses in views]


def _rss_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def told(minutes: Iterator[Minute], number: int) -> Iterator[Minute]:
    """So many minutes, a line for each."""
    print("minute   frames  frames/s  CPU ms/frame  products/frame  memory MiB", flush=True)
    for k, minute in enumerate(islice(minutes, number), 1):
        rate = minute.frames / minute.wall_s
        print(
            f"{k:6d} {minute.frames:8d} {rate:9.1f} {minute.cpu_ms:13.1f} {minute.products:15.2f} {minute.rss_mib:11.1f}",
            flush=True,
        )
        yield minute


def verdict(minutes: Sequence[Minute]) -> str:
    """Slopes after warming up, and how far memory and CPU per frame drift over the time, against the bars."""
    kept = deque(minutes, max(len(minutes) - WARM_UP, 2))
    lines = [f"{sum(m.frames for m in minutes)} frames; after {len(minutes) - len(kept)} minutes to warm up:"]
    for name, values, unit in (
        ("memory", [m.rss_mib for m in kept], " MiB"),
        ("a frame", [m.products for m in kept], " products"),
        ("CPU per frame (neighbours' share in it)", [m.cpu_ms for m in kept], " ms"),
    ):
        middle, slope = float(np.median(values)), float(np.polyfit(np.arange(len(values)), values, 1)[0])
        drift, spread = slope * (len(values) - 1) / middle, float(np.ptp(values)) / middle
        flat = "flat" if abs(drift) <= BAR else "NOT flat"
        lines.append(
            f"{name}: median {middle:.1f}{unit}, slope {slope:+.3f}{unit}/min, {100 * drift:+.1f} % over the time "
            f"(bar {100 * BAR:.0f} %: {flat}), spread {100 * spread:.1f} %"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
