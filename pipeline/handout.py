"""A finished dataset handed out in one format, as a folder of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.atomic import disk_error, fsync, remove
from pipeline.bvh import write_bvh
from pipeline.c3d import write_c3d
from pipeline.errors import InputError
from pipeline.trajectories_json import write_json
from pipeline.trc import Trajectories, read_trc
from pipeline.viewer import write_viewers

# Format: what of export/<name>/ belongs to it.
COPIED = {"parquet": "data", "coco": "coco", "trc": "trc"}
# Format: what writes one person's trajectories in it, and says what is not as it was.
WRITERS: dict[str, Callable[[Trajectories, Path], str]] = {"c3d": write_c3d, "bvh": write_bvh, "json": write_json}
PAGE = "html"  # cameras and people of a clip on one page
CARD = "README.md"


@dataclass(frozen=True)
class HandedOut:
    """What was handed out: number of files, and what a format could not keep, one note a file."""

    files: int
    notes: tuple[str, ...] = ()


def hand_out(session: Path, out: Path, kind: str, name: str = "dataset") -> HandedOut:
    """A finished dataset of a session as the new folder `out`, in one format with its card.

    It appears whole or not at all. Raises InputError for a format or dataset that is not there and for a folder in use.
    """
    formats = (*COPIED, *WRITERS, PAGE)
    if kind not in formats:
        raise InputError(f"--format: expected one of {', '.join(formats)}, got {kind!r}")
    dataset = _finished(session, name)
    if out.exists():
        raise InputError(f"{out}: expected a folder that is not there yet; a dataset that was handed out is never written over")
    temporary = out.with_name(f".{out.name}.part")
    try:
        remove(temporary)
        temporary.mkdir(parents=True)
        notes = _fill(session, dataset, temporary, kind)
        shutil.copy2(dataset / CARD, temporary / CARD)
        for path in sorted(temporary.rglob("*")):
            fsync(path)
        temporary.replace(out)
    except OSError as error:
        raise disk_error(error, out) from error
    finally:
        remove(temporary)
    return HandedOut(sum(path.is_file() for path in out.rglob("*")), tuple(notes))


def _finished(session: Path, name: str) -> Path:
    dataset = session / "export" / name
    if not dataset.with_name(f"{name}.json").is_file():
        known = sorted(path.stem for path in dataset.parent.glob("*.json"))
        raise InputError(
            f"{dataset}: no finished dataset (there are: {', '.join(known) or 'none'}); run `posemill run {session}`"
        )
    return dataset


def _fill(session: Path, dataset: Path, target: Path, kind: str) -> list[str]:
    if kind in COPIED:
        shutil.copytree(dataset / COPIED[kind], target / COPIED[kind])
        return []
    files = _trajectory_files(dataset)
    return write_viewers(session, dataset, files, target / kind) if kind == PAGE else _converted(files, target / kind, kind)


def _trajectory_files(dataset: Path) -> list[Path]:
    """The trajectories of a finished dataset, a .trc for each person of each clip. Raises InputError without any."""
    if not (files := sorted((dataset / "trc").glob("*.trc"))):
        raise InputError(f"{dataset}: no skeleton was accepted, so there are no trajectories; see what the audit says of them")
    return files


def _converted(files: list[Path], target: Path, kind: str) -> list[str]:
    target.mkdir()
    told = [(file, WRITERS[kind](read_trc(file), target / f"{file.stem}.{kind}")) for file in files]
    return [f"{file.stem}: {note}" for file, note in told if note]
