"""Clocks from people's joints alone: at the right time, what two calibrated cameras see of a joint lies on epipolar lines.

A joint that moves across its epipolar line leaves it at once when the clocks are wrong, so the epipolar error divided by the
speed of crossing is a time (Sinha and Pollefeys 2010, "Camera network calibration and synchronization from silhouettes in
archived video"; here with a known rig, all joints, and offset and drift of all cameras solved together).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from calibration.clock_search import coarse_offset_s, person_distance
from calibration.clock_tracks import Tracks, Whole, looked_up
from calibration.clocks import CAUCHY_SIGMAS, CRYSTAL, Clocks, PairClock, solve_clocks, spread, still_clocks
from calibration.epipolar import essential, sampson
from calibration.errors import CalibrationError

Array = NDArray[np.float64]

# People match when their joints lie this close to the epipolar lines, as a share of the focal length.
GATE = 0.02
# Errors of neighbouring frames are alike; those of blocks this long are not. Short films are cut into so many blocks at least.
BLOCK_S, LEAST_BLOCKS = 2.0, 16
ROUNDS, DONE_SIGMAS = 15, 0.02


@dataclass(frozen=True, eq=False)
class Crossings:
    """N joints of a camera on clock a (number) beside those of one on clock b: error_px from the epipolar line, rate_px_s at
    which it grows with time in the second camera, own times a_s and b_s, and the joint each is of."""

    a: int
    b: int
    error_px: Array
    rate_px_s: Array
    a_s: Array
    b_s: Array
    joint: Whole


def keypoint_clocks(views: Sequence[Tracks], max_offset_s: float, clock_of: Sequence[int] = ()) -> Clocks:
    """Clocks from the tracks of people in V cameras. Offsets up to max_offset_s either way are searched. clock_of (V,):
    number of the clock that each camera runs on, where some share one (default: each its own); a clock has the name of its
    first camera.

    First every pair alone, coarsely and then finely; then the graph of pairs, without those that contradict it; then all
    cameras together, with standard errors from blocks of BLOCK_S (sandwich), because errors of a detector last for frames.
    Raises CalibrationError where people say too little: nobody moves, no pair sees the same people, pairs contradict others.
    """
    clock_of = tuple(clock_of) or tuple(range(len(views)))
    names = [views[clock_of.index(clock)].camera.name for clock in range(max(clock_of) + 1)]
    about_s = float(np.median(np.concatenate([view.s_s for view in views])))
    found = {(a, b): _pair_clocks(views[a], views[b], max_offset_s)
             for a, b in combinations(range(len(views)), 2) if clock_of[a] != clock_of[b]}  # fmt: skip
    told = [(pair, clocks) for pair, clocks in found.items() if clocks is not None]
    if not told:
        raise CalibrationError(f"keypoints: no two of {', '.join(names)} see people move in a way that tells the time")
    pairs = [_as_pair(clocks, names[clock_of[a]], names[clock_of[b]]) for (a, b), clocks in told]
    start = solve_clocks(names, pairs, about_s)
    kept = [pair for (pair, _), clock in zip(told, pairs, strict=True) if clock not in start.left_out]
    return refine_clocks(views, kept, start, clock_of)


def _pair_clocks(a: Tracks, b: Tracks, max_offset_s: float) -> Clocks | None:
    """The two cameras' clocks, the first at zero; None where their people do not tell."""
    offset_s = coarse_offset_s(a, b, max_offset_s)
    if offset_s is None:
        return None
    start = still_clocks((a.camera.name, b.camera.name), float(np.median(a.s_s)))
    try:
        return refine_clocks((a, b), [(0, 1)], replace(start, offset_s=np.array([0.0, offset_s])), (0, 1))
    except CalibrationError:
        return None


def _as_pair(clocks: Clocks, a: str, b: str) -> PairClock:
    """Of two cameras' clocks, the first at zero: own time of a minus own time of b, which is b's correction."""
    return PairClock(a, b, float(clocks.offset_s[1]), float(clocks.drift[1]), clocks.covariance[2:, 2:], clocks.about_s)


def refine_clocks(views: Sequence[Tracks], pairs: Sequence[tuple[int, int]], start: Clocks, clock_of: Sequence[int]) -> Clocks:
    """Gauss-Newton on all epipolar errors of the pairs (numbers into views) by the offsets and drifts of all clocks but the
    first; start is near enough that people match. Raises CalibrationError where too little moves."""
    clocks = start
    for _ in range(ROUNDS):
        rows = [crossings(views[a], views[b], clocks, clock_of[a], clock_of[b]) for a, b in pairs]
        step, covariance = _step(rows, clocks)
        clocks = replace(
            clocks, offset_s=clocks.offset_s + step[0::2], drift=clocks.drift + step[1::2], covariance=covariance
        )  # fmt: skip
        if np.all(np.abs(step[2:]) <= DONE_SIGMAS * np.sqrt(np.diag(covariance)[2:])):
            return clocks
    raise CalibrationError(f"keypoints: the clocks of {', '.join(start.names)} do not settle within {ROUNDS} rounds")


def crossings(one: Tracks, other: Tracks, clocks: Clocks, a: int, b: int) -> Crossings:
    """The joints that two cameras on clocks a and b (numbers) see of the same people."""
    E = essential(one.camera, other.camera)
    frames, smooth = one.sampled
    k, slot, partner = _matched(one, other, clocks.own_s(b, clocks.session_s(a, one.s_s[frames])), E)
    kept = np.isfinite(smooth[k, slot]).all(-1)
    joint = np.nonzero(kept)[1]
    k, slot, partner = (np.repeat(values, kept.sum(1)) for values in (k, slot, partner))
    frame, seen_s = frames[k], one.s_s[frames[k]]
    at_s = clocks.own_s(b, clocks.session_s(a, seen_s + one.delay_s[frame, slot, joint]))
    at_s = at_s - _delay_s(other, at_s, partner, joint)
    there, speed = looked_up(other, at_s, partner, joint)
    error, across = sampson(E, smooth[k, slot, joint], there)
    focal_px = (one.focal_px + other.focal_px) / 2
    error_px, rate_px_s = focal_px * error, focal_px * (across * speed).sum(-1)
    good = np.isfinite(error_px) & np.isfinite(rate_px_s)
    return Crossings(a, b, error_px[good], rate_px_s[good], seen_s[good], at_s[good], joint[good])


def _delay_s(view: Tracks, at_s: Array, slot: Whole, joint: Whole) -> Array:
    nearest = np.clip(np.searchsorted(view.s_s, at_s), 0, len(view.s_s) - 1)
    return view.delay_s[nearest, slot, joint]


def _matched(one: Tracks, other: Tracks, at_s: Array, E: Array) -> tuple[Whole, Whole, Whole]:
    """Of the sampled frames of one camera, which the other sees at its own times at_s: their numbers k, slots, and the slots
    of the other camera whose people lie nearest to the epipolar lines."""
    frames = one.sampled[0]
    k = np.flatnonzero((at_s >= other.s_s[0]) & (at_s <= other.s_s[-1]))
    nearest = np.clip(np.searchsorted(other.s_s, at_s[k]), 0, len(other.s_s) - 1)
    apart = person_distance(E, one.xy[frames[k]], other.xy[nearest])  # (K, T, U)
    if not apart.size:
        return (np.zeros(0, dtype=np.intp),) * 3
    row, slot = np.nonzero(apart.min(-1) < GATE)
    return k[row], slot, apart.argmin(-1)[row, slot]


def _step(rows: Sequence[Crossings], clocks: Clocks) -> tuple[Array, Array]:
    """One step (2C,) of the clocks and their covariance (2C, 2C) by blocks of time."""
    size = 2 * len(clocks.names)
    normal, right = np.zeros((size, size)), np.zeros(size)
    block_s = min(BLOCK_S, max((np.ptp(row.a_s) for row in rows if len(row.a_s)), default=BLOCK_S) / LEAST_BLOCKS)
    scores: dict[int, Array] = {}
    slopes = []
    for row in rows:
        by, error_px = _without_constants(row, _by_clocks(row, clocks))
        weight, slope = _cauchy(error_px)
        slopes.append(slope)
        normal += (by * weight[:, None]).T @ by
        right -= by.T @ (weight * error_px)
        block_of = np.floor(clocks.session_s(row.a, row.a_s) / block_s).astype(np.int64)
        for block, score in _by_block(block_of, by * (weight * error_px)[:, None]):
            scores[block] = scores.get(block, np.zeros(size)) + score
    # What divides a step's score divides its standard error: the pull that errors gain, not the weights (the step, far from
    # the solution, is safer with the weights).
    by_block = np.array(list(scores.values())).reshape(-1, size) / float(np.mean(slopes))
    return _solved(normal, right, by_block, clocks)


def _solved(normal: Array, right: Array, scores: Array, clocks: Clocks) -> tuple[Array, Array]:
    """Step and covariance. In films too short to tell drifts better than crystals keep them, drifts are held at zero."""
    offsets, every = np.arange(2, len(right), 2), np.arange(2, len(right))
    try:
        step, covariance = _solved_for(every, normal, right, scores, clocks)
        if (np.sqrt(np.diag(covariance)[3::2]) <= CRYSTAL).all():
            return step, covariance
    except CalibrationError:
        pass
    step, covariance = _solved_for(offsets, normal, right, scores, clocks)
    step[1::2] = -clocks.drift
    covariance[offsets + 1, offsets + 1] = CRYSTAL**2
    return step, covariance


def _solved_for(chosen: Whole, normal: Array, right: Array, scores: Array, clocks: Clocks) -> tuple[Array, Array]:
    free = normal[np.ix_(chosen, chosen)]
    scale = np.sqrt(np.maximum(np.diag(free), 1e-300))  # seconds and shares differ by orders of magnitude
    if len(scores) <= 2 * len(free) or np.linalg.cond(free / np.outer(scale, scale)) > 1e10:
        raise CalibrationError(f"keypoints: {', '.join(clocks.names)} share too little movement to tell their clocks")
    inverse, mine = np.linalg.inv(free), scores[:, chosen]
    meat = mine.T @ mine * len(scores) / (len(scores) - len(free))
    step, covariance = np.zeros(len(right)), np.zeros_like(normal)
    step[chosen], covariance[np.ix_(chosen, chosen)] = inverse @ right[chosen], inverse @ meat @ inverse
    return step, covariance


def _by_clocks(row: Crossings, clocks: Clocks) -> Array:
    """(N, 2C) derivatives of the errors: a later clock of a looks later into b, a later clock of b earlier."""
    by = np.zeros((len(row.error_px), 2 * len(clocks.names)))
    rate = row.rate_px_s / (1.0 + clocks.drift[row.b])
    by[:, 2 * row.a], by[:, 2 * row.a + 1] = rate, rate * (row.a_s - clocks.about_s)
    by[:, 2 * row.b], by[:, 2 * row.b + 1] = -rate, -rate * (row.b_s - clocks.about_s)
    return by


def _without_constants(row: Crossings, by: Array) -> tuple[Array, Array]:
    """Derivatives and errors less their means over each joint: a rig that is a little off, or a detector that sees a hip
    elsewhere from the side, shifts a joint's errors by a constant, which says nothing of time."""
    error_px = row.error_px.copy()
    for joint in np.unique(row.joint):
        mine = row.joint == joint
        by[mine] -= by[mine].mean(0)
        error_px[mine] -= np.median(error_px[mine])
    return by, error_px


def _cauchy(error_px: Array) -> tuple[Array, float]:
    """Weights (N,), and how much less than them the pull of an error grows with it, on average: standard errors that leave this
    out are too small (Huber 1964, M-estimators: the variance is E[psi^2] / E[psi']^2)."""
    far = (error_px / max(CAUCHY_SIGMAS * spread(error_px), 1e-9)) ** 2
    weight = 1.0 / (1.0 + far)
    slope = float(((1.0 - far) * weight**2).mean() / weight.mean()) if len(error_px) else 1.0
    return weight, max(slope, 0.3)


def _by_block(block_of: Whole, score: Array) -> Iterator[tuple[int, Array]]:
    for number in np.unique(block_of):
        yield int(number), score[block_of == number].sum(0)
