"""Skeletons of a dataset that are most likely wrong, by the pose prior: finished sessions, their skeletons, Parquet datasets.

A clip is judged against itself, as in the audit; clips too short to say what is usual are judged together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.parquet_photos import parquet_files
from pipeline.errors import InputError
from pipeline.parquet import opened, reading
from pipeline.plausibility import judged
from pipeline.status import finished
from pipeline.tables import stream_rows
from pipeline.types import DEFAULT_TOPOLOGY, Array

JOINTS = len(DEFAULT_TOPOLOGY)
_PLACES = ("x_m", "y_m", "z_m")
_TOLD = ("id", "clip", "t_ns", "person", "origin")


@dataclass(frozen=True, eq=False)
class Found:
    """A skeleton xyz_m (J, 3) and where it stands: its file or image, clip, time and identity as far as they are told."""

    xyz_m: Array
    where: str
    clip: str
    t_ns: int
    person: int


@dataclass(frozen=True)
class SkeletonDoubt:
    """How likely a skeleton is a person's: p_value against its clip, log density in nats per joint, the joint most to blame, ""
    where p_value is above `pipeline.plausibility.SUSPECT`."""

    where: str
    clip: str
    t_ns: int
    person: int
    p_value: float
    nats_per_joint: float
    joint: str


def has_pictures(path: Path) -> bool:
    """Whether a dataset has labels in pictures; sessions and files of skeletons have none."""
    return not path.is_file() and not (path / "session.yaml").is_file()


def doubtful_skeletons(path: Path, weights: str = "prior") -> list[SkeletonDoubt]:
    """Every skeleton that can be judged, the least likely first; none of datasets of pictures where too few are in space.

    path: a session's folder, a SKELETONS3D file, or a folder or file in the layout of our Parquet datasets. Raises InputError
    for sessions that are not finished, files that cannot be read, joints of another skeleton, weights that are no prior, and
    too few skeletons to say what is usual where there is nothing else to judge.
    """
    doubts = _every_doubt(path, weights)
    if not doubts and not has_pictures(path):
        raise InputError(
            f"{path}: expected at least {_least_skeletons()} skeletons with most joints known in space, found fewer"
        )
    return sorted(doubts, key=lambda doubt: (doubt.p_value, doubt.nats_per_joint))


def _every_doubt(path: Path, weights: str) -> list[SkeletonDoubt]:
    clips: dict[str, list[Found]] = {}
    for found in skeletons_of(path):
        clips.setdefault(found.clip, []).append(found)
    least = _least_skeletons()
    short = [found for some in clips.values() if len(some) < least for found in some]
    together = [some for some in clips.values() if len(some) >= least] + ([short] if short else [])
    return [doubt for some in together for doubt in _judged(some, weights)]


def skeletons_of(path: Path) -> Iterator[Found]:
    """The skeletons of captured instants, each once, however many cameras show it; nothing from datasets without any.

    Raises InputError as `doubtful_skeletons`.
    """
    if (path / "session.yaml").is_file():
        for ref, artefact in finished(path, ("reconstruct",)):
            if artefact.kind == "reconstruct":
                yield from _read(artefact.path, ref.clip or path.name)
        return
    seen: set[tuple[str, int, bytes]] = set()
    for file in [path] if path.is_file() else parquet_files(path):
        for found in _read(file, file.stem):
            key = (found.clip, found.t_ns, found.xyz_m.tobytes())
            if key not in seen:
                seen.add(key)
                yield found


def as_rows(doubts: Sequence[SkeletonDoubt]) -> list[dict[str, object]]:
    """For tables and JSON."""
    return [
        {**asdict(doubt), "p_value": float(f"{doubt.p_value:.2g}"), "nats_per_joint": round(doubt.nats_per_joint, 2)}
        for doubt in doubts
    ]


def _least_skeletons() -> int:
    from models.plausible import LEAST_SKELETONS

    return LEAST_SKELETONS


def _judged(some: Sequence[Found], weights: str) -> Iterator[SkeletonDoubt]:
    xyz_m = np.stack([found.xyz_m for found in some])
    plausible = judged(lambda: [xyz_m], weights, "weights")
    for found, nats, p, blamed in zip(some, plausible.nats, plausible.p, plausible.blamed, strict=True):
        if np.isfinite(p):
            joint = DEFAULT_TOPOLOGY.joints[blamed] if blamed >= 0 else ""
            yield SkeletonDoubt(found.where, found.clip, found.t_ns, found.person, float(p), float(nats), joint)


def _read(file: Path, clip: str) -> Iterator[Found]:
    with opened(file) as parquet:
        columns = parquet.schema_arrow.names
    if not set(_PLACES) <= set(columns):
        return
    with reading(file):
        for row in stream_rows(file, [*_PLACES, *(name for name in _TOLD if name in columns)]):
            if row.get("origin") != "generated":  # it shows the pose of a captured one
                yield from _found(file, row, clip)


def _found(file: Path, row: dict[str, Any], clip: str) -> Iterator[Found]:
    """Whoever stands in a row: one person of a SKELETONS3D row, any number of an image's."""
    if any(row[name] is None for name in _PLACES):
        return
    several = row.get("id") is not None or any(isinstance(value, list) for value in row["x_m"])
    clip, t_ns = row.get("clip") or clip, row.get("t_ns") or 0
    if not isinstance(clip, str) or not isinstance(t_ns, int):
        raise InputError(f"{file}: expected a clip's name and whole nanoseconds, found {clip!r:.50} and {t_ns!r:.50}")
    people = [row[name] if several else [row[name]] for name in _PLACES]
    names = row.get("person")
    names = names if isinstance(names, list) else [names]
    for number, places in enumerate(zip(*people, strict=True)):
        xyz_m = _joints(file, places)
        person = names[number] if number < len(names) and names[number] is not None else number
        yield Found(xyz_m, str(row.get("id") or file.name), clip, t_ns, person)


def _joints(file: Path, places: tuple[Any, ...]) -> Array:
    if {len(axis) for axis in places} != {JOINTS}:
        told = ", ".join(str(len(axis)) for axis in places)
        raise InputError(f"{file}: expected {JOINTS} joints of {DEFAULT_TOPOLOGY.name} in {', '.join(_PLACES)}, found {told}")
    return np.array([[np.nan if value is None else value for value in axis] for axis in places], dtype=np.float64).T
