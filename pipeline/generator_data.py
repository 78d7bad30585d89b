"""Images with labelled people, in COCO layout, as training images of the generator."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.diffusion.train import TrainingImages
from models.skeleton import COCO17, Topology
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
    """Square crops around each person and around all people of each image of FOLDER/annotations.json.

    held_out: leave out the last so many images, or with a minus sign take only those. Raises InputError when the folder is not
    in COCO layout or holds no usable person.
    """
    images, people = _read_annotations(Path(folder))
    images = images[held_out:] if held_out < 0 else images[: len(images) - held_out]
    found: list[Example] = []
    with progress("read images", len(images), "images") as advance:
        for record in images:
            image = _read_image(Path(folder), record["file_name"])
            draw = np.random.default_rng([seed, int(record["id"])])
            found.extend(_examples(image, people[record["id"]], size_px, crops_per_person, draw))
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


def _examples(image: NDArray[np.uint8], xy_px: Array, size_px: int, each: int, draw: np.random.Generator) -> Iterator[Example]:
    subjects = [person[None] for person in xy_px if np.isfinite(person[:, 0]).sum() >= MIN_JOINTS]
    if len(subjects) > 1:
        subjects.append(np.concatenate(subjects))
    for subject in subjects:
        for _ in range(each):
            crop = square_around(subject, size_px, float(draw.uniform(*MARGINS)))
            if crop is not None and crop.side_px >= MIN_SIDE_PX:
                yield _example(image, xy_px, crop)


def _example(image: NDArray[np.uint8], xy_px: Array, crop: Crop, topology: Topology = COCO17) -> Example:
    """What the square shows; people outside of it do not count."""
    shown, joints = crop.cut(image), crop.to_crop(xy_px)
    outside = (joints < -0.5) | (joints > crop.size_px - 0.5)
    joints[outside.any(-1)] = np.nan
    joints = joints[np.isfinite(joints[..., 0]).sum(1) >= 3]
    joints = joints[np.argsort(-_extent(joints))]  # the largest person gives the caption its clothes
    mirrored = joints[:, list(topology.mirror)] * (-1, 1) + (crop.size_px - 1, 0)
    size_wh = (crop.size_px, crop.size_px)
    return Example(shown, pose_map(joints, size_wh), pose_map(mirrored, size_wh), joints, describe(shown, joints))


def _extent(joints: Array) -> Array:
    if len(joints) == 0:
        return np.zeros(0)
    return np.nanmax(joints[..., 1], axis=1) - np.nanmin(joints[..., 1], axis=1)


def _read_annotations(folder: Path) -> tuple[list[dict[str, Any]], dict[int, Array]]:
    """Image records by id, and the people of each as joints (P, 17, 2) in px, NaN where not labelled."""
    path = folder / "annotations.json"
    try:
        said = json.loads(path.read_text())
        people: dict[int, list[Array]] = defaultdict(list)
        for annotation in said["annotations"]:
            triples = np.array(annotation["keypoints"], dtype=np.float64).reshape(len(COCO17), 3)
            people[annotation["image_id"]].append(np.where(triples[:, 2:] > 0, triples[:, :2], np.nan))
        records = sorted(said["images"], key=lambda record: record["id"])
    except FileNotFoundError as error:
        raise InputError(f"{path}: not found; expected a folder in COCO layout with annotations.json and images/") from error
    except (json.JSONDecodeError, KeyError, ValueError) as error:
        raise InputError(f"{path}: not COCO keypoint annotations with {len(COCO17)} joints: {error}") from error
    return records, {record["id"]: np.array(people[record["id"]]).reshape(-1, len(COCO17), 2) for record in records}


def _read_image(folder: Path, name: str) -> NDArray[np.uint8]:
    for path in (folder / name, folder / "images" / name):
        if path.is_file():
            image = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if image is None:
                raise InputError(f"{path}: not an image that can be read")
            return np.ascontiguousarray(image[..., ::-1], dtype=np.uint8)
    raise InputError(f"{folder / 'images' / name}: named in annotations.json but not there")
