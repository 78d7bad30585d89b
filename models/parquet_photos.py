"""Labelled photos from our own exported Parquet: its accepted rows, captured and generated alike.

The columns are those of an export (images in the file, people as nested lists); people who are in an image without a label
come as boxes, which training masks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.photos import Person, Photo
from models.skeleton import COCO17, Topology, box_xywh_px

Array = NDArray[Any]

COLUMNS = ("id", "image", "x_px", "y_px", "visible", "ignore_xywh_px", "verdict", "prompt")
ROWS = 64  # read at once: a row group of an export


def parquet_files(folder: Path) -> list[Path]:
    """The shards of an exported dataset (FOLDER/data) or of a folder of shards, in order; none for any other folder."""
    return sorted(folder.glob("data/*.parquet")) or sorted(folder.glob("*.parquet"))


def read_parquet_photos(
    folder: Path, topology: Topology = COCO17, exclude: Sequence[str] = (), only: Sequence[str] | None = None
) -> list[Photo]:
    """The accepted images of an export, named by their id. Rejected rows are never read.

    Raises ValueError for files without the columns of an export, people of another number of joints, or an image that is
    not in the file.
    """
    skip, keep = set(exclude), None if only is None else set(only)
    photos = []
    for path in parquet_files(folder):
        for row in _rows(path):
            if row["verdict"] == "accepted" and row["id"] not in skip and (keep is None or row["id"] in keep):
                photos.append(_photo(path, row, topology))
    return photos


def _rows(path: Path) -> Any:
    """The rows of a shard, in a memory that does not grow with it."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        missing = [name for name in COLUMNS if name not in file.schema_arrow.names]
        if missing:
            raise ValueError(
                f"{path}: expected an export of posemill, found no column {', '.join(missing)} "
                f"among {', '.join(file.schema_arrow.names)}"
            )
        for batch in file.iter_batches(ROWS, columns=list(COLUMNS)):
            yield from batch.to_pylist()


def _photo(path: Path, row: Mapping[str, Any], topology: Topology) -> Photo:
    encoded = (row["image"] or {}).get("bytes")
    if not encoded:
        raise ValueError(f"{path}: image {row['id']}: expected its bytes in the file, found none")
    people = []
    for x_px, y_px, visible in zip(row["x_px"], row["y_px"], row["visible"], strict=True):
        if len(visible) != len(topology):
            raise ValueError(f"{path}: image {row['id']}: expected the {len(topology)} joints of {topology.name}, "
                             f"found {len(visible)}")  # fmt: skip
        if (person := _person(np.stack([x_px, y_px], axis=-1).astype(np.float64), np.array(visible))) is not None:
            people.append(person)
    boxes = np.array(row["ignore_xywh_px"], np.float64).reshape(-1, 4)
    return Photo(row["id"], encoded, tuple(people), boxes, row["prompt"] or "")


def _person(xy_px: Array, visible: Array) -> Person | None:
    """Joints seen or hidden are labelled, as in COCO's training; None for somebody outside the image."""
    labelled = (visible > 0) & np.isfinite(xy_px).all(-1)
    known_px = np.where(labelled[:, None], xy_px, np.nan)
    box = box_xywh_px(known_px)
    return None if box is None else Person(known_px, labelled, box)
