"""One clock for all cameras: what pairs of them say of their clocks, solved as a graph over cameras.

A camera's own time s is session time t = s + offset + drift (s - about): `about` is the middle of what was measured, where
offset and drift hardly depend on each other. The first camera is the reference: its own time is session time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from calibration.errors import CalibrationError
from calibration.pose_tracks import MAD_SIGMA

Array = NDArray[np.float64]

# Weights of Cauchy fall to a half at this many sigmas: 95 % as sharp as least squares where errors are normal.
CAUCHY_SIGMAS = 2.385
# Clocks of cameras are crystals: what is known of their drift before anything is measured, one sigma.
CRYSTAL = 5e-5
# A pair further from what the others say than so many sigmas is wrong, not unlucky (2 degrees of freedom: p = 4e-6).
OUTLIER_SIGMAS = 5.0
# What no pair's own scatter shows: cameras that expose for different times, microphones a metre apart.
FLOOR_S, FLOOR_DRIFT = 5e-4, 1e-6


@dataclass(frozen=True, eq=False)
class PairClock:
    """Two cameras' clocks by one method: own time of `a` minus own time of `b` at the same event is
    offset_s + drift (s - about_s); covariance (2, 2) of (offset s, drift)."""

    a: str
    b: str
    offset_s: float
    drift: float
    covariance: Array
    about_s: float


@dataclass(frozen=True, eq=False)
class Clocks:
    """Session time of C cameras: s + offset_s + drift (s - about_s). offset_s (C,), drift (C,) as a share (1e-6: 1 ppm),
    covariance (2C, 2C) of (offset, drift) by camera, zero for the reference; left_out: the pairs that contradicted the rest."""

    names: tuple[str, ...]
    offset_s: Array
    drift: Array
    about_s: float
    covariance: Array
    left_out: tuple[PairClock, ...] = ()

    def session_s(self, c: int, own_s: Array) -> Array:
        """Session time of camera number c's own times."""
        return np.asarray(own_s + self.offset_s[c] + self.drift[c] * (own_s - self.about_s))

    def own_s(self, c: int, session_s: Array) -> Array:
        """Own time of camera number c at session times."""
        return np.asarray(self.about_s + (session_s - self.about_s - self.offset_s[c]) / (1.0 + self.drift[c]))

    @property
    def sigma_s(self) -> Array:
        """(C,) standard error of each offset, at about_s."""
        return np.asarray(np.sqrt(np.diag(self.covariance)[0::2]))

    @property
    def drift_sigma(self) -> Array:
        """(C,) standard error of each drift."""
        return np.asarray(np.sqrt(np.diag(self.covariance)[1::2]))


def spread(errors: Array) -> float:
    """1 sigma of errors about zero by the median of their sizes, which outliers do not move; 0 for none."""
    return MAD_SIGMA * float(np.median(np.abs(errors))) if len(errors) else 0.0


def still_clocks(names: Sequence[str], about_s: float = 0.0) -> Clocks:
    """Cameras that are on one clock already."""
    zero = np.zeros(len(names))
    return Clocks(tuple(names), zero, zero, about_s, np.zeros((2 * len(names), 2 * len(names))))


def solve_clocks(names: Sequence[str], pairs: Sequence[PairClock], about_s: float) -> Clocks:
    """Clocks of all cameras from pairs of them, weighted by their covariances; pairs that contradict the others are left out,
    the worst first, as long as every camera stays connected.

    Raises CalibrationError where a camera is connected to no other, or pairs contradict each other and nothing says which of
    them is wrong.
    """
    given = [_floored(pair, about_s) for pair in pairs]
    _require_connected(names, given)
    kept = list(range(len(given)))
    while True:
        misfits = [_misfit(names, [given[k] for k in kept], number) for number in range(len(kept))]
        worst = int(np.argmax(misfits)) if misfits else 0
        if not misfits or misfits[worst] <= OUTLIER_SIGMAS:
            solved, covariance = _solved(names, [given[k] for k in kept])
            left_out = tuple(pair for number, pair in enumerate(pairs) if number not in kept)
            return Clocks(tuple(names), solved[0::2], solved[1::2], about_s, covariance, left_out)
        _require_told_apart([given[k] for k in kept], misfits, worst)
        kept.pop(worst)


def _floored(pair: PairClock, about_s: float) -> PairClock:
    """The same pair about another time, no surer than any pair can be."""
    moved = np.array([[1.0, about_s - pair.about_s], [0.0, 1.0]])
    covariance = moved @ (pair.covariance + np.diag([FLOOR_S**2, FLOOR_DRIFT**2])) @ moved.T
    return PairClock(
        pair.a, pair.b, pair.offset_s + pair.drift * (about_s - pair.about_s), pair.drift, covariance, about_s
    )  # fmt: skip


def _require_connected(names: Sequence[str], pairs: Sequence[PairClock]) -> None:
    if not _connected(names, pairs):
        _, part = connected_components(_adjacency(names, pairs), directed=False)
        apart = [name for name, number in zip(names, part, strict=True) if number != part[0]]
        raise CalibrationError(f"no pair of cameras connects the clock of {', '.join(apart)} with that of {names[0]}")


def _connected(names: Sequence[str], pairs: Sequence[PairClock]) -> bool:
    return bool(connected_components(_adjacency(names, pairs), directed=False)[0] == 1)


def _adjacency(names: Sequence[str], pairs: Sequence[PairClock]) -> Array:
    linked = np.zeros((len(names), len(names)))
    for pair in pairs:
        linked[list(names).index(pair.a), list(names).index(pair.b)] = 1.0
    return linked


def _solved(names: Sequence[str], pairs: Sequence[PairClock]) -> tuple[Array, Array]:
    """Offsets and drifts (2C,), interleaved, and their covariance, with the first camera at zero."""
    normal, right = np.zeros((2 * len(names),) * 2), np.zeros(2 * len(names))
    for pair in pairs:
        by, weight = _by_clocks(names, pair), np.linalg.inv(pair.covariance)
        normal += by.T @ weight @ by
        right += by.T @ weight @ [pair.offset_s, pair.drift]
    covariance = np.zeros_like(normal)
    covariance[2:, 2:] = np.linalg.inv(normal[2:, 2:])
    return covariance @ right, covariance


def _by_clocks(names: Sequence[str], pair: PairClock) -> Array:
    """(2, 2C): s_a - s_b at one session time is what b's clock is corrected by more than a's."""
    by = np.zeros((2, 2 * len(names)))
    a, b = list(names).index(pair.a), list(names).index(pair.b)
    by[:, 2 * b : 2 * b + 2], by[:, 2 * a : 2 * a + 2] = np.eye(2), -np.eye(2)
    return by


def _misfit(names: Sequence[str], pairs: Sequence[PairClock], number: int) -> float:
    """Sigmas between a pair and what all others say of it; 0 where they say nothing."""
    pair, others = pairs[number], [*pairs[:number], *pairs[number + 1 :]]
    if not others or not _connected(names, others):
        return 0.0
    told, covariance = _solved(names, others)
    by = _by_clocks(names, pair)
    off = np.array([pair.offset_s, pair.drift]) - by @ told
    return float(np.sqrt(off @ np.linalg.solve(pair.covariance + by @ covariance @ by.T, off)))


def _require_told_apart(pairs: Sequence[PairClock], misfits: Sequence[float], worst: int) -> None:
    """In one loop every pair misfits alike, so none can be told to be the wrong one."""
    alike = [pair for pair, misfit in zip(pairs, misfits, strict=True) if misfit > 0.95 * misfits[worst]]
    if len(alike) > 1:
        told = ", ".join(f"{pair.a}-{pair.b} {1e3 * pair.offset_s:+.1f} ms" for pair in alike)
        raise CalibrationError(
            f"the clocks of pairs contradict each other by {misfits[worst]:.0f} sigmas, and nothing says which is wrong: {told}"
        )
