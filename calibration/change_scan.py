"""A step in a camera's pose against an even drift, at every frame at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.pose_tracks import PRIOR, Tracks, Views, Weigh, epipolar_rows, sigma_px

Array = NDArray[np.float64]

# Frames looked at on either side of an instant: short windows part bumps that follow each other, long ones see small bumps.
SCALES = (15, 50, 150, 450)
# Fewer frames before or after a change are a detector that stumbled, not a camera that stands elsewhere.
MIN_FRAMES = 5
# Median of chi-squared with six degrees of freedom.
MEDIAN_CHI2 = 5.348
# Blocks that a recording is cut into at least, to see how much more they differ than independent noise would make them.
MIN_BLOCKS = 8
# How long a pose may be held: a second of video. In recordings of 45 frames errors held so long looked like bumps of up to
# 1.9 times the ratio needed, and bumps of 10 px and more began at 3.3 times.
HELD_FRAMES = 30


@dataclass(frozen=True, eq=False)
class Scores:
    """How a camera's points pull at its pose, frame by frame: information (F, 6, 6) and gradient (F, 6) of half the squared
    residuals in units of their variance."""

    information: Array
    gradient: Array


def all_scores(views: Views, tracks: Tracks, weigh: Sequence[Weigh]) -> list[list[Scores]]:
    """Scores for each weight function and camera, from all pairs with the camera, the others as they stand in the tracks."""
    cameras, n_frames = views.weight.shape[:2]
    made = [[Scores(np.zeros((n_frames, 6, 6)), np.zeros((n_frames, 6))) for _ in range(cameras)] for _ in weigh]
    for a, b in views.pairs:
        rows = epipolar_rows(views, tracks, a, b)
        sigma = sigma_px(rows)
        for own, loss in zip(made, weigh, strict=True):
            weight = rows.weight * loss(rows.error_px, sigma) / sigma**2
            for camera, J in ((a, rows.by_a), (b, rows.by_b)):
                weighted = np.swapaxes(J * weight[..., None], 1, 2)
                own[camera].information[:] += weighted @ J
                own[camera].gradient[:] += (weighted @ rows.error_px[..., None])[..., 0]
    return made


def likelihood_ratio(scores: Scores, window: int, frames: slice = slice(None)) -> tuple[Array, Array]:
    """Twice the logarithm of the likelihood ratio of a step that begins at each frame (F,): against a pose that stays, and
    against one that drifts evenly.

    Frames within `window` on either side count; 0 outside `frames` and where fewer than MIN_FRAMES are left on one side.
    """
    n_frames = len(scores.gradient)
    first = np.arange(n_frames)[frames]
    first = first[(first >= MIN_FRAMES) & (first <= n_frames - MIN_FRAMES)]
    stays, drifts = np.zeros(n_frames), np.zeros(n_frames)
    if len(first):
        before = _moments(scores, first, np.maximum(first - window, 0), first, window)
        after = _moments(scores, first, first, np.minimum(first + window, n_frames), window)
        (H0, H1, H2), (g0, g1) = ([x + y for x, y in zip(p, q, strict=True)] for p, q in zip(before, after, strict=True))
        (A0, A1, _), (r0, _) = after
        prior = np.diag(PRIOR)
        stays[first] = _gain(H0 + prior, A0, g0, A0, r0)
        drift = np.block([[H0 + prior, H1], [H1, H2 + prior]])
        drifts[first] = _gain(drift, np.concatenate([A0, A1], -1), np.concatenate([g0, g1], -1), A0, r0)
    return stays, drifts


def _gain(null: Array, cross: Array, null_gradient: Array, information: Array, gradient: Array) -> Array:
    """(T,) what 6 unknowns more explain that the null model (T, D, D) does not; cross (T, 6, D) between the two."""
    solved = np.linalg.solve(null, np.concatenate([np.swapaxes(cross, 1, 2), null_gradient[..., None]], -1))
    left = gradient - (cross @ solved[..., 6:])[..., 0]
    own = information - cross @ solved[..., :6] + np.diag(PRIOR)
    return (left * np.linalg.solve(own, left[..., None])[..., 0]).sum(-1)


def _moments(
    scores: Scores, at: NDArray[np.int64], low: NDArray[np.int64], high: NDArray[np.int64], window: int
) -> tuple[list[Array], list[Array]]:
    """Sums over frames low..high of information times s^0, s^1, s^2 and of gradient times s^0, s^1, s = (frame - at) / window.

    From running sums of powers of the frame, so every instant costs the same.
    """
    frame = np.arange(len(scores.gradient)) + 0.5
    sums = []
    for values, most in ((scores.information, 2), (scores.gradient, 1)):
        shape = (-1,) + (1,) * (values.ndim - 1)
        powers = []
        for power in range(most + 1):
            running = np.cumsum(values * (frame**power).reshape(shape), axis=0)
            running = np.concatenate([np.zeros((1, *values.shape[1:])), running])
            powers.append(running[high] - running[low])
        t = at.reshape(shape).astype(np.float64)
        moments = [powers[0], (powers[1] - t * powers[0]) / window]
        if most == 2:
            moments.append((powers[2] - 2 * t * powers[1] + t**2 * powers[0]) / window**2)
        sums.append(moments)
    return sums[0], sums[1]


def inflation(scores: Scores, window: int) -> float:
    """By how much blocks of frames differ more than independent residuals would make them (variance, 1 or more).

    The median over neighbouring blocks, which a few steps do not move; the largest over block lengths up to the window (or an
    eighth of the recording), because residuals of people hang together for as long as a pose is held. From the longest block
    to HELD_FRAMES nothing shows it: halfway, in the exponent, between residuals that do not hang together there (1) and those
    that do (the ratio of the lengths).
    """
    shown = max(1, min(window, len(scores.gradient) // MIN_BLOCKS))
    lengths = [2**power for power in range(shown.bit_length())]
    medians = [median for length in lengths if (median := _median_difference(scores, length)) is not None]
    largest = max([1.0, *(median / MEDIAN_CHI2 for median in medians)])
    return largest * float(np.sqrt(max(1.0, min(window, HELD_FRAMES) / lengths[-1])))


def _median_difference(scores: Scores, length: int) -> float | None:
    """Median squared difference of neighbouring blocks' poses in units of its variance; None with fewer than three blocks."""
    edges = np.arange(0, len(scores.gradient) - length + 1, length)
    H = np.add.reduceat(scores.information[: edges[-1] + length], edges, axis=0)
    g = np.add.reduceat(scores.gradient[: edges[-1] + length], edges, axis=0)
    seen = np.trace(H, axis1=1, axis2=2) > 0
    if seen.sum() < 3:
        return None
    covariance = np.linalg.inv(H[seen] + np.diag(PRIOR))
    pose = (covariance @ g[seen][..., None])[..., 0]
    difference, spread = np.diff(pose, axis=0), covariance[1:] + covariance[:-1]
    return float(np.median((difference * np.linalg.solve(spread, difference[..., None])[..., 0]).sum(-1)))
