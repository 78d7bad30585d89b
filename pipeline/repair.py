"""Joints that a view gave to the wrong limb or to the wrong person, given back to whom they fit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.rig import Rig
from models.skeleton import Topology
from pipeline.association import Views, Whole
from pipeline.types import DEFAULT_TOPOLOGY, Array

Flags = NDArray[np.bool_]


def repaired(
    rig: Rig, views: Views, instant: Whole, whose: Whole, xyz_m: Array, used: Flags, threshold_px: float,
    topology: Topology = DEFAULT_TOPOLOGY,
) -> Whole:  # fmt: skip
    """Whose joints (G, C, J) make each person, with those mended that had no part in xyz_m (G, J, 3), by used (C, G, J).

    views: F instants of people and their mirror images, 2P in all; instant (G,) into F. A view whose joint conflicts with the
    others, or is missing, takes the nearest joint of the same or of the opposite side, of anybody in that view, that nobody
    uses and that lies within threshold_px of the point's projection.
    """
    mended, mirror, people = whose.copy(), np.array(topology.mirror), views.score.shape[2] // 2
    for c, camera in enumerate(rig.cameras):
        g, j = np.nonzero(~used[c] & np.isfinite(xyz_m).all(-1))
        if not len(g):
            continue
        off_px = np.linalg.norm(views.xy_px[instant[g], c, :, j] - camera.project(xyz_m[g, j])[:, None], axis=-1)
        free = ~_in_use(views, instant, whose[:, c], used[c], mirror)[instant[g], :, j]
        off_px = np.where(free & (off_px <= threshold_px), off_px, np.inf)
        person = off_px.argmin(1)
        side = np.where(person < people, j, mirror[j])
        what = (instant[g] * people + person % people) * len(mirror) + side
        kept = _nearest_takes(off_px.min(1), what)
        mended[g[kept], c, j[kept]] = person[kept]
    return mended


def gathered(views: Views, instant: Whole, whose: Whole) -> tuple[Array, Array]:
    """The joints that make people, by whose they are (G, C, J): xy_px (C, G, J, 2) and score (C, G, J), NaN and 0 for -1."""
    whose, joints = whose.swapaxes(0, 1), np.arange(whose.shape[2])
    if views.score.shape[2] == 0:
        return np.full((*whose.shape, 2), np.nan), np.zeros(whose.shape)
    at = (instant[:, None], np.arange(len(whose))[:, None, None], whose, joints)
    return np.where((whose < 0)[..., None], np.nan, views.xy_px[at]), np.where(whose < 0, 0.0, views.score[at])


def _in_use(views: Views, instant: Whole, person: Whole, used: Flags, mirror: Whole) -> Flags:
    """(F, 2P, J) whose joints in a view somebody uses, by the person (G, J) that each joint is of and the joints used."""
    people = views.score.shape[2] // 2
    taken = np.zeros((len(views.score), people, used.shape[1]), dtype=bool)
    g, j = np.nonzero(used)
    taken[instant[g], person[g, j] % people, np.where(person[g, j] < people, j, mirror[j])] = True
    return np.concatenate([taken, taken[..., mirror]], axis=1)


def _nearest_takes(off_px: Array, what: Whole) -> Whole:
    """Rows that get what they ask for: of several that ask for the same thing the nearest one; infinitely far ones nothing."""
    order = np.argsort(off_px, kind="stable")
    order = order[np.isfinite(off_px[order])]
    return order[np.unique(what[order], return_index=True)[1]]
