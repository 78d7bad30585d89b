"""p-values of skeletons against the session they are from: how often one of it, made of people, is as surprising.

A session has its own definition of joints, its own noise and its own movements: its people surprise a prior more than those
it learned from. So the latents of each joint are measured from where the session has them, by how far they scatter there;
never more strictly than the prior's own people. Two figures of a skeleton are compared with the session's: its largest
surprise, which finds one joint that is off, and all of them together, which find poses that are odd everywhere. Each is a
Gumbel variable about the session's middle, which wrong skeletons do not move, and their p-values are combined by Cauchy's
distribution (Liu and Xie 2020), which holds however the two depend on each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.prior import JOINTS

Array = NDArray[np.float64]
Latents = NDArray[np.floating[Any]]

# Skeletons a session needs to be a yardstick; those of fewer are not judged, for nobody knows what is usual there.
LEAST_SKELETONS = 10
MEDIAN = 2.366  # of chi-square with 3 degrees of freedom
MOST_USUAL = 4.0  # a definition of joints may double how far off they seem; what is off by more is wrong all the time
# The middle half gives place and width: of a quarter of wrong skeletons most are outside.
HALF = (0.25, 0.75)
# A width from N skeletons is wider by SHORT / N: then p-values of few Gumbel variables are as often small as they say.
SHORT = 3.0
# A detector's errors have heavier tails than Gumbel's: with this factor virtual sessions that have such errors, of movements
# kept out, have as many false alarms as stated as far as 40 tell (`python -m tests.benchmarks.bench_prior virtual`).
HEAVIER = 1.1
# Degrees of freedom of the t distribution that a joint's scatter is estimated by, and passes that are enough.
HEAVY, PASSES = 3.0, 20
# Weights of the largest surprise and of all together, decided on the same virtual sessions.
WEIGHTS = (0.7, 0.3)
LOOKED_AT = 20_000  # skeletons a scatter is estimated from
_NEVER = 1e-300


@dataclass(frozen=True, eq=False)
class Usual:
    """Where a session has the latents of its joints, centre (J, 3), and what makes their scatter a unit sphere (J, 3, 3)."""

    centre: Array
    unit: Array

    def surprise(self, latent: Latents) -> Array:
        """(..., J) squared lengths of latents (..., J, 3) in the session's measure."""
        return np.asarray(np.square(np.einsum("...ja,jab->...jb", latent - self.centre, self.unit)).sum(-1))


PEOPLE = Usual(np.zeros((JOINTS, 3)), np.tile(np.eye(3), (JOINTS, 1, 1)))


def usual_latents(latent: Latents) -> Usual:
    """What is usual in a session's latents (N, J, 3), NaN where unknown; for joints that hardly are known, as for people."""
    centre, unit = PEOPLE.centre.copy(), PEOPLE.unit.copy()
    some = latent[:: max(1, len(latent) // LOOKED_AT)]
    for joint in range(latent.shape[1]):
        known = some[np.isfinite(some[:, joint]).all(-1), joint].astype(np.float64)
        if len(known) >= LEAST_SKELETONS:
            centre[joint] = np.median(known, axis=0)
            size, axes = np.linalg.eigh(_scatter(known - centre[joint]))
            unit[joint] = axes / np.sqrt(np.clip(size, 1.0, MOST_USUAL))
    return Usual(centre, unit)


def _scatter(away: Array) -> Array:
    """(3, 3) scatter of (N, 3), which heavy tails hardly move (Maronna 1976), such that the median is that of a normal one."""
    scatter = np.eye(3)
    for _ in range(PASSES):
        weight = (HEAVY + 3) / (HEAVY + _squares(away, scatter))
        scatter = np.einsum("n,na,nb->ab", weight, away, away) / len(away) + 1e-6 * np.eye(3)
    return np.asarray(scatter * np.median(_squares(away, scatter)) / MEDIAN)


def _squares(away: Array, scatter: Array) -> Array:
    return np.asarray(np.einsum("na,ab,nb->n", away, np.linalg.inv(scatter), away))


def largest(surprise: Array) -> Array:
    """(N,) the largest surprise of each skeleton (N, J), NaN where nothing is known."""
    known = np.isfinite(surprise)
    return np.where(known.any(1), np.where(known, surprise, -np.inf).max(1), np.nan)


def together(surprise: Array) -> Array:
    """(N,) the surprise of all joints of each skeleton (N, J), as if those not known were like the others; NaN likewise."""
    known = np.isfinite(surprise)
    mean = np.where(known, surprise, 0.0).sum(1) / np.maximum(known.sum(1), 1)
    return np.where(known.any(1), JOINTS * mean, np.nan)


def p_values(surprise: Array) -> Array:
    """(N,) for the surprises (N, J) of a session's skeletons; NaN where nothing is known, and in sessions of few."""
    from scipy.stats import cauchy, chi2

    worst, total = largest(surprise), together(surprise)
    people = -np.expm1(JOINTS * chi2.logcdf(worst, 3)), chi2.sf(total, 3 * JOINTS)
    both = [np.maximum(p, gumbel_p(value)) for p, value in zip(people, (worst, total), strict=True)]
    return np.asarray(cauchy.sf(np.tensordot(WEIGHTS, [cauchy.isf(np.clip(p, _NEVER, 1 - 1e-12)) for p in both], 1)))


def gumbel_p(value: Array) -> Array:
    """(N,) how often a session has a value that is as large as each (N,), by its middle; NaN where NaN, and for few."""
    known = value[np.isfinite(value)]
    if len(known) < LEAST_SKELETONS:
        return np.full(len(value), np.nan)
    # At share u a Gumbel variable is place - width log(-log u).
    low, middle, high = np.quantile(known, [HALF[0], 0.5, HALF[1]])
    width = (high - low) / -np.diff(np.log(-np.log(HALF)))[0]
    width = max(float(width), 1e-6) * HEAVIER * (1 + SHORT / len(known))
    place = middle + width * np.log(np.log(2.0))
    return np.asarray(-np.expm1(-np.exp(-(value - place) / width)))
