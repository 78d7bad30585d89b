"""The rough offset between two cameras' clocks: the one by which their people lie on each other's epipolar lines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.clock_tracks import MIN_JOINTS, Tracks, Whole
from calibration.epipolar import essential, sampson

Array = NDArray[np.float64]

# Frames of the first camera that are compared at every offset.
FRAMES = 300
# Distances count up to this share of the focal length: beyond, people are just others.
CAP = 0.05
# The best offset must be this much better than any further away than NEAR_S, or nothing is known.
CLEARER, NEAR_S = 0.85, 0.25


def coarse_offset_s(a: Tracks, b: Tracks, max_offset_s: float) -> float | None:
    """Own time of a minus own time of b at the same instant, to about a frame; None where no offset is clearly the best."""
    frame_s = float(np.median(np.diff(b.s_s)))
    steps = int(np.ceil(max_offset_s / frame_s))
    offsets_s = frame_s * np.arange(-steps, steps + 1)
    frames = _telling(a)
    cost = np.array([_cost(a, b, frames, offset_s) for offset_s in offsets_s])
    if not np.isfinite(cost).any():
        return None
    best = int(np.nanargmin(cost))
    others = cost[np.abs(offsets_s - offsets_s[best]) > NEAR_S]
    clear = not np.isfinite(others).any() or cost[best] < CLEARER * np.nanmin(others)
    return float(offsets_s[best]) if clear else None


def _cost(a: Tracks, b: Tracks, frames: Whole, offset_s: float) -> float:
    """Mean capped distance of a's people in some frames from the nearest of b's, seen offset_s earlier by b's clock; NaN
    without overlap."""
    at_s = a.s_s[frames] - offset_s
    inside = (at_s >= b.s_s[0]) & (at_s <= b.s_s[-1])
    if inside.sum() < max(10, len(frames) // 10):
        return float("nan")
    nearest = np.searchsorted(b.s_s, at_s[inside] - np.median(np.diff(b.s_s)) / 2).clip(max=len(b.s_s) - 1)
    apart = person_distance(essential(a.camera, b.camera), a.xy[frames[inside]], b.xy[nearest])
    seen = np.isfinite(a.xy[frames[inside]]).all(-1).sum(-1) >= MIN_JOINTS
    least = np.minimum(apart.min(-1, initial=np.inf), CAP)
    return float(least[seen].mean()) if seen.any() else float("nan")


def _telling(view: Tracks) -> Whole:
    """Frames with people in them, evenly spread over the recording."""
    peopled = np.flatnonzero((np.isfinite(view.xy).all(-1).sum(-1) >= MIN_JOINTS).any(-1))
    return peopled[np.unique(np.linspace(0, len(peopled) - 1, min(len(peopled), FRAMES)).round().astype(np.intp))]


def person_distance(E: Array, one: Array, other: Array) -> Array:
    """Mean distance from epipolar lines (K, T, U) of T people (K, T, J, 2) of one camera and U (K, U, J, 2) of another in
    normalised coordinates; infinite where they share too few joints."""
    there = [(np.isfinite(people).all(-1).sum(-1) >= MIN_JOINTS) for people in (one, other)]
    apart = np.full((len(one), one.shape[1], other.shape[1]), np.inf)
    k, t, u = np.nonzero(there[0][:, :, None] & there[1][:, None])  # most slots are empty most of the time
    error, _ = sampson(E, one[k, t], other[k, u])
    common = np.isfinite(error).sum(-1)
    apart[k, t, u] = np.where(common >= MIN_JOINTS, np.nansum(np.abs(error), -1) / np.maximum(common, 1), np.inf)
    return apart
