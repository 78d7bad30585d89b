"""People of one view from part candidates and limb affinities, the output of part-affinity networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.types import Array

# Affinity of two candidates below which nothing joins them: OpenPose's threshold for a part affinity field.
LEAST_AFFINITY = 0.05
# A group of fewer joints is no person, but stray candidates of one.
LEAST_JOINTS = 3


@dataclass(frozen=True, eq=False)
class Candidates:
    """Candidates of J joints in one view, and affinities of L limbs.

    parts: J arrays (N_j, 3) of x px, y px, score. affinity: L arrays (N_a, N_b) for limbs (a, b). Raises ValueError where a
    shape does not fit, naming joint or limb.
    """

    parts: tuple[Array, ...]
    limbs: tuple[tuple[int, int], ...]
    affinity: tuple[Array, ...]

    def __post_init__(self) -> None:
        if len(self.limbs) != len(self.affinity):
            raise ValueError(f"Candidates: expected affinities of {len(self.limbs)} limbs, got {len(self.affinity)}")
        for j, part in enumerate(self.parts):
            if part.ndim != 2 or part.shape[1] != 3:
                raise ValueError(f"Candidates: expected joint {j} (N, 3: x, y, score), got {part.shape}")
        for (a, b), affinity in zip(self.limbs, self.affinity, strict=True):
            expected = (len(self.parts[a]), len(self.parts[b]))
            if affinity.shape != expected:
                raise ValueError(f"Candidates: expected affinity {expected} of limb ({a}, {b}), got {affinity.shape}")


def group_candidates(
    candidates: Candidates, least_affinity: float = LEAST_AFFINITY, least_joints: int = LEAST_JOINTS
) -> tuple[Array, Array]:
    """People (P, J, 2) px, NaN for missing joints, and their scores (P, J), most joints first.

    The surest limbs join first, over the whole body; a limb that would give a person two candidates of one joint is left out.
    Candidates that are not finite, and affinities that are not, join nothing. Source: greedy matching of part affinities
    (Cao et al. 2017, 2.4), as maximum spanning trees under that condition.
    """
    owner = [np.full(len(part), -1) for part in candidates.parts]
    people: dict[int, dict[int, int]] = {}
    for _, limb, p, q in _sorted_edges(candidates, least_affinity):
        a, b = candidates.limbs[limb]
        first, second = _member(people, owner, a, p), _member(people, owner, b, q)
        if first != second and not people[first].keys() & people[second].keys():
            for joint, index in people.pop(second).items():
                people[first][joint] = index
                owner[joint][index] = first
    found = sorted((person for person in people.values() if len(person) >= least_joints), key=len, reverse=True)
    return _arrays(candidates.parts, found)


def _sorted_edges(candidates: Candidates, least: float) -> list[tuple[float, int, int, int]]:
    """(-affinity, limb, candidate, candidate) of the joinable pairs, surest first."""
    finite = [np.asarray(np.isfinite(part).all(1)) for part in candidates.parts]
    edges = []
    for limb, ((a, b), affinity) in enumerate(zip(candidates.limbs, candidates.affinity, strict=True)):
        joined = np.isfinite(affinity) & (affinity > least) & np.logical_and.outer(finite[a], finite[b])
        edges += [(-float(affinity[p, q]), limb, int(p), int(q)) for p, q in zip(*np.nonzero(joined), strict=True)]
    return sorted(edges)


def _member(people: dict[int, dict[int, int]], owner: Sequence[Array], joint: int, index: int) -> int:
    """The person who has a candidate; a new one if nobody has."""
    if owner[joint][index] < 0:
        new = sum(len(part) for part in owner[:joint]) + index
        owner[joint][index], people[new] = new, {joint: index}
    return int(owner[joint][index])


def _arrays(parts: Sequence[Array], people: Sequence[dict[int, int]]) -> tuple[Array, Array]:
    xy_px = np.full((len(people), len(parts), 2), np.nan)
    score = np.zeros((len(people), len(parts)))
    for p, person in enumerate(people):
        for joint, index in person.items():
            xy_px[p, joint], score[p, joint] = parts[joint][index, :2], parts[joint][index, 2]
    return xy_px, score
