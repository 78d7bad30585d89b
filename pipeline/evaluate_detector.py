"""The detector against labelled photos: PCK@0.2 of the torso on whole pictures, beside a constant mean pose.

Protocol. The detector sees the whole picture and no box. A photo counts when its labelled person has a left shoulder and a
right hip, whose distance is the torso. Of the people detected, the one with the most labelled limb joints within
0.2 torso of the labels is taken (ties: the smallest mean distance over the labelled limb joints found). A joint that is
missing, or not within 0.2 torso, is wrong. The figure is the mean over the twelve limb joints of the share of right ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.photos import Person, Photo, read_photos
from models.skeleton import COCO17, Topology
from pipeline.errors import InputError
from pipeline.evaluate import pck

Array = NDArray[Any]
THRESHOLD = 0.2


class DetectsPeople(Protocol):
    """Anything with the `detect` of `models.detector.Detector`."""

    def detect(self, images: Array) -> list[tuple[Array, Array, Array]]:
        """(B, H, W, 3) uint8 RGB -> per image xy_px (P, J, 2), score (P, J), tag (P, K)."""
        ...


@dataclass(frozen=True)
class DetectorReport:
    """Figures of one labelled set. `pck` and `mean_pose_pck` are means over the limb joints; `per_joint` names each."""

    photos: int
    people: int
    pck: float
    mean_pose_pck: float | None
    per_joint: dict[str, float]
    share_detected: float
    people_found_per_photo: float

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        return asdict(self)


def evaluate_detector(
    detector: DetectsPeople,
    folder: Path,
    only: Sequence[str] | None = None,
    mean_pose: Array | None = None,
    topology: Topology = COCO17,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> DetectorReport:
    """PCK@0.2 (torso) of a detector on the labelled people of a COCO-layout folder, by the protocol of this module.

    only: file names to keep. mean_pose: (J, 2) in shares of the labelled box, the baseline that needs no picture; without it
    the one recorded with the detector's weights is used.
    Raises InputError when the folder holds no annotations, or nobody with a labelled torso.
    """
    people = labelled_people(folder, only, topology)
    mean_pose = getattr(detector, "about", {}).get("mean_pose") if mean_pose is None else mean_pose
    found, counts = [], []
    for done, (photo, group) in enumerate(people):
        detected = detector.detect(photo.image()[None])[0][0]
        counts.append(len(detected))
        found += [nearest_person(detected, person, topology) for person in group]
        progress(done + 1, len(people))
    persons = [person for _, group in people for person in group]
    mean, per_joint = limb_pck(np.stack(found), persons, topology)
    placed = None if mean_pose is None else np.stack([_place(np.asarray(mean_pose), p.box) for p in persons])
    return DetectorReport(
        photos=len(people),
        people=len(persons),
        pck=mean,
        mean_pose_pck=None if placed is None else limb_pck(placed, persons, topology)[0],
        per_joint={topology.joints[j]: float(per_joint[j]) for j in topology.limb_joints},
        share_detected=float(np.mean([np.isfinite(xy).any() for xy in found])),
        people_found_per_photo=float(np.mean(counts)),
    )


def labelled_people(folder: Path, only: Sequence[str] | None, topology: Topology) -> list[tuple[Photo, list[Person]]]:
    """Photos of a folder with their people whose torso is labelled. Raises InputError when there are none."""
    if not (folder / "annotations.json").is_file():
        raise InputError(f"{folder}: expected annotations.json and images/ (COCO layout), found no annotations.json")
    ends = [topology.index("left_shoulder"), topology.index("right_hip")]
    chosen = []
    for photo in read_photos(folder, topology, only=only):
        if people := [p for p in photo.people if p.labelled[ends].all()]:
            chosen.append((photo, people))
    if not chosen:
        raise InputError(f"{folder}: expected people with a labelled left shoulder and right hip (the torso), found none")
    return chosen


def torso_px(person: Person, topology: Topology) -> float:
    """Distance from left shoulder to right hip."""
    ends = person.xy_px[[topology.index("left_shoulder"), topology.index("right_hip")]]
    return float(np.linalg.norm(ends[0] - ends[1]))


def nearest_person(detected: Array, person: Person, topology: Topology) -> Array:
    """(J, 2) of the detected person (P, J, 2) with the most labelled limb joints in place; NaN when nobody was detected."""
    if not len(detected):
        return np.full((len(topology), 2), np.nan)
    limbs = [j for j in topology.limb_joints if person.labelled[j]]
    error = np.linalg.norm(detected[:, limbs] - person.xy_px[limbs], axis=-1) / torso_px(person, topology)
    within = (error <= THRESHOLD).sum(1)
    seen = np.isfinite(error)
    mean_error = np.where(seen, error, 0).sum(1) / np.maximum(seen.sum(1), 1) + np.where(seen.any(1), 0, np.inf)
    return detected[np.lexsort((mean_error, -within))[0]]


def limb_pck(found: Array, people: Sequence[Person], topology: Topology) -> tuple[float, Array]:
    """Mean over the limb joints, and per joint (J,), of found (N, J, 2) against people."""
    truth, labelled = np.stack([p.xy_px for p in people]), np.stack([p.labelled for p in people])
    reference = np.array([torso_px(p, topology) for p in people])
    _, per_joint = pck(found, truth, labelled, reference, THRESHOLD)
    return float(np.nanmean(per_joint[list(topology.limb_joints)])), per_joint


def _place(mean_pose: Array, box: Array) -> Array:
    return box[:2] + mean_pose * box[2:]
