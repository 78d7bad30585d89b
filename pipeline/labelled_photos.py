"""Labelled photos to judge a detector by, who was detected in them, and the lengths that errors are measured in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from models.errors import DataError
from models.photos import Person, Photo
from models.skeleton import Topology
from models.training_sets import read_labelled
from pipeline.errors import InputError
from pipeline.fidelity import OUTLINE_SHARE, oks_matrix
from pipeline.types import Array

# A person's outline fills about half of the box; sets whose `area` fills all of it have no outlines.
NO_OUTLINE = 0.95
# A detection is a labelled person's at this similarity or better, left and right exchanged or not; COCO's first threshold,
# 0.5, would call people false who were found badly.
SAME_PERSON = 0.1
# MPII's head size is 0.6 of the diagonal of the head's box (Andriluka et al. 2014); heads are not boxed here, so 0.6 of the
# segment from neck to head top. That segment is 1.41 times the distance from nose to the middle of the shoulders (median of
# 3,117 people of the sports photos `lspet_train`; quarters 1.07 and 2.00, for heads are turned and foreshortened).
HEAD_SHARE, HEAD_PER_NOSE = 0.6, 1.41


@dataclass(frozen=True, eq=False)
class Seen:
    """A photo and its detected people: xy_px (P, J, 2), score (P, J), best first."""

    photo: Photo
    xy_px: Array
    score: Array


def labelled_photos(folder: Path, only: Sequence[str] | None, topology: Topology) -> list[Photo]:
    """Photos of a COCO-layout folder or of our own exported Parquet, those named in `only` or all. Raises InputError: neither,
    annotations that cannot be read, images that are missing, joints of another skeleton, nobody labelled."""
    try:
        photos = read_labelled(folder, topology, only=only)
    except DataError as error:
        raise InputError(str(error)) from error
    if not any(photo.people for photo in photos):
        raise InputError(f"{folder}: expected labelled people, found none in {len(photos)} photos")
    return photos


def has_torso(person: Person, topology: Topology) -> bool:
    """Left shoulder and right hip are labelled."""
    ends = [topology.index("left_shoulder"), topology.index("right_hip")]
    return bool(person.labelled[ends].all())


def torso_px(person: Person, topology: Topology) -> float:
    """Distance from left shoulder to right hip."""
    ends = person.xy_px[[topology.index("left_shoulder"), topology.index("right_hip")]]
    return float(np.linalg.norm(ends[0] - ends[1]))


def head_px(person: Person, topology: Topology) -> float:
    """Head size for PCKh, about MPII's: 0.6 of the labelled head segment, or of the one expected above the shoulders.

    Without labels of neck and head top, the segment is 1.41 times the distance from the nose to the middle of the shoulders; so
    these figures compare with one another and only roughly with MPII's. NaN where neither is labelled.
    """
    if np.isfinite(person.head_px):
        return HEAD_SHARE * person.head_px
    nose, left, right = (person.xy_px[topology.index(name)] for name in ("nose", "left_shoulder", "right_shoulder"))
    return HEAD_SHARE * HEAD_PER_NOSE * float(np.linalg.norm(nose - (left + right) / 2))


def outline_px2(person: Person) -> float:
    """The area that OKS scales with: as annotated, or the usual share of the box where the set has no outlines."""
    box_px2 = max(float(person.box[2] * person.box[3]), 1.0)
    return person.area_px2 if person.area_px2 < NO_OUTLINE * box_px2 else OUTLINE_SHARE * box_px2


def owners(seen: Seen, topology: Topology) -> NDArray[np.int64]:
    """(P,) whose each detection is: index of a labelled person, one detection each, or -1."""
    owner = np.full(len(seen.xy_px), -1, dtype=np.int64)
    people = seen.photo.people
    if not len(owner) or not people:
        return owner
    labels, areas = np.stack([p.xy_px for p in people]), np.array([outline_px2(p) for p in people])
    found = seen.xy_px.astype(np.float64)
    similar = oks_matrix(labels, found, topology, areas)
    similar = np.maximum(similar, oks_matrix(labels, found[:, list(topology.mirror)], topology, areas))
    for person, detection in zip(*linear_sum_assignment(-similar), strict=True):
        owner[detection] = person if similar[person, detection] >= SAME_PERSON else -1
    return owner


def in_ignore_box(seen: Seen) -> NDArray[np.bool_]:
    """(P,) detections with half or more of their joints in a box of which nobody knows who is there (crowds, no labels)."""
    boxes = seen.photo.ignore_boxes
    xy = seen.xy_px[:, None]
    inside = ((xy >= boxes[:, None, :2]) & (xy <= boxes[:, None, :2] + boxes[:, None, 2:])).all(-1)  # (P, M, J)
    found = np.isfinite(seen.xy_px).all(-1).sum(-1)
    return np.asarray((2 * inside.sum(-1).max(1, initial=0) >= found) & (found > 0))
