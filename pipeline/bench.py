"""How fast every part runs here, as a share of what the machine allows, and what twice as much of everything costs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from calibration.rig import Rig
from calibration.triangulate import triangulate
from models.shipped import weights_folder
from pipeline.augment_load import SHIPPED
from pipeline.bench_films import decoded, film, frames_of
from pipeline.bench_limits import disk_bytes_s, memory_bytes_s, product_flop_s, seconds_of
from pipeline.config import AugmentConfig, DetectConfig, ReconstructConfig, session_config
from pipeline.demo import make_demo_session
from pipeline.job import LocalRunner, build_dataset
from pipeline.reconstruct import reconstruct
from pipeline.samples import encode_jpeg, sample_rows
from pipeline.shards import ShardWriter
from pipeline.store import Store
from pipeline.studio import StudioConfig
from pipeline.tables import SAMPLES
from pipeline.types import Array, Poses2D, Sample
from pipeline.walkers import ring, see, time_ns, walk

FRAMES, INSTANTS, CAMERAS, PEOPLE, POINTS, ROWS = 48, 64, 4, 4, 50_000, 512
NOISE_PX = 2.0  # of a good detector
IMAGE_HW = (480, 640)
GENERATED = 2  # images
SESSION = StudioConfig(people_instants=24, board_instants=40)


@dataclass(frozen=True)
class Measured:
    """One part: its rate and the most that the machine allows, both in `unit`; limited_by: what that most is."""

    part: str
    rate: float
    unit: str
    limit: float
    limited_by: str

    @property
    def share(self) -> float:
        """Of the limit."""
        return self.rate / self.limit


@dataclass(frozen=True)
class Doubled:
    """Times as long with twice as many frames, cameras and people; None where that is nothing a part sees."""

    part: str
    frames: float
    cameras: float | None
    people: float | None


def parts() -> Iterator[Measured]:
    """Every part in the order of the pipeline; each takes seconds."""
    memory, flop_s = memory_bytes_s(), product_flop_s()
    with tempfile.TemporaryDirectory() as folder:
        yield _decode(Path(folder))
        network, detect = _detect(flop_s)
        yield from (network, detect)
        yield _associate(memory)
        yield _triangulate(memory)
        yield _generate(flop_s)
        yield _export(Path(folder))
        yield _end_to_end(Path(folder) / "session", network.rate)


def _decode(folder: Path) -> Measured:
    path = film(folder / "film.mp4", FRAMES)
    ours, codec = seconds_of([lambda: list(frames_of(path)), lambda: decoded(path)])
    return Measured("decode", FRAMES / ours, "frames/s of 1080p", FRAMES / codec, "the codec, without colours")


def _detect(flop_s: float) -> tuple[Measured, Measured]:
    """The compiled network beside its arithmetic, and detection beside the network."""
    from models.letterbox import Letterbox
    from pipeline.detect import detector_of

    config = DetectConfig()
    detector: Any = detector_of(config)
    images = np.random.default_rng(0).integers(0, 255, (config.batch, *IMAGE_HW, 3), dtype=np.uint8)
    sides = [round(detector.size_px * scale) for scale in detector.scales]
    boxes = [Letterbox.fit(IMAGE_HW[::-1], side, detector.network.config.stride_px) for side in sides]
    padded = [np.stack([box.apply(image) for image in images]) for box in boxes]
    whole, network = seconds_of([lambda: detector.detect(images), lambda: [detector.maps(batch) for batch in padded]])
    flops = _flops(lambda: [detector.with_options(backend=None).maps(batch) for batch in padded])
    rate = len(images) / network
    network_alone = Measured("network", rate, "images/s", flop_s * len(images) / flops, "its FLOPs at one product's rate")
    return network_alone, Measured("detect", len(images) / whole, "images/s", rate, "the compiled network")


def _flops(call: Callable[[], Any]) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops())


def _associate(memory: float) -> Measured:
    """Detections to skeletons: association, identities, triangulation, refinement, uncertainty."""
    rig, seen = _seen(INSTANTS, CAMERAS, PEOPLE)
    [seconds] = seconds_of([lambda: list(reconstruct(rig, seen, ReconstructConfig()))])
    joints = sum(pose.xy_px.size // 2 for _, views in seen for pose in views if pose is not None)
    per_instant = joints * 3 * 8 / INSTANTS  # x, y and score
    rate = INSTANTS / seconds
    return Measured("associate", rate, f"instants/s, {PEOPLE} people", memory / per_instant, "reading detections once")


def _triangulate(memory: float) -> Measured:
    rig = ring(CAMERAS)
    xyz_m = np.random.default_rng(0).uniform(-1, 1, (POINTS, 3)) + (0, 0, 1)
    xy_px = np.stack([camera.project(xyz_m) for camera in rig.cameras])
    [seconds] = seconds_of([lambda: triangulate(rig, xy_px)])
    moved = (xy_px.nbytes + xyz_m.nbytes) / POINTS
    return Measured("triangulate", POINTS / seconds, "points/s", memory / moved, "reading views, writing points")


def _generate(flop_s: float) -> Measured:
    from models.diffusion.controlnet import load_generator

    config = AugmentConfig()
    generator = load_generator(weights_folder() / SHIPPED, scheduler=config.scheduler)
    maps = np.zeros((GENERATED, generator.size_px, generator.size_px, 3), np.uint8)
    make = partial(
        generator.generate, maps, ["a person"] * GENERATED, range(GENERATED), "", config.steps, config.guidance_scale
    )
    flops = _flops(make)
    [seconds] = seconds_of([make], rounds=1)
    most = flop_s * GENERATED / flops
    return Measured("generate", GENERATED / seconds, f"images/s of {generator.size_px} px", most, "FLOPs as above")


def _export(folder: Path) -> Measured:
    rows = list(sample_rows(samples(ROWS)))
    target = folder / "export"
    [seconds] = seconds_of([lambda: _write(target, rows)])
    written = sum(file.stat().st_size for file in target.rglob("*.parquet")) / ROWS
    return Measured("export", ROWS / seconds, "rows/s", disk_bytes_s(folder) / written, "writing the bytes, synced")


def _write(target: Path, rows: list[dict[str, Any]]) -> None:
    with ShardWriter(target, SAMPLES, rows_per_shard=1000) as shards:
        for row in rows:
            shards.write(row)


def samples(count: int) -> Iterator[Sample]:
    """Samples as the export stage writes them: two people each, one of 64 different pictures of about 20 kB."""
    rng = np.random.default_rng(0)
    pictures = [encode_jpeg(rng.integers(0, 255, (120, 160, 3), dtype=np.uint8), 80) for _ in range(64)]
    for number in range(count):
        xy_px, xyz_m = rng.uniform(0, 100, (2, 17, 2)), rng.uniform(-1, 1, (2, 17, 3))
        yield Sample(f"walk-cam1-{number:015d}", "walk", "cam1", number, pictures[number % 64], (160, 120), xy_px, xyz_m,
                     np.full((2, 17), 2), "captured", person=np.arange(2))  # fmt: skip


def _end_to_end(root: Path, network_rate: float) -> Measured:
    """From the videos of a virtual session to its dataset, nothing generated; filming and calibration do not count."""
    make_demo_session(root, SESSION)
    store = Store(root)
    config = session_config(store.session, "default", ["augment.enabled=false", "calibrate.floor_instant=0"])
    runner = LocalRunner(store)
    build_dataset(store, config, runner)
    steps = [step for step in runner.steps if step.stage not in ("calibrate", "rectify")]
    images = sum(step.summary["images"] for step in steps if step.stage == "detect")
    rate = images / sum(step.wall_s for step in steps)
    return Measured("end to end", rate, "images/s", network_rate, "the compiled network")


def _seen(instants: int, cameras: int, people: int) -> tuple[Rig, list[tuple[int, list[Poses2D | None]]]]:
    """People who walk side by side in a ring of cameras."""
    rig = ring(cameras)
    paths: list[Array] = [walk(_start_m(p, people), (0.1, 0.0), instants, float(p)) for p in range(people)]
    return rig, [(time_ns(f), views) for f, views in enumerate(see(rig, np.stack(paths), NOISE_PX))]


def _start_m(person: int, people: int) -> tuple[float, float]:
    angle = 2 * np.pi * person / people
    return 1.6 * float(np.cos(angle)), 1.6 * float(np.sin(angle))


def doublings() -> Iterator[Doubled]:
    """What grows: decoding by frames; association and triangulation by frames, cameras and people."""
    with tempfile.TemporaryDirectory() as folder:
        one, two = (film(Path(folder) / f"{count}.mp4", count) for count in (FRAMES, 2 * FRAMES))
        once, twice = seconds_of([lambda: list(frames_of(one)), lambda: list(frames_of(two))])
        yield Doubled("decode", twice / once, None, None)
    sizes = [(INSTANTS, CAMERAS, PEOPLE), (2 * INSTANTS, CAMERAS, PEOPLE), (INSTANTS, 2 * CAMERAS, PEOPLE),
             (INSTANTS, CAMERAS, 2 * PEOPLE)]  # fmt: skip
    worlds = [_seen(*size) for size in sizes]
    base, *more = seconds_of([partial(_reconstruct, *world) for world in worlds])
    yield Doubled("associate, triangulate", *(seconds / base for seconds in more))


def _reconstruct(rig: Rig, seen: list[tuple[int, list[Poses2D | None]]]) -> int:
    return sum(1 for _ in reconstruct(rig, seen, ReconstructConfig()))
