"""Pictures whose labels do not hold, made on purpose: what the label check must catch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.skeleton import COCO17
from pipeline.fidelity import extent_px

Array = NDArray[Any]
Picture = tuple[NDArray[np.uint8], Array]  # RGB (H, W, 3), and what the labels say of it (P, J, 2) px, NaN where nothing

LEAST_SHIFT, MOST_SHIFT = 0.15, 0.4  # of the largest person's extent
LEAST_APART = 0.15  # of the extent: limbs nearer to each other than this change little when they are exchanged
LIMBS = (("left_elbow", "left_wrist"), ("left_knee", "left_ankle"), ("left_shoulder", "left_elbow", "left_wrist"))


def shifted(picture: Picture, other: Picture, rng: np.random.Generator) -> Picture | None:
    """The pixels move, the labels stay."""
    image, labels = picture
    far = rng.uniform(LEAST_SHIFT, MOST_SHIFT) * float(extent_px(labels).max())
    angle = rng.uniform(0, 2 * np.pi)
    move = np.array([[1, 0, far * np.cos(angle)], [0, 1, far * np.sin(angle)]])
    moved = cv2.warpAffine(image, move, (image.shape[1], image.shape[0]), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8), labels


def mirrored(picture: Picture, other: Picture, rng: np.random.Generator) -> Picture | None:
    """The pixels are seen in a mirror, the labels are not."""
    return np.ascontiguousarray(picture[0][:, ::-1]), picture[1]


def person_missing(picture: Picture, other: Picture, rng: np.random.Generator) -> Picture | None:
    """The labels tell of one person more than is in the picture: somebody of another one, elsewhere."""
    image, labels = picture
    stranger = other[1][0]
    low, high = np.nanmin(stranger, 0), np.nanmax(stranger, 0)
    room = np.array([image.shape[1], image.shape[0]]) - 1 - (high - low)
    if (room < 0).any():
        return None
    return image, np.concatenate([labels, (stranger - low + rng.uniform(0, 1, 2) * room)[None]])


def person_extra(picture: Picture, other: Picture, rng: np.random.Generator) -> Picture | None:
    """The picture shows one person more than the labels tell of."""
    image, labels = picture
    return None if len(labels) < 2 else (image, np.delete(labels, int(rng.integers(len(labels))), 0))


def limbs_swapped(picture: Picture, other: Picture, rng: np.random.Generator) -> Picture | None:
    """A left limb of one person stands where the right one does, and the other way round."""
    image, labels = picture
    names = LIMBS[int(rng.integers(len(LIMBS)))]
    left = [COCO17.index(name) for name in names]
    right = [COCO17.mirror[j] for j in left]
    person = int(rng.integers(len(labels)))
    apart = np.linalg.norm(labels[person, left] - labels[person, right], axis=-1).max()
    if not apart > LEAST_APART * float(extent_px(labels[person][None])[0]):
        return None
    changed = labels.copy()
    changed[person, left], changed[person, right] = labels[person, right], labels[person, left]
    return image, changed


CORRUPTIONS: dict[str, Callable[[Picture, Picture, np.random.Generator], Picture | None]] = {
    "shifted": shifted,
    "mirrored": mirrored,
    "person missing": person_missing,
    "person extra": person_extra,
    "limbs swapped": limbs_swapped,
}
