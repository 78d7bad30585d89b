"""p-values of skeletons against the session they are from: how often one of it, made of people, is as surprising.

A session has its own definition of joints, its own noise and its own movements: its people surprise a prior more than those
it learned from. So the surprises of each joint are measured by their median in the session, and the largest of a skeleton, a
Gumbel variable as the largest of many tails, by the session's middle, which wrong skeletons do not move. A session that
surprises less is judged as the prior's own people.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.prior import JOINTS

Array = NDArray[np.float64]

# Skeletons a session needs to be a yardstick; those of fewer are not judged, for nobody knows what is usual there.
LEAST_SKELETONS = 10
MEDIAN = 2.366  # of chi-square with 3 degrees of freedom
MOST_USUAL = 4.0  # a definition of joints may double how far off they seem; what is off by more is wrong all the time
# Quantiles whose differences give the width, the largest of them: heavy tails count, up to a tenth of wrong skeletons do not.
WIDTHS = ((0.25, 0.75), (0.5, 0.75), (0.5, 0.85))


def usual_surprise(surprise: Array) -> Array:
    """(J,) how much more each joint surprises in a session (N, J) than in people as the prior knows them, 1 to MOST_USUAL."""
    known = np.isfinite(surprise).sum(0) >= LEAST_SKELETONS
    usual = np.ones(surprise.shape[1])
    usual[known] = np.nanmedian(surprise[:, known], axis=0) / MEDIAN
    return np.clip(usual, 1.0, MOST_USUAL)


def largest(surprise: Array) -> Array:
    """(N,) the largest surprise of each skeleton (N, J), NaN where nothing is known."""
    known = np.isfinite(surprise)
    return np.where(known.any(1), np.where(known, surprise, -np.inf).max(1), np.nan)


def p_values(worst: Array) -> Array:
    """(N,) for the largest surprises (N,) of a session's skeletons; NaN where NaN, and in sessions of few."""
    known = worst[np.isfinite(worst)]
    if len(known) < LEAST_SKELETONS:
        return np.full(len(worst), np.nan)
    middle, width = _gumbel(known)
    return np.asarray(np.maximum(people_p_values(worst), -np.expm1(-np.exp(-(worst - middle) / width))))


def people_p_values(worst: Array) -> Array:
    """(N,) for the largest of JOINTS surprises of people as the prior knows them: each chi-square with 3 degrees of freedom."""
    from scipy.stats import chi2

    return np.asarray(-np.expm1(JOINTS * chi2.logcdf(worst, 3)))


def _gumbel(known: Array) -> tuple[float, float]:
    """Place and width by quantiles: at share u a Gumbel variable is place - width log(-log u)."""
    width = max(float(np.diff(np.quantile(known, ends))[0] / np.diff(-np.log(-np.log(ends)))[0]) for ends in WIDTHS)
    width = max(width, 1e-6) * (1 + 1 / len(known))
    return float(np.median(known)) + width * float(np.log(np.log(2.0))), width
