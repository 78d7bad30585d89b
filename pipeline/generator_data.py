"""Images with labelled people, in COCO layout or exported by us, as training images of the generator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.diffusion.training_images import TrainingImages
from models.errors import DataError
from models.photos import Photo
from models.skeleton import COCO17, Topology
from models.training_sets import read_labelled
from pipeline.captions import describe
from pipeline.conditions import Crop, pose_map, square_around
from pipeline.errors import InputError
from pipeline.progress import progress
from pipeline.types import Array

MIN_JOINTS = 8  # a person with fewer is no subject of a crop
MIN_SIDE_PX = 48  # smaller crops would be enlarged more than they show
MARGINS = (0.12, 0.35)  # crops are widened by something between, so that people are of several sizes


@dataclass(frozen=True, eq=False)
class Example:
    """A square (S, S, 3) with its pose map, the pose map of its mirror image, its people (P, J, 2) in px, and its caption."""

    image: NDArray[np.uint8]
    pose_map: NDArray[np.uint8]
    mirrored_map: NDArray[np.uint8]
    xy_px: Array
    caption: str


def read_examples(folder: Path, size_px: int, crops_per_person: int = 1, seed: int = 0, held_out: int = 0) -> list[Example]:
    """Square crops around each person and around all people of each image of a COCO-layout folder or of our own export.

    held_out: leave out the last so many images, or with a minus sign take only those. An export's prompts are the captions of
    its generated images; other images are described. Raises InputError when the folder cannot be read, an image is damaged, or
    nobody can be used.
    """
    photos = _read(Path(folder))
    photos = photos[held_out:] if held_out < 0 else photos[: len(photos) - held_out]
    found: list[Example] = []
    with progress("read images", len(photos), "images") as advance:
        for number, photo in enumerate(photos):
            found.extend(_examples(photo, size_px, crops_per_person, np.random.default_rng([seed, number])))
            advance(1)
    if not found:
        raise InputError(f"{folder}: no person with at least {MIN_JOINTS} labelled joints; nothing to train on")
    return found


def training_images(examples: Sequence[Example]) -> TrainingImages:
    """Examples as the arrays that training takes."""
    return TrainingImages(
        np.stack([example.image for example in examples]),
        np.stack([example.pose_map for example in examples]),
        np.stack([example.mirrored_map for example in examples]),
        tuple(example.caption for example in examples),
    )


def _read(folder: Path) -> list[Photo]:
    """The labelled images of a folder."""
    try:
        return read_labelled(folder)
    except DataError as error:
        raise InputError(f"{folder}: cannot be trained on: {error}") from error


def _examples(photo: Photo, size_px: int, each: int, draw: np.random.Generator) -> Iterator[Example]:
    xy_px = np.array([person.xy_px for person in photo.people], np.float64).reshape(-1, len(COCO17), 2)
    subjects = [person[None] for person in xy_px if np.isfinite(person[:, 0]).sum() >= MIN_JOINTS]
    if not subjects:
        return
    if len(subjects) > 1:
        subjects.append(np.concatenate(subjects))
    try:
        image = photo.image()
    except ValueError as error:
        raise InputError(str(error)) from error
    for subject in subjects:
        for _ in range(each):
            crop = square_around(subject, size_px, float(draw.uniform(*MARGINS)))
            if crop is not None and crop.side_px >= MIN_SIDE_PX:
                yield _example(image, xy_px, crop, photo.caption)


def _example(image: NDArray[np.uint8], xy_px: Array, crop: Crop, caption: str, topology: Topology = COCO17) -> Example:
    """What the square shows; people outside of it do not count. An empty caption is made from the picture."""
    shown, joints = crop.cut(image), crop.to_crop(xy_px)
    outside = (joints < -0.5) | (joints > crop.size_px - 0.5)
    joints[outside.any(-1)] = np.nan
    joints = joints[np.isfinite(joints[..., 0]).sum(1) >= 3]
    joints = joints[np.argsort(-_extent(joints))]  # the largest person gives the caption its clothes
    mirrored = joints[:, list(topology.mirror)] * (-1, 1) + (crop.size_px - 1, 0)
    size_wh = (crop.size_px, crop.size_px)
    maps = pose_map(joints, size_wh), pose_map(mirrored, size_wh)
    return Example(shown, *maps, joints, caption or describe(shown, joints))


def _extent(joints: Array) -> Array:
    if len(joints) == 0:
        return np.zeros(0)
    return np.nanmax(joints[..., 1], axis=1) - np.nanmin(joints[..., 1], axis=1)
