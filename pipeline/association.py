"""Which people in different views are the same person, told from where their joints meet in space.

Every pair of people in two views proposes a person (their joints triangulated); the views in which somebody stands where the
proposal projects to support it; the best supported proposal wins its people, and the rest is decided among those left over.
No proposal can join two people of one view, and views that agree only in pairs, not together, get no support from each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from calibration.rig import Rig
from calibration.triangulate import triangulate
from models.skeleton import Topology
from pipeline.types import DEFAULT_TOPOLOGY, Array, Poses2D

Whole = NDArray[np.int64]

# A proposal needs this many joints seen by both views: fewer meet by chance.
COMMON_JOINTS = 3
# One joint counts at most this many times match_px in a mean, so that a few wrong joints do not part a person.
CUT = 1.25
# Median length of shins, thighs, hips, torso, shoulders and arms: 0.33 m in adults, 0.15 m in infants. Lines of sight of
# different people that happen to meet do so nearer or further than either stands, and make a dwarf or a giant.
MEDIAN_LIMB_M = (0.12, 0.60)
# Detectors take backs for fronts and then exchange left and right of a whole person. A view may be read the other way round
# when that fits better by this share of match_px, and when two others at least say which way round the person is.
MIRROR_COST = 0.15


@dataclass(frozen=True, eq=False)
class Views:
    """People in F instants and C cameras, padded to P: xy_px (F, C, P, J, 2) with NaN for missing, score (F, C, P, J)."""

    xy_px: Array
    score: Array


def pack(instants: Sequence[Sequence[Poses2D | None]], joints: int) -> Views:
    """Poses per instant and camera (None: nobody seen) as padded arrays."""
    cameras = len(instants[0]) if instants else 0
    people = max((len(pose) for views in instants for pose in views if pose is not None), default=0)
    xy_px = np.full((len(instants), cameras, people, joints, 2), np.nan)
    score = np.zeros((len(instants), cameras, people, joints))
    for f, views in enumerate(instants):
        for c, pose in enumerate(views):
            if pose is not None:
                xy_px[f, c, : len(pose)] = pose.xy_px
                score[f, c, : len(pose)] = np.nan_to_num(pose.score, posinf=0.0)
    missing = ~(np.isfinite(xy_px).all(-1) & (score > 0))
    return Views(np.where(missing[..., None], np.nan, xy_px), np.where(missing, 0.0, score))


def with_mirrored(views: Views, topology: Topology = DEFAULT_TOPOLOGY) -> Views:
    """The same people twice, 2P: person p + P is person p with left and right joints exchanged."""
    mirror = list(topology.mirror)
    return Views(
        np.concatenate([views.xy_px, views.xy_px[..., mirror, :]], axis=2),
        np.concatenate([views.score, views.score[..., mirror]], axis=2),
    )


def associate(
    rig: Rig, views: Views, match_px: float, pair_px: float | None = None, topology: Topology = DEFAULT_TOPOLOGY
) -> list[Whole]:
    """Per instant the people seen by two views or more: (G, C) index of the person in each camera, -1 where not seen.

    views: P people and their mirror images (`with_mirrored`), 2P in all; an index of P or more says that the person's left and
    right are exchanged in that view. Which way round a person is, the views decide by their support.

    People match when their joints reproject within match_px on average; within pair_px (match_px unless given) when only two
    views see them and nothing else speaks for them. Two views cannot tell different people apart whose joints all lie on each
    other's epipolar lines. The same input gives the same groups in the same order: best supported first.
    """
    least_gain = 0.0 if pair_px is None else 1.0 - pair_px / match_px
    instants, cameras, people = views.score.shape[:3]
    proposals = [_propose(rig, views, a, b, match_px, topology) for a, b in combinations(range(cameras), 2)]
    if not proposals or people == 0:
        return [np.zeros((0, cameras), dtype=np.int64) for _ in range(instants)]
    instant = np.concatenate([p[0] for p in proposals])
    support = np.concatenate([p[1] for p in proposals])
    return [_choose(support[instant == f], least_gain) for f in range(instants)]


def _propose(rig: Rig, views: Views, a: int, b: int, match_px: float, topology: Topology) -> tuple[Whole, Array]:
    """Proposals of two cameras: their instants (H,), and the support (H, C, P) in 0..1 that everybody in every view gives."""
    people = views.score.shape[2] // 2
    seen = (views.score > 0).sum(-1) >= COMMON_JOINTS
    f, p, q = np.nonzero(seen[:, a, :people, None] & seen[:, b, None, :])
    xyz_m, cost_px = _meet(rig.subset((rig.names[a], rig.names[b])), views, (f, a, p), (f, b, q), match_px)
    keep = (cost_px <= match_px) & _plausible(xyz_m, topology)
    f, p, q, xyz_m, cost_px = f[keep], p[keep], q[keep], xyz_m[keep], cost_px[keep]
    support = np.zeros((len(f), *views.score.shape[1:3]))
    for c, camera in enumerate(rig.cameras):
        if c not in (a, b):
            expected_px = camera.project(xyz_m).reshape(*xyz_m.shape[:2], 2)
            seen_px = views.xy_px[:, c]
            off_x, off_y = (seen_px[f, ..., k] - expected_px[:, None, :, k] for k in (0, 1))
            off_px = np.sqrt(off_x * off_x + off_y * off_y)  # (H, P, J)
            support[:, c] = 1.0 - mean_error(off_px, np.isfinite(seen_px[..., 0])[f], match_px) / match_px
    rows = np.arange(len(f))
    support[rows, a, p] = support[rows, b, q] = 1.0 - cost_px / match_px
    support[..., people:] -= MIRROR_COST
    return f, np.maximum(support, 0.0)


def _meet(
    pair: Rig, views: Views, left: tuple[Whole, int, Whole], right: tuple[Whole, int, Whole], match_px: float
) -> tuple[Array, Array]:
    """Joints (H, J, 3) in m where people of two views meet, and their mean reprojection error (H,) in px."""
    both = np.stack([views.xy_px[left], views.xy_px[right]])  # (2, H, J, 2)
    proposals, joints = both.shape[1:3]
    points = triangulate(pair, both.reshape(2, -1, 2))
    error_px = points.error_px.reshape(proposals, joints)
    common = np.isfinite(both).all((0, 3))
    return points.xyz_m.reshape(proposals, joints, 3), mean_error(error_px, common, match_px)


def mean_error(error_px: Array, common: NDArray[np.bool_], match_px: float) -> Array:
    """Mean over joints (..., J) seen in both places, each cut off; infinite with too few of them. NaN errors (joints behind a
    camera) count as cut off where the proposal should have had them."""
    cut = np.where(common, np.fmin(error_px, CUT * match_px), 0.0)  # of NaN and a number, the number
    known = common.sum(-1)
    return np.where(known >= COMMON_JOINTS, cut.sum(-1) / np.maximum(known, 1), np.inf)


def _plausible(xyz_m: Array, topology: Topology) -> NDArray[np.bool_]:
    """(H,) whether the median limb of skeletons (H, J, 3) has a human length; True where no limb is known."""
    limbs = np.array([limb for limb in topology.limbs if set(limb) <= set(topology.limb_joints)])
    length_m = np.linalg.norm(xyz_m[:, limbs[:, 0]] - xyz_m[:, limbs[:, 1]], axis=-1)
    known = np.isfinite(length_m).any(-1)
    median = np.full(len(xyz_m), np.nan)
    median[known] = np.nanmedian(length_m[known], axis=-1)
    return ~known | ((median >= MEDIAN_LIMB_M[0]) & (median <= MEDIAN_LIMB_M[1]))


def _choose(support: Array, least_gain: float) -> Whole:
    """Groups (G, C) of one instant, best supported proposal first; whom a group has won supports no other."""
    proposals, cameras, people = support.shape[0], support.shape[1], support.shape[2] // 2
    support, groups = support.copy(), []
    while proposals and people:
        best = int(support.max(2).sum(1).argmax())  # the first of equals: deterministic
        person, gain = support[best].argmax(1), support[best].max(1)
        seen = gain > 0
        if seen.sum() < 2:
            break
        turned = seen & (person >= people)
        if seen.sum() == 2 and (gain[seen].min() < least_gain or turned.any()):
            support[best] = 0.0
            continue
        if gain[turned].sum() > gain[seen & ~turned].sum():
            person = (person + people) % (2 * people)
        groups.append(np.where(seen, person, -1))
        for c in np.flatnonzero(seen):
            support[:, c, person[c] % people] = support[:, c, person[c] % people + people] = 0.0
        support[(support.max(2) > 0).sum(1) < 2] = 0.0
    return np.array(groups, dtype=np.int64).reshape(-1, cameras)
