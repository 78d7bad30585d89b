"""Joints of a track that no views gave: where the pose prior and the sightings before and after have them.

They are smoothed joints only: what the views gave, and how far off it was, is not touched, and their n_views stays 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.types import Array

if TYPE_CHECKING:
    from models.prior_score import SkeletonPrior

LEAST_NOISE_M = 0.003
BLOCK = 128  # instants whose posteriors are drawn at once


def posteriors(prior: SkeletonPrior, t_s: Array, xyz_m: Array, covariance_m2: Array) -> tuple[NDArray[np.bool_], Array, Array]:
    """Which joints (F, J) of a track are missing and have a posterior, its means (F, J, 3) and covariances (F, J, 3, 3), NaN
    elsewhere.

    t_s (F,), xyz_m (F, J, 3) in m, z up, covariance_m2 (F, J, 3, 3) of the joints that are known. Instants with fewer known
    joints than the prior judges have none.
    """
    from models.prior_score import LEAST_JOINTS
    from models.prior_track import posterior_in_time

    known = np.isfinite(xyz_m).all(-1)
    asked = ~known & (known.sum(1) >= LEAST_JOINTS)[:, None]
    mean_m, posterior_m2 = np.full_like(xyz_m, np.nan), np.full_like(covariance_m2, np.nan)
    rows = np.flatnonzero(asked.any(1))
    for some in (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)):
        found = posterior_in_time(prior, t_s, xyz_m, noise_m(covariance_m2[known]), some, seed=int(some[0]))
        mean_m[some], posterior_m2[some] = found.mean_m, found.covariance_m2
    return asked, np.where(asked[..., None], mean_m, np.nan), np.where(asked[..., None, None], posterior_m2, np.nan)


def noise_m(covariance_m2: Array) -> float:
    """1 sigma of a coordinate in the middle of joints' covariances (N, 3, 3)."""
    spread_m = np.sqrt(np.trace(covariance_m2, axis1=-2, axis2=-1) / 3)
    told = spread_m[np.isfinite(spread_m)]
    return max(float(np.median(told)), LEAST_NOISE_M) if len(told) else LEAST_NOISE_M
