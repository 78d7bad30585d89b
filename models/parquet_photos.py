"""Labelled photos from our own exported Parquet: its accepted rows, captured and generated alike.

The columns are those of an export (images in the file, people as nested lists); people who are in an image without a label
come as boxes, which training masks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError
from models.label_numbers import boxes, pixels
from models.parquet_file import opened, reading_rows
from models.photos import Person, Photo
from models.skeleton import COCO17, Topology, box_xywh_px

Array = NDArray[Any]

COLUMNS = ("id", "image", "x_px", "y_px", "visible", "ignore_xywh_px", "verdict", "prompt")
ROWS = 64  # read at once: a row group of an export
WRITTEN = "[!.]*.parquet"  # hidden ones are halves that a killed run left


def parquet_files(folder: Path) -> list[Path]:
    """The shards of an exported dataset (FOLDER/data) or of a folder of shards, in order; none for any other folder."""
    return sorted(folder.glob(f"data/{WRITTEN}")) or sorted(folder.glob(WRITTEN))


def read_parquet_photos(
    folder: Path, topology: Topology = COCO17, exclude: Sequence[str] = (), only: Sequence[str] | None = None
) -> list[Photo]:
    """The accepted images of an export, named by their id. Rejected rows are never read.

    Raises DataError for files without the columns of an export, people of another number of joints, numbers that no picture
    has, or an image that is not in the file.
    """
    skip, keep = set(exclude), None if only is None else set(only)
    photos = []
    for path in parquet_files(folder):
        with reading_rows(path):
            photos += [
                _photo(f"{path}: image {row['id']!s:.200}", row, topology)
                for row in _rows(path)
                if row["verdict"] == "accepted" and row["id"] not in skip and (keep is None or row["id"] in keep)
            ]
    return photos


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a shard, in a memory that does not grow with it."""
    with opened(path, COLUMNS) as file:
        for batch in file.iter_batches(ROWS, columns=list(COLUMNS)):
            yield from batch.to_pylist()


def _photo(where: str, row: Mapping[str, Any], topology: Topology) -> Photo:
    encoded, prompt = (row["image"] or {}).get("bytes"), row["prompt"] or ""
    if not encoded or not isinstance(encoded, bytes):
        raise DataError(f"{where}: expected its bytes in the file, found none")
    if not isinstance(row["id"], str) or not isinstance(prompt, str):
        raise DataError(f"{where}: expected its id and prompt as text, found {row['id']!r:.50} and {prompt!r:.50}")
    people = []
    for x_px, y_px, visible in zip(row["x_px"], row["y_px"], row["visible"], strict=True):
        if {len(x_px), len(y_px), len(visible)} != {len(topology)}:
            raise DataError(f"{where}: expected the {len(topology)} joints of {topology.name}, found {len(visible)}")
        if (person := _person(pixels(where, [x_px, y_px]).T, np.array(visible))) is not None:
            people.append(person)
    return Photo(row["id"], encoded, tuple(people), boxes(where, row["ignore_xywh_px"]), prompt)


def _person(xy_px: Array, visible: Array) -> Person | None:
    """Joints seen or hidden are labelled, as in COCO's training; None for somebody outside the image."""
    labelled = (visible > 0) & np.isfinite(xy_px).all(-1)
    known_px = np.where(labelled[:, None], xy_px, np.nan)
    box = box_xywh_px(known_px)
    return None if box is None else Person(known_px, labelled, box)
