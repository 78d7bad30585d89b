"""The ingest stage: every source of a clip is decoded once to see that it is whole, and its frames go onto one clock."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.config import IngestConfig
from pipeline.errors import InputError
from pipeline.parquet import reading
from pipeline.probe import NS, Probe, Shot
from pipeline.progress import progress
from pipeline.session import Clip, Source
from pipeline.sources import by_file, crop, open_source, size_of
from pipeline.store import Ref, Store
from pipeline.sync import Instant, synchronise
from pipeline.tables import FRAMES, read_rows, write_rows
from pipeline.types import Artefact, Frame, FrameSet

VERSION = "2"
# Enough of a raw file's two ends to notice another recording under the same name and size.
FINGERPRINT_BYTES = 1 << 20


def run(store: Store, ref: Ref, config: IngestConfig) -> Artefact:
    """FRAMES rows of one clip. Raises InputError naming camera and file when a source is missing, broken or does not match."""
    clip = store.session.clip(ref.clip)
    given = {
        camera: {
            **source.model_dump(mode="json"),
            "file": fingerprint(store.root, source, f"clip {clip.name}, camera {camera}"),
        }
        for camera, source in clip.sources.items()
    }
    if clip.clock is not None:
        given["clock"] = clip.clock.model_dump(mode="json")
    slot = store.slot("ingest", VERSION, config, ref, given=given)
    if done := slot.done():
        return done
    probes = _check_sources(store.root, clip)
    _compare_rates(probes, config, f"clip {clip.name}")
    if clip.clock is None and not _recorded_together(probes):  # nobody knows when they began
        _compare_lengths(probes, config, f"clip {clip.name}")
    times, clock = session_times(clip, probes, config)
    instants = synchronise(times, round(config.max_spread_ms * 1e6))
    sizes = {camera: size_of(probe, clip.sources[camera]) for camera, probe in probes.items()}
    rows = list(_rows(instants, times, sizes))
    told = _summary(clip, instants, probes, sizes) | {"clock": clock}
    return slot.commit(lambda path: write_rows(path, rows, FRAMES), len(rows), told)


def recorded_times(probes: Mapping[str, Probe]) -> dict[str, tuple[int, ...]]:
    """Every camera's frame times on the clip's clock, ns: 0 is the first frame of the camera that began first."""
    first = min((probe.starts_ns for probe in probes.values()), default=0)
    return {camera: tuple(t + probe.starts_ns - first for t in probe.t_ns) for camera, probe in probes.items()}


def fingerprint(root: Path, source: Source, owner: str) -> str:
    """What names the content of a raw file or image folder without reading it all: size, time of change, both ends.

    Raises InputError naming `owner` when there is nothing.
    """
    try:
        reader = open_source(root, source)
    except InputError as error:
        raise InputError(f"{owner}: {error}") from error
    digest = hashlib.sha256()
    for file in reader.files:
        state = file.stat()
        digest.update(f"{file.name} {state.st_size} {state.st_mtime_ns}\n".encode())
        if len(reader.files) == 1:
            digest.update(_ends(file, state.st_size))
    return digest.hexdigest()


def _ends(file: Path, size: int) -> bytes:
    with file.open("rb") as handle:
        head = handle.read(FINGERPRINT_BYTES)
        handle.seek(max(0, size - FINGERPRINT_BYTES))
        return head + handle.read(FINGERPRINT_BYTES)


def session_times(
    clip: Clip, probes: Mapping[str, Probe], config: IngestConfig
) -> tuple[dict[str, tuple[int, ...]], dict[str, Any]]:
    """Times of every camera's frames on the session clock, in ns, and how that clock is known, with standard errors where it
    was measured."""
    if config.match == "number":
        longest = max(probes.values(), key=lambda probe: probe.frames).t_ns
        return {camera: longest[: probe.frames] for camera, probe in probes.items()}, {"method": "frames of one number"}
    if clip.clock is not None:
        measured = {camera: clip.clock.session_ns(camera, probe.t_ns) for camera, probe in probes.items()}
        return measured, clip.clock.model_dump(mode="json")
    if _recorded_together(probes):
        return recorded_times(probes), {"method": "recorded together"}
    return {camera: probe.t_ns for camera, probe in probes.items()}, {"method": "the files' own times"}


def _recorded_together(probes: Mapping[str, Probe]) -> bool:
    """Whether the times of all cameras are on one recorder's clock; a file among them knows of none."""
    return all(probe.starts_ns for probe in probes.values())


def _check_sources(root: Path, clip: Clip) -> dict[str, Probe]:
    """Decode every file once, for all cameras in it."""
    probes: dict[str, Probe] = {}
    for path, cameras in by_file(root, clip.sources).items():
        owner = f"clip {clip.name}, camera {', '.join(cameras)}"
        try:
            reader = open_source(root, clip.sources[cameras[0]])
            with progress(f"ingest {cameras[0]}", reader.probe().frames, "frames") as advance:
                probe = reader.check(advance)
        except InputError as error:
            raise InputError(f"{owner}: {error}") from error
        if probe.problem:
            raise InputError(
                f"{owner}: {path}: {probe.problem}. Record, export or copy it again, or cut all cameras to its whole part"
            )
        for camera in cameras:
            _check_crop(probe, clip.sources[camera], owner)
            probes[camera] = probe
    return {camera: probes[camera] for camera in clip.sources}


def _check_crop(probe: Probe, source: Source, owner: str) -> None:
    if source.crop_px is not None:
        x, y, width, height = source.crop_px
        if x + width > probe.size_wh[0] or y + height > probe.size_wh[1]:
            raise InputError(
                f"{owner}: crop_px {source.crop_px} (x, y, width, height) reaches outside {probe.path.name} "
                f"of {probe.size_wh[0]}x{probe.size_wh[1]} px; correct it in session.yaml"
            )


def _compare_rates(probes: Mapping[str, Probe], config: IngestConfig, owner: str) -> None:
    faster = _share([probe.fps for probe in probes.values()])
    if faster > config.max_rate_difference:
        raise InputError(
            f"{owner}: the cameras' frame rates differ by {faster:.1%} (allowed {config.max_rate_difference:.1%}):\n"
            f"{_table(probes)}\nRe-export them at one rate, or accept matching by nearest time: "
            f"--set ingest.max_rate_difference={_up(faster)}"
        )


def _compare_lengths(probes: Mapping[str, Probe], config: IngestConfig, owner: str) -> None:
    longer = _share([probe.duration_ns / NS for probe in probes.values()])
    if longer > config.max_length_difference:
        raise InputError(
            f"{owner}: the cameras' lengths differ by {longer:.1%} (allowed {config.max_length_difference:.1%}):\n"
            f"{_table(probes)}\nFind out when each began (posemill sync), cut them to the same part, or use what they share "
            f"from their first frames on: --set ingest.max_length_difference={_up(longer)}"
        )


def _table(probes: Mapping[str, Probe]) -> str:
    return "\n".join(
        f"  {camera:<12} {probe.frames:>7} frames  {probe.fps:>7.3f} fps  {probe.duration_ns / NS:>9.3f} s"
        for camera, probe in probes.items()
    )


def _share(values: Sequence[float]) -> float:
    """How much smaller the smallest value is than the largest."""
    return 1 - min(values) / max(values) if max(values) > 0 else 0.0


def _up(share: float) -> str:
    """A setting just above the share found."""
    return f"{share + 0.005:.2f}"


def _rows(
    instants: Sequence[Instant], times: Mapping[str, Sequence[int]], sizes: Mapping[str, tuple[int, int]]
) -> Iterator[dict[str, Any]]:
    for number, instant in enumerate(instants):
        for camera, index in instant.frames.items():
            yield {
                "instant": number,
                "t_ns": instant.t_ns,
                "camera": camera,
                "frame_index": index,
                "frame_t_ns": times[camera][index] if index >= 0 else None,
                "width_px": sizes[camera][0],
                "height_px": sizes[camera][1],
            }


def _summary(
    clip: Clip, instants: Sequence[Instant], probes: Mapping[str, Probe], sizes: Mapping[str, tuple[int, int]]
) -> dict[str, Any]:
    origins = {camera: source.image_origin_px for camera, source in clip.sources.items() if source.image_origin_px}
    scales = {camera: source.image_scale for camera, source in clip.sources.items() if source.image_scale}
    return {
        "instants": len(instants),
        "fps": {camera: round(probe.fps, 3) for camera, probe in probes.items()},
        "size_wh": {camera: list(size) for camera, size in sizes.items()},
        "image_origin_px": {camera: list(origin) for camera, origin in origins.items()},
        "image_scale": {camera: list(scale) for camera, scale in scales.items()},
        "missing": sum(index < 0 for instant in instants for index in instant.frames.values()),
        "spread_ms": round(max((instant.spread_ns for instant in instants), default=0) / 1e6, 3),
    }


def read_frame_sets(
    store: Store,
    ingest: Artefact,
    clip: str,
    cameras: Sequence[str] = (),
    instants: Iterable[int] | None = None,
) -> Iterator[FrameSet]:
    """The images of a clip by instant, ascending (default: all of them; range(10, 100, 5) for some): frames in the order of
    `cameras` (default: the clip's own), None where a camera has none. Cameras in one file are decoded in one pass, from the
    last keyframe before the first instant; memory is one frame per file.
    """
    sources = store.session.clip(clip).sources
    names = tuple(cameras) or tuple(sources)
    wanted: dict[int, dict[str, dict[str, Any]]] = {}
    filters: list[tuple[str, str, Any]] = [("camera", "in", set(names))]
    if instants is not None:
        filters.append(("instant", "in", set(instants)))
    with reading(ingest.path):
        for row in read_rows(ingest.path, filters):
            wanted.setdefault(row["instant"], {})[row["camera"]] = row
    films = _films(
        store.root, {name: sources[name] for name in names}, [row for rows in wanted.values() for row in rows.values()]
    )
    for number in sorted(wanted):
        rows = wanted[number]
        frames = tuple(_frame(films[name], sources[name], rows[name]) for name in names)
        times = [frame.t_ns for frame in frames if frame is not None]
        yield FrameSet(rows[names[0]]["t_ns"], frames, max(times) - min(times) if times else 0)


class _Film:
    """One file read forwards once; hands out the shot of a frame number that never goes back."""

    def __init__(self, path: Path, shots: Iterator[Shot]) -> None:
        self._path, self._shots = path, shots
        self._shot: Shot | None = None

    def at(self, number: int) -> Shot:
        """The shot of that number. Raises InputError when the file has changed and has no such frame."""
        while self._shot is None or self._shot.number < number:
            self._shot = next(self._shots, None)
            if self._shot is None:
                raise InputError(f"{self._path}: frame {number} is gone; the file has changed since it was read: run again")
        return self._shot


def _films(root: Path, sources: Mapping[str, Source], rows: Sequence[dict[str, Any]]) -> dict[str, _Film]:
    """One film per file, shared by the cameras in it, of the frames wanted."""
    films: dict[str, _Film] = {}
    for path, cameras in by_file(root, sources).items():
        numbers = sorted({row["frame_index"] for row in rows if row["camera"] in cameras and row["frame_index"] >= 0})
        film = _Film(path, iter(open_source(root, sources[cameras[0]]).shots(numbers)))
        films.update(dict.fromkeys(cameras, film))
    return films


def _frame(film: _Film, source: Source, row: dict[str, Any]) -> Frame | None:
    if row["frame_index"] < 0:
        return None
    image = crop(film.at(row["frame_index"]).image, source.crop_px, f"camera {row['camera']}")
    return Frame(row["camera"], row["frame_index"], row["frame_t_ns"], image)
