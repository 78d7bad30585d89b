"""What became of every labelled joint: right, swapped with its mirror, missed, or elsewhere; and the worst people of a set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.photos import Person, Photo
from models.skeleton import Topology
from pipeline.labelled_photos import torso_px
from pipeline.types import Array

UNLABELLED, RIGHT, SWAPPED, MISSED, FAR = range(5)
OUTCOMES = ("unlabelled", "right", "swapped", "missed", "far")


@dataclass(frozen=True, eq=False)
class Failure:
    """A labelled person and the detection (J, 2) compared with it, NaN where nothing was found; counts of limb joints."""

    photo: Photo
    person: Person
    found_px: Array
    counts: dict[str, int]

    @property
    def why(self) -> str:
        """The outcome of most of the wrong joints."""
        return max(("missed", "swapped", "far"), key=self.counts.__getitem__)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        told = {"file": self.photo.file_name, "box_xywh_px": self.person.box.tolist(), "why": self.why}
        return told | self.counts


def joint_outcomes(found: Array, people: Sequence[Person], topology: Topology, threshold: float = 0.2) -> NDArray[np.int64]:
    """(N, J) outcome of found (N, J, 2) against people, within threshold of the torso.

    swapped: wrong, and where its mirror's label is. missed: not found, or of a detection that has no joint right or swapped, so
    that it is another person's or nobody's. far: the others.
    """
    mirror = list(topology.mirror)
    truth, labelled = np.stack([p.xy_px for p in people]), np.stack([p.labelled for p in people])
    reach = threshold * np.array([torso_px(p, topology) for p in people])[:, None]
    right = labelled & (np.linalg.norm(found - truth, axis=-1) <= reach)  # False for NaN
    swapped = labelled & ~right & (np.linalg.norm(found - truth[:, mirror], axis=-1) <= reach)
    absent = ~np.isfinite(found).all(-1) | ~(right | swapped).any(1, keepdims=True)
    return np.select([~labelled, right, swapped, absent], [UNLABELLED, RIGHT, SWAPPED, MISSED], FAR)


def outcome_shares(outcomes: NDArray[np.int64], topology: Topology) -> dict[str, float]:
    """Shares of the labelled limb joints that were right, swapped, missed and far."""
    limbs = outcomes[:, list(topology.limb_joints)]
    labelled = max(int((limbs != UNLABELLED).sum()), 1)
    return {OUTCOMES[kind]: float((limbs == kind).sum() / labelled) for kind in (RIGHT, SWAPPED, MISSED, FAR)}


def worst_people(
    photos: Sequence[Photo], people: Sequence[Person], found: Array, outcomes: NDArray[np.int64], topology: Topology, count: int
) -> list[Failure]:
    """The `count` people with the smallest share of right limb joints, of equals those with more wrong ones first.

    photos: of each of the people (N); found (N, J, 2). People without a wrong limb joint are no failures.
    """
    limbs = outcomes[:, list(topology.limb_joints)]
    right, wrong = (limbs == RIGHT).sum(1), (limbs > RIGHT).sum(1)
    share = right / np.maximum(right + wrong, 1)
    order = [n for n in np.lexsort((np.arange(len(right)), -wrong, share)) if wrong[n]]
    counts = [{OUTCOMES[kind]: int((row == kind).sum()) for kind in range(1, len(OUTCOMES))} for row in limbs]
    return [Failure(photos[n], people[n], found[n], counts[n]) for n in order[:count]]
