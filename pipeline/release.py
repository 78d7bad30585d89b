"""A finished dataset handed out in one format, as a folder of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipeline.atomic import disk_error, fsync, remove
from pipeline.errors import InputError

# Format: what of export/<name>/ belongs to it.
FORMATS = {"parquet": ("data", "README.md"), "coco": ("coco", "README.md"), "trc": ("trc", "README.md")}


def release(session: Path, out: Path, kind: str, name: str = "dataset") -> int:
    """Copy a finished dataset of a session to the new folder `out`, in one format with its card; returns the number of files.

    It appears whole or not at all. Raises InputError for a format or dataset that is not there and for a folder in use.
    """
    if kind not in FORMATS:
        raise InputError(f"--format: expected one of {', '.join(FORMATS)}, got {kind!r}")
    dataset = session / "export" / name
    if not dataset.with_name(f"{name}.json").is_file():
        known = sorted(path.stem for path in dataset.parent.glob("*.json"))
        raise InputError(
            f"{dataset}: no finished dataset (there are: {', '.join(known) or 'none'}); run `posemill run {session}`"
        )
    if out.exists():
        raise InputError(f"{out}: expected a folder that is not there yet; a released dataset is never written over")
    temporary = out.with_name(f".{out.name}.part")
    try:
        _copy(dataset, temporary, FORMATS[kind])
        temporary.replace(out)
    except OSError as error:
        raise disk_error(error, out) from error
    finally:
        remove(temporary)
    return sum(path.is_file() for path in out.rglob("*"))


def _copy(dataset: Path, target: Path, parts: tuple[str, ...]) -> None:
    remove(target)
    target.mkdir(parents=True)
    for part in parts:
        if (dataset / part).is_dir():
            shutil.copytree(dataset / part, target / part)
        else:
            shutil.copy2(dataset / part, target / part)
    for path in sorted(target.rglob("*")):
        fsync(path)
