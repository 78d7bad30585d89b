"""The detector against labelled photos: OKS-AP and AR, PCK of torso and head, and what went wrong, on whole pictures.

PCK protocol. The detector sees the whole picture and no box. A photo counts when its labelled person has a left shoulder and a
right hip, whose distance is the torso. Of the people detected, the one with the most labelled limb joints within
0.2 torso of the labels is taken (ties: the smallest mean distance over the labelled limb joints found). A joint that is
missing, or not within 0.2 torso, is wrong. The figure is the mean over the twelve limb joints of the share of right ones.
PCKh takes the same detected person and half a head (`labelled_photos.head_px`). OKS figures are over all photos (`oks`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.photos import Person, Photo
from models.skeleton import COCO17, Topology
from pipeline.errors import InputError
from pipeline.evaluate import defined, pck
from pipeline.joint_outcomes import Failure, joint_outcomes, outcome_shares, worst_people
from pipeline.labelled_photos import Seen, has_torso, head_px, in_ignore_box, labelled_photos, owners, torso_px
from pipeline.oks import oks_figures

Array = NDArray[Any]
THRESHOLD = 0.2
HEAD_THRESHOLD = 0.5
WORST = 30  # people on the failure sheet
# Height of a person's box in the photo, px. The last range is the one of the goal for photos never trained on.
HEIGHTS_PX = {"<64": (0.0, 64.0), "64-96": (64.0, 96.0), "96-192": (96.0, 192.0), ">192": (192.0, 1e5), ">96": (96.0, 1e5)}
CROWDS = {"1": (1, 1), "2": (2, 2), "3": (3, 3), "4 or more": (4, 10**6)}


class DetectsPeople(Protocol):
    """Anything with the `detect` of `models.detector.Detector`."""

    def detect(self, images: Array) -> list[tuple[Array, Array, Array]]:
        """(B, H, W, 3) uint8 RGB -> per image xy_px (P, J, 2), score (P, J), tag (P, K)."""
        ...


@dataclass(frozen=True)
class DetectorReport:
    """Figures of one labelled set; shares of 1, NaN where nothing defines them.

    pck, mean_pose_pck, pckh: means over the limb joints, of `people` with a labelled torso in `photos`; heads: how many of them
    have a head size. per_joint, per_joint_pckh name each. outcomes: shares of their limb joints right, swapped, missed and far.
    false_people_per_photo: detections, over `all_photos`, that are no labelled person's and stand in no ignore box; bystanders
    whom nobody labelled count, so on sets that label one person a photo it is an upper bound. oks: COCO's ten figures over all
    photos. by_height, by_people: rows for heights of people's boxes in px, and for the number of labelled people in the photo.
    """

    photos: int
    people: int
    pck: float
    mean_pose_pck: float | None
    per_joint: dict[str, float]
    share_detected: float
    people_found_per_photo: float
    pckh: float
    heads: int
    per_joint_pckh: dict[str, float]
    outcomes: dict[str, float]
    all_photos: int
    all_people: int
    false_people_per_photo: float
    oks: dict[str, float]
    by_height: list[dict[str, Any]]
    by_people: list[dict[str, Any]]
    failures: tuple[Failure, ...] = field(default=(), repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; None where a figure is not defined."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "failures"}
        told: dict[str, Any] = defined(plain | {"failures": [failure.to_dict() for failure in self.failures]})
        return told


@dataclass(frozen=True, eq=False)
class _Torsos:
    """People with a labelled torso, one row each: photo, person, found (J, 2), placed (J, 2) the mean pose or None."""

    photos: list[Photo]
    people: list[Person]
    found: Array
    placed: Array | None
    topology: Topology

    def figures(self, rows: Sequence[int] | None = None) -> dict[str, Any]:
        """People, PCK, PCKh and the mean pose's PCK of some of the people, or of all."""
        chosen = list(range(len(self.people)) if rows is None else rows)
        people = [self.people[n] for n in chosen]
        if not people:
            return {"people": 0, "pck": math.nan, "pckh": math.nan, "mean_pose_pck": math.nan}
        placed = math.nan if self.placed is None else limb_pck(self.placed[chosen], people, self.topology)[0]
        return {
            "people": len(people),
            "pck": limb_pck(self.found[chosen], people, self.topology)[0],
            "pckh": limb_pckh(self.found[chosen], people, self.topology)[0],
            "mean_pose_pck": placed,
        }


def evaluate_detector(
    detector: DetectsPeople,
    folder: Path,
    only: Sequence[str] | None = None,
    mean_pose: Array | None = None,
    topology: Topology = COCO17,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> DetectorReport:
    """Figures of a detector on the labelled people of a COCO-layout folder, by the protocol of this module.

    only: file names to keep. mean_pose: (J, 2) in shares of the labelled box, the baseline that needs no picture; without it
    the one recorded with the detector's weights is used.
    Raises InputError for annotations that cannot be used, missing images, and when nobody has a labelled torso.
    """
    photos = labelled_photos(folder, only, topology)
    if not any(has_torso(person, topology) for photo in photos for person in photo.people):
        raise InputError(f"{folder}: expected people with a labelled left shoulder and right hip (the torso), found none")
    mean_pose = getattr(detector, "about", {}).get("mean_pose") if mean_pose is None else mean_pose
    seen = detect_all(detector, photos, progress)
    torsos = _torsos(seen, mean_pose, topology)
    oks, ap_by_height = oks_figures(seen, topology, HEIGHTS_PX)
    return _report(seen, torsos, oks, ap_by_height)


def detect_all(
    detector: DetectsPeople, photos: Sequence[Photo], progress: Callable[[int, int], None] = lambda done, total: None
) -> list[Seen]:
    """Every photo with the people detected in it. Raises InputError naming a file that is no image."""
    seen = []
    for done, photo in enumerate(photos):
        try:
            image = photo.image()
        except ValueError as error:
            raise InputError(str(error)) from error
        xy_px, score, _ = detector.detect(image[None])[0]
        seen.append(Seen(photo, xy_px, score))
        progress(done + 1, len(photos))
    return seen


def _torsos(seen: Sequence[Seen], mean_pose: Array | None, topology: Topology) -> _Torsos:
    pairs = [(each, person) for each in seen for person in each.photo.people if has_torso(person, topology)]
    people = [person for _, person in pairs]
    placed = None if mean_pose is None else np.stack([_place(np.asarray(mean_pose), p.box) for p in people])
    found = np.stack([nearest_person(each.xy_px, person, topology) for each, person in pairs])
    return _Torsos([each.photo for each, _ in pairs], people, found, placed, topology)


def _report(seen: Sequence[Seen], torsos: _Torsos, oks: dict[str, float], ap_by_height: dict[str, float]) -> DetectorReport:
    topology, people, found = torsos.topology, torsos.people, torsos.found
    outcomes, overall = joint_outcomes(found, people, topology, THRESHOLD), torsos.figures()
    with_torso = [each for each in seen if any(has_torso(person, topology) for person in each.photo.people)]
    return DetectorReport(
        photos=len(with_torso),
        people=len(people),
        pck=overall["pck"],
        mean_pose_pck=None if torsos.placed is None else overall["mean_pose_pck"],
        per_joint=_named(limb_pck(found, people, topology)[1], topology),
        share_detected=float(np.mean([np.isfinite(xy).any() for xy in found])),
        people_found_per_photo=float(np.mean([len(each.xy_px) for each in with_torso])),
        pckh=overall["pckh"],
        heads=int(np.isfinite([head_px(person, topology) for person in people]).sum()),
        per_joint_pckh=_named(limb_pckh(found, people, topology)[1], topology),
        outcomes=outcome_shares(outcomes, topology),
        all_photos=len(seen),
        all_people=sum(len(each.photo.people) for each in seen),
        false_people_per_photo=float(np.mean([false_people(each, topology) for each in seen])),
        oks=oks,
        by_height=_rows_by_height(torsos, ap_by_height),
        by_people=_rows_by_people(torsos, seen),
        failures=tuple(worst_people(torsos.photos, people, found, outcomes, topology, WORST)),
    )


def _rows_by_height(torsos: _Torsos, ap: dict[str, float]) -> list[dict[str, Any]]:
    heights = [float(person.box[3]) for person in torsos.people]
    return [
        {"height_px": name, **torsos.figures([n for n, h in enumerate(heights) if low <= h < high]), "AP": ap[name]}
        for name, (low, high) in HEIGHTS_PX.items()
    ]


def _rows_by_people(torsos: _Torsos, seen: Sequence[Seen]) -> list[dict[str, Any]]:
    counts = [len(photo.people) for photo in torsos.photos]
    rows = []
    for name, (low, high) in CROWDS.items():
        some = [each for each in seen if low <= len(each.photo.people) <= high]
        false = float(np.mean([false_people(each, torsos.topology) for each in some])) if some else math.nan
        figures = torsos.figures([n for n, count in enumerate(counts) if low <= count <= high])
        rows.append({"people_in_photo": name, **figures, "false_people_per_photo": false})
    return rows


def false_people(seen: Seen, topology: Topology) -> int:
    """Detections that are no labelled person's (or a second one of the same) and stand in no ignore box."""
    return int(((owners(seen, topology) < 0) & ~in_ignore_box(seen)).sum())


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
    return _limb_mean(found, people, [torso_px(p, topology) for p in people], THRESHOLD, topology)


def limb_pckh(found: Array, people: Sequence[Person], topology: Topology) -> tuple[float, Array]:
    """As `limb_pck`, within half a head; NaN where nobody has a head size."""
    return _limb_mean(found, people, [head_px(p, topology) for p in people], HEAD_THRESHOLD, topology)


def _limb_mean(
    found: Array, people: Sequence[Person], reference_px: Sequence[float], threshold: float, topology: Topology
) -> tuple[float, Array]:
    truth, labelled = np.stack([p.xy_px for p in people]), np.stack([p.labelled for p in people])
    _, per_joint = pck(found, truth, labelled, np.array(reference_px), threshold)
    limbs = per_joint[list(topology.limb_joints)]
    return float(np.nanmean(limbs)) if np.isfinite(limbs).any() else math.nan, per_joint


def _named(per_joint: Array, topology: Topology) -> dict[str, float]:
    return {topology.joints[j]: float(per_joint[j]) for j in topology.limb_joints}


def _place(mean_pose: Array, box: Array) -> Array:
    return box[:2] + mean_pose * box[2:]
