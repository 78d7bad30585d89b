"""Rows of datasets that others made, checked before files are named after them and pictures drawn by their numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.encoded_image import LARGEST_PX
from models.label_numbers import boxes, pixels
from pipeline.errors import InputError
from pipeline.parquet import opened, reading
from pipeline.tables import stream_rows
from pipeline.types import DEFAULT_TOPOLOGY

# What the formats of `posemill export` take from a row of SAMPLES.
NEEDED = (
    "id", "image", "clip", "camera", "t_ns", "width_px", "height_px", "x_px", "y_px", "visible", "ignore_xywh_px", "origin",
    "prompt",
)  # fmt: skip
MOST_LETTERS = 200


def checked_rows(shard: Path, needed: Sequence[str] = NEEDED) -> Iterator[dict[str, Any]]:
    """The rows of a shard of SAMPLES, a few images in memory at a time. Raises InputError as `checked`, and for a shard without
    the columns needed before its first row."""
    with opened(shard, needed):
        pass
    for row in stream_rows(shard, batch=64):
        yield checked(shard, row)


def checked(path: Path, row: dict[str, Any]) -> dict[str, Any]:
    """A row of SAMPLES as it is. Raises InputError naming the file, the row and what no dataset of ours holds: a picture's name
    that leads out of its folder, people of another skeleton, numbers that no picture has."""
    where = f"{path}: row {str(row['id'])[:MOST_LETTERS]!r}"
    with reading(path):
        _check_names(where, row)
        _check_numbers(where, row)
    return row


def _check_names(where: str, row: dict[str, Any]) -> None:
    for key, name in (("id", row["id"]), ("image.path", row["image"]["path"])):
        plain = isinstance(name, str) and name.isprintable() and 0 < len(name.encode()) <= MOST_LETTERS
        if not plain or Path(name).name != name or name.startswith(".") or "\\" in name:
            raise InputError(f"{where}: {key}: expected the name of a file, found {str(name)[:MOST_LETTERS]!r}")
    for key in ("clip", "camera", "origin", "prompt"):
        if not isinstance(row[key], str):
            raise InputError(f"{where}: {key}: expected text, found {type(row[key]).__name__}")
    if not isinstance(row["image"]["bytes"], bytes):
        raise InputError(f"{where}: image: expected its bytes in the file, found none")


def _check_numbers(where: str, row: dict[str, Any]) -> None:
    width, height, t_ns = (row[key] for key in ("width_px", "height_px", "t_ns"))
    if not all(isinstance(n, int) for n in (width, height, t_ns)) or min(width, height) < 1 or width * height > LARGEST_PX:
        raise InputError(f"{where}: expected a picture of up to {LARGEST_PX} px, found {width!r:.40} x {height!r:.40}")
    people, joints = len(row["visible"]), len(DEFAULT_TOPOLOGY)
    for key in ("x_px", "y_px", "visible"):
        table = np.array(row[key], dtype=np.float64 if key != "visible" else np.int64).reshape(people, -1)
        if people and table.shape[1] != joints:
            raise InputError(f"{where}: {key}: expected the {joints} joints of {DEFAULT_TOPOLOGY.name}, found {table.shape[1]}")
        pixels(f"{where}: {key}", table)
    boxes(f"{where}: ignore_xywh_px", row["ignore_xywh_px"])
