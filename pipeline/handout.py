"""A finished dataset, or a release, handed out in one format as a folder of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.atomic import new_folder
from pipeline.bvh import write_bvh
from pipeline.c3d import write_c3d
from pipeline.coco import write_coco
from pipeline.controlnet_rows import write_controlnet
from pipeline.errors import InputError
from pipeline.foreign_rows import checked_rows
from pipeline.progress import progress
from pipeline.shards import count_rows
from pipeline.trajectories_json import write_json
from pipeline.trc import Trajectories, read_trc
from pipeline.viewer import write_viewers
from pipeline.webdataset import write_webdataset
from pipeline.yolo import SPLITS, write_yolo

Rows = Iterable[tuple[str, dict[str, Any]]]  # split, SAMPLES row

# Format: what of the dataset's folder belongs to it as it stands.
SHARDS = "data"
COPIED = {"parquet": SHARDS, "coco": "coco", "trc": "trc"}
# Format: what writes the rows in it, and says what is not as it was.
BY_ROW: dict[str, Callable[[Rows, Path], list[str]]] = {
    "coco": write_coco,
    "yolo": write_yolo,
    "webdataset": write_webdataset,
    "controlnet": write_controlnet,
}
# Format: what writes one person's trajectories in it, and says what is not as it was.
BY_PERSON: dict[str, Callable[[Trajectories, Path], str]] = {"c3d": write_c3d, "bvh": write_bvh, "json": write_json}
PAGE = "html"  # cameras and people of a clip on one page
FORMATS = ("parquet", *BY_ROW, "trc", *BY_PERSON, PAGE)
CARD = "README.md"


@dataclass(frozen=True)
class HandedOut:
    """What was handed out: number of files, and what a format could not keep."""

    files: int
    notes: tuple[str, ...] = ()


def hand_out(source: Path, out: Path, kind: str, name: str = "dataset") -> HandedOut:
    """A finished dataset of a session, or a release, as the new folder `out`, in one format with its card.

    It appears whole or not at all. Raises InputError for a format or dataset that is not there and for a folder in use.
    """
    if kind not in FORMATS:
        raise InputError(f"--format: expected one of {', '.join(FORMATS)}, got {kind!r}")
    dataset = source if (source / "release.json").is_file() else _finished(source, name)
    if out.exists():
        raise InputError(f"{out}: expected a folder that is not there yet; a dataset that was handed out is never written over")
    with new_folder(out) as folder:
        notes = _fill(source, dataset, folder, kind)
        shutil.copyfile(dataset / CARD, folder / CARD)
        if COPIED.get(kind) != SHARDS:
            _forget_shards(folder / CARD)
    return HandedOut(sum(path.is_file() for path in out.rglob("*")), tuple(notes))


def _forget_shards(card: Path) -> None:
    """Take from the card's front matter where the dataset's own shards lie: `datasets` would look for them nowhere else."""
    from huggingface_hub.repocard import metadata_load, metadata_save

    if (told := metadata_load(card)) and told.pop("configs", None):
        metadata_save(card, told)


def _finished(session: Path, name: str) -> Path:
    dataset = session / "export" / name
    if not dataset.with_name(f"{name}.json").is_file():
        known = sorted(path.stem for path in dataset.parent.glob("*.json"))
        raise InputError(
            f"{dataset}: no finished dataset (there are: {', '.join(known) or 'none'}), and {session} is no release; run "
            f"`posemill run {session}`"
        )
    return dataset


def _fill(source: Path, dataset: Path, target: Path, kind: str) -> list[str]:
    if kind in COPIED and (dataset / COPIED[kind]).is_dir():
        shutil.copytree(dataset / COPIED[kind], target / COPIED[kind], copy_function=shutil.copyfile)
        return []
    if kind in BY_ROW:
        return BY_ROW[kind](dataset_rows(dataset), target if kind == "yolo" else target / kind)
    if kind == PAGE and source == dataset:
        raise InputError(f"{source}: a release has no cameras to draw; ask its sessions for html")
    files = _trajectory_files(dataset)
    return write_viewers(source, dataset, files, target / kind) if kind == PAGE else _converted(files, target / kind, kind)


def dataset_rows(dataset: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of every split, one image in memory at a time or a few."""
    shards = sorted((dataset / SHARDS).glob("*.parquet"))
    with progress(f"export {dataset.name}", sum(map(count_rows, shards)), "rows") as advance:
        for shard in shards:
            for row in checked_rows(shard):
                yield _split_of(shard), row
                advance(1)


def _split_of(shard: Path) -> str:
    split = shard.name.split("-")[0]
    if split not in SPLITS:
        raise InputError(f"{shard}: expected a file of {', '.join(SPLITS)} (SPLIT-00000-of-00001.parquet)")
    return split


def _trajectory_files(dataset: Path) -> list[Path]:
    """The trajectories of a finished dataset, a .trc for each person of each clip. Raises InputError without any."""
    if not (files := sorted((dataset / "trc").glob("*.trc")) or sorted((dataset / "trc").glob("*/*.trc"))):
        raise InputError(f"{dataset}: no skeleton was accepted, so there are no trajectories; see what the audit says of them")
    return files


def _converted(files: list[Path], target: Path, kind: str) -> list[str]:
    notes = []
    for file in files:
        # A release has a folder of trajectories for each session.
        folder = target if file.parent.name == "trc" else target / file.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        if note := BY_PERSON[kind](read_trc(file), folder / f"{file.stem}.{kind}"):
            notes.append(f"{file.stem}: {note}")
    return notes
