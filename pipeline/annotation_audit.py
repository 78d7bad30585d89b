"""Labels of other people's datasets that are most likely wrong: limbs longer than bodies have them, and sides exchanged.

A picture can make a limb look shorter, never longer, than the person's size allows; so limbs are judged from above alone. How
long limbs are beside each other, and how much that varies, is taken from the dataset itself, whose middle wrong labels do not
move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from models.skeleton import Topology
from pipeline.errors import InputError
from pipeline.labelled_photos import labelled_photos
from pipeline.limbs import body_limbs, limb_lengths_m, median_known
from pipeline.types import DEFAULT_TOPOLOGY, Array

# Limbs that must be labelled before a person has a size.
LEAST_LIMBS = 3
LEAST_PEOPLE = 10
PASSES = 5
ANOTHER = 3.0
NOISE = 0.05  # of the sum of two limbs by where labels are set, in median limbs
# Joints further out hang from those further in: (in, out) of each side.
CHAINS = (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle"))


@dataclass(frozen=True)
class Doubt:
    """A person's labels by how much speaks against them: score in robust standard deviations of the dataset, high is bad."""

    file: str
    person: int
    score: float
    joint: str
    reason: str


def doubtful_labels(folder: Path, topology: Topology = DEFAULT_TOPOLOGY) -> list[Doubt]:
    """Everybody in a folder of COCO layout or our Parquet who can be judged, the most doubtful first.

    Raises InputError for a folder that cannot be read, or with too few people to say what is usual.
    """
    photos = labelled_photos(folder, None, topology)
    people = [(photo.file_name, k, person) for photo in photos for k, person in enumerate(photo.people)]
    xy_px = np.stack([np.where(person.labelled[:, None], person.xy_px, np.nan) for _, _, person in people]).astype(np.float64)
    excess, exchanged = long_limbs(xy_px, topology), exchanged_sides(xy_px, topology)
    judged = np.asarray(np.isfinite(excess).any(1))
    if judged.sum() < LEAST_PEOPLE:
        raise InputError(
            f"{folder}: expected at least {LEAST_PEOPLE} people with {LEAST_LIMBS} labelled limbs, found {judged.sum()}"
        )
    doubts = [
        _doubt(name, number, excess[row], exchanged[row], topology)
        for row, (name, number, _) in enumerate(people)
        if judged[row]
    ]
    return sorted(doubts, key=lambda doubt: -doubt.score)


def long_limbs(xy_px: Array, topology: Topology = DEFAULT_TOPOLOGY) -> Array:
    """(N, J) by how many robust standard deviations the limbs of a joint (N, J, 2) together are too long for the person, less
    ANOTHER for each limb but one: a joint that is off stretches all of its limbs. NaN where nothing is labelled."""
    limbs = body_limbs(topology)
    length_px = np.maximum(limb_lengths_m(xy_px, limbs), 1e-3)
    size_px, usual = _sizes(length_px)
    spread = _upper_spread(np.log(length_px / (size_px[:, None] * usual)))
    deviation = np.log(length_px / (size_px[:, None] * usual)) / spread
    out = np.full(xy_px.shape[:2], np.nan)
    for joint in range(len(topology)):
        mine = [number for number, limb in enumerate(limbs) if joint in limb]
        if mine:
            known = np.isfinite(deviation[:, mine])
            together = np.where(known, deviation[:, mine], 0.0).sum(1) - ANOTHER * (known.sum(1) - 1)
            out[:, joint] = np.where(known.any(1), together, np.nan)
    return out


def exchanged_sides(xy_px: Array, topology: Topology = DEFAULT_TOPOLOGY) -> Array:
    """(N, len(CHAINS)) how much shorter a pair of limbs is with its outer ends exchanged, by NOISE; NaN where not all four
    ends are labelled."""
    size_px, _ = _sizes(np.maximum(limb_lengths_m(xy_px, body_limbs(topology)), 1e-3))
    gains = []
    for inner, outer in CHAINS:
        a, b = ([topology.index(f"{side}_{name}") for side in ("left", "right")] for name in (inner, outer))
        straight, crossed = (np.linalg.norm(xy_px[:, a] - xy_px[:, ends], axis=-1).sum(1) for ends in (b, b[::-1]))
        gains.append((straight - crossed) / size_px)
    return np.stack(gains, axis=1) / NOISE


def _sizes(length_px: Array) -> tuple[Array, Array]:
    """Sizes (N,) of people in px, NaN with fewer than LEAST_LIMBS, and usual limb lengths (L,) per size: each the median of
    what the other makes of the lengths (N, L)."""
    usual = np.ones(length_px.shape[1])
    enough = np.isfinite(length_px).sum(1) >= LEAST_LIMBS
    size_px = np.full(len(length_px), np.nan)
    for _ in range(PASSES):
        if enough.any():
            size_px[enough] = median_known((length_px[enough] / usual).T)
            found = median_known(length_px[enough] / size_px[enough, None])
            usual = np.where(np.isfinite(found), found, 1.0)
    return size_px, usual


def _upper_spread(values: Array) -> Array:
    """(L,) standard deviations by the upper half of (N, L); 1 where nothing is known."""
    spread = np.ones(values.shape[1])
    for column, some in enumerate(values.T):
        known = some[np.isfinite(some)]
        if len(known):
            upper = known[known >= np.median(known)] - np.median(known)
            spread[column] = max(float(np.median(upper)) / 0.6745, 1e-3)
    return spread


def _doubt(name: str, number: int, excess: Array, exchanged: Array, topology: Topology) -> Doubt:
    joint = int(np.nanargmax(excess))
    doubts = [(float(excess[joint]), topology.joints[joint], "limbs too long for this person")]
    if np.isfinite(exchanged).any():
        chain = int(np.nanargmax(exchanged))
        inner, outer = CHAINS[chain]
        doubts.append((float(exchanged[chain]), f"left_{outer}", f"left and right {outer} fit the {inner}s better exchanged"))
    score, blamed, reason = max(doubts)
    return Doubt(name, number, score, blamed, reason)


def as_rows(doubts: Sequence[Doubt]) -> list[dict[str, object]]:
    """For tables and JSON."""
    return [{**asdict(doubt), "score": round(doubt.score, 2)} for doubt in doubts]
