"""The sets of labelled photos that one training run sees, and those it must not see."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError
from models.parquet_photos import parquet_files, read_parquet_photos
from models.photos import Photo, held_out_photos, read_photos
from models.skeleton import COCO17, TOPOLOGIES, Topology

if TYPE_CHECKING:
    from models.train_config import TrainConfig


def read_labelled(
    folder: Path, topology: Topology = COCO17, exclude: Sequence[str] = (), only: Sequence[str] | None = None
) -> list[Photo]:
    """Photos of a COCO-layout folder, or of our own exported Parquet. Raises DataError when it is neither, and as they do."""
    if (folder / "annotations.json").is_file():
        return read_photos(folder, topology, exclude, only)
    if parquet_files(folder):
        return read_parquet_photos(folder, topology, exclude, only)
    raise DataError(
        f"{folder}: expected annotations.json and images/ (COCO layout) or data/*.parquet (our export), found neither"
    )


def load_sources(config: TrainConfig) -> tuple[list[list[Photo]], dict[str, list[str]]]:
    """Training photos per source, and the file names kept out per folder name."""
    topology = TOPOLOGIES[config.network.topology]
    photos, held = [], held_out_names(config)
    for source in config.sources:
        folder = Path(source.folder)
        found = [p for p in read_labelled(folder, topology, held.get(folder.name, ())) if p.people]
        if not found:
            raise DataError(f"{folder}: expected photos with labelled people, found none")
        photos.append(_all_decoded(found) if config.decoded else found)
    return photos, held


def _all_decoded(photos: Sequence[Photo]) -> list[Photo]:
    with ThreadPoolExecutor() as threads:  # OpenCV decodes beside the interpreter's lock
        return list(threads.map(Photo.decoded, photos))


def held_out_names(config: TrainConfig) -> dict[str, list[str]]:
    """File names kept out of training, by folder name. Raises DataError for a folder whose photos have no split."""
    names = {}
    for source in config.sources:
        folder = Path(source.folder)
        if count := config.held_out.get(folder.name):
            if not (folder / "annotations.json").is_file():
                raise DataError(f"{folder}: photos are kept out of COCO-layout folders with a split alone, and this has no "
                                 "annotations.json; export the clips to keep out as a set of their own")  # fmt: skip
            names[folder.name] = held_out_photos(folder, count)
    return names


def mean_pose(photos: Sequence[Sequence[Photo]]) -> NDArray[np.float64]:
    """(J, 2) mean joints of the labelled people in shares of their boxes: the baseline that sees no picture."""
    people = [p for group in photos for photo in group for p in photo.people]
    shares = np.stack([(p.xy_px - p.box[:2]) / np.maximum(p.box[2:], 1) for p in people])
    return np.asarray(np.nanmean(shares, axis=0))
