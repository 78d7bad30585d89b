"""Cameras that were bumped during a recording: which one, when and how far, told from points that several cameras see.

A bump is a pose that changes from one frame to the next and stays changed. For every camera and instant the poses before and
after are compared by a likelihood ratio over a small pose change in six degrees of freedom, with robust weights, against a pose
that stays and one that drifts evenly. The strongest step is split off, all poses are fitted anew, and the search goes on in
what is left (binary segmentation: Scott & Knott 1974; Fryzlewicz 2014, "Wild binary segmentation"). Residuals that hang
together in time or between pairs make everything look more certain than it is; by how much is told from how blocks of frames
differ, and the ratio is divided by that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtri

from calibration.bump_size import Size, measure
from calibration.change_scan import MIN_FRAMES, SCALES, Scores, all_scores, inflation, likelihood_ratio
from calibration.errors import CalibrationError
from calibration.pose_tracks import Tracks, Views, Weigh, bisquare, epipolar_rows, fit, huber, sigma_px
from calibration.rig import Rig

Array = NDArray[np.float64]

# Chance that a quiet recording yields a report if residuals were as the ratio takes them; divided by the steps looked at.
FALSE_ALARM = 1e-3
# A step must also explain this much more than an even drift does: chi-squared of six degrees of freedom at 0.1 %.
BEYOND_DRIFT = 22.5
# Smallest bump worth a word: about what a lens calibrated well leaves in full-HD images.
MIN_SHIFT_PX = 1.0
# A camera whose step explains nearly as much as the best one's may be the one: a likelihood ratio of e^10.
SUSPECT = 20.0
MOST_CHANGES = 20
# Where even the two views that agree best miss each other by more (1 sigma), as with a weak detector, nothing is told: there
# five false bumps of 90 to 760 px were found in 100 frames of Pose2Sim's balancing trial (14 px between the best two views).
MAX_NOISE_PX = 12.0
# A camera turned further than 20 degrees no longer shows what the others do: such a fit is made of wrong matches.
MAX_TURN_MRAD = 350.0
# A turn that is not known to 1.4 degrees is not told: few points in a corner of the image explain themselves by turns and
# carriages that cancel each other.
MAX_TURN_SIGMA_MRAD = 25.0
# Half the frames that a change may take which is no bump: drifts, and people who walk past what a lens model leaves over.
SLOW_FRAMES = (10, 30, 90)
# How far the first guess of the frame may be off, and is then looked for by likelihood.
NEAR_FRAMES = 30
LOSSES: tuple[Weigh, ...] = (huber, bisquare)


@dataclass(frozen=True, eq=False)
class Bump:
    """A camera that stands elsewhere from `frame` (t_ns) on, by `size`.

    significance: the likelihood ratio over the one that a report needs (1 or more). suspects: the cameras it may have been,
    `camera` first; more than one where the points do not tell, always so with two cameras.
    """

    camera: str
    t_ns: int
    frame: int
    size: Size
    significance: float
    suspects: tuple[str, ...]


@dataclass(frozen=True)
class _Step:
    """A step that may begin at `frame`: its ratio over what is needed, and 2 log likelihood ratio per camera there."""

    camera: int
    frame: int
    significance: float
    inflation: float
    ratios: tuple[float, ...]


def find_bumps(
    rig: Rig, t_ns: ArrayLike, xy_px: ArrayLike, weight: ArrayLike | None = None, min_shift_px: float = MIN_SHIFT_PX
) -> tuple[Bump, ...]:
    """Bumps in time order, () when no camera was bumped.

    t_ns (F,) increasing; xy_px (C, F, N, 2) distorted px of points that the cameras share (joints of people, marks on a wall),
    NaN unseen; weight (C, F, N) >= 0. The N points of one instant need not be those of the next. Several bumps of a camera and
    of several cameras are told apart if five frames or more lie between; a drift that takes seconds is not reported, nor
    anything where the views disagree by more than MAX_NOISE_PX all along. With two
    cameras both are suspects. Raises CalibrationError when shapes disagree or there are fewer than two cameras.
    """
    times, xy, seen = _checked(rig, t_ns, xy_px, weight)
    # Frames in which nobody is seen twice tell nothing and would only lengthen the way across a gap.
    told = np.flatnonzero(((seen > 0).sum(0) >= 2).any(1))
    views = Views.of(rig, xy[:, told], seen[:, told])
    tracks = _segmented(views, Tracks.of(rig))
    found = []
    for camera, number in tracks.changes:
        if not _is_sudden(views, tracks, camera, number):
            continue
        size = measure(rig, views, tracks, camera, number)
        step = _step_at(views, tracks, camera, number)
        plausible = size.rotation_mrad <= MAX_TURN_MRAD and size.rotation_sigma_mrad <= MAX_TURN_SIGMA_MRAD
        # Of two cameras, points lie between what both say and explain nothing.
        believed = plausible and (size.explains or len(rig) == 2)
        if believed and size.shift_px >= min_shift_px and step.significance >= 1.0:
            frame = int(told[tracks.starts[camera][number]])
            found.append(_bump(rig, camera, frame, int(times[frame]), size, step))
    return tuple(sorted(found, key=lambda bump: (bump.frame, bump.camera)))


def _checked(rig: Rig, t_ns: ArrayLike, xy_px: ArrayLike, weight: ArrayLike | None) -> tuple[NDArray[np.int64], Array, Array]:
    """Times, pixels and weights that are 0 wherever a view must not be used."""
    times, xy = np.asarray(t_ns, dtype=np.int64), np.asarray(xy_px, dtype=np.float64)
    if len(rig) < 2:
        raise CalibrationError(f"find_bumps: expected two cameras or more, got {', '.join(rig.names) or 'none'}")
    if xy.ndim != 4 or (xy.shape[0], xy.shape[3]) != (len(rig), 2) or times.shape != xy.shape[1:2]:
        raise CalibrationError(
            f"find_bumps: expected xy_px (C={len(rig)}, F, N, 2) for cameras {', '.join(rig.names)} and t_ns (F,), "
            f"got {xy.shape} and {times.shape}"
        )
    if (np.diff(times) <= 0).any():
        raise CalibrationError("find_bumps: t_ns must increase; sort the instants by time")
    w = np.ones(xy.shape[:3]) if weight is None else np.asarray(weight, dtype=np.float64)
    if w.shape != xy.shape[:3]:
        raise CalibrationError(f"find_bumps: expected weight {xy.shape[:3]}, got {w.shape}")
    return times, xy, np.where(np.isfinite(xy).all(-1) & np.isfinite(w) & (w > 0), w, 0.0)


def _segmented(views: Views, tracks: Tracks) -> Tracks:
    """Poses with a change point at every step that is found."""
    if not views.pairs:
        return tracks
    tracks = fit(views, tracks)
    if min(sigma_px(epipolar_rows(views, tracks, a, b)) for a, b in views.pairs) > MAX_NOISE_PX:
        return tracks
    for _ in range(MOST_CHANGES):
        step = _strongest(views, tracks)
        if step is None:
            break
        tracks = fit(views, tracks.split(step.camera, step.frame))
        tracks = _placed(views, tracks, step.camera, tracks.at(step.camera, step.frame))
    return fit(views, tracks) if tracks.changes else tracks


def _strongest(views: Views, tracks: Tracks) -> _Step | None:
    """The step that stands out most, of the camera that explains it best; None when none does."""
    cameras, n_frames = views.weight.shape[:2]
    needed, best = _needed(cameras, n_frames), None
    for scores in all_scores(views, tracks, LOSSES):
        for window in sorted({min(scale, n_frames) for scale in SCALES}):
            ratios = [likelihood_ratio(own, window) for own in scores]
            inflations = [inflation(own, window) for own in scores]
            for camera, ((stays, drifts), factor) in enumerate(zip(ratios, inflations, strict=True)):
                free = _away_from(tracks.starts[camera], n_frames) & (drifts >= BEYOND_DRIFT * factor)
                frame = int(np.where(free, stays, 0.0).argmax())
                significance = stays[frame] / (factor * needed) if free[frame] else 0.0
                if significance > (best.significance if best else 1.0):
                    near = slice(max(frame - MIN_FRAMES, 0), frame + MIN_FRAMES + 1)
                    told = tuple(float(other[near].max()) for other, _ in ratios)
                    best = _Step(camera, frame, float(significance), factor, told)
    if best is None:
        return None
    camera = int(np.argmax(best.ratios))
    free = _away_from(tracks.starts[camera], n_frames)[best.frame]
    return _Step(camera if free else best.camera, best.frame, best.significance, best.inflation, best.ratios)


def _needed(cameras: int, n_frames: int) -> float:
    """The ratio that independent residuals exceed in one of 1 / FALSE_ALARM recordings, whatever camera, frame and window."""
    return float(chdtri(6, FALSE_ALARM / (cameras * n_frames * len(SCALES) * len(LOSSES))))


def _away_from(starts: tuple[int, ...], n_frames: int) -> NDArray[np.bool_]:
    """(F,) frames at least MIN_FRAMES from those at which a pose begins."""
    frames = np.arange(n_frames)
    return np.abs(frames[:, None] - np.array(starts)).min(1) >= MIN_FRAMES


def _placed(views: Views, tracks: Tracks, camera: int, number: int) -> Tracks:
    """The change at the frame where the pose after it begins to explain more than the one before: maximum likelihood."""
    starts = (*tracks.starts[camera], views.weight.shape[1])
    frame = starts[number]
    low = max(starts[number - 1] + MIN_FRAMES, frame - NEAR_FRAMES)
    high = min(starts[number + 1] - MIN_FRAMES, frame + NEAR_FRAMES)
    if high <= low:
        return tracks
    before, after = _costs(views, tracks, camera, number, slice(low, high), (np.array(0.0), np.array(1.0)))
    total = np.concatenate([[0.0], np.cumsum(before - after)])
    return tracks.moved(camera, number, low + int(total.argmin()))


def _is_sudden(views: Views, tracks: Tracks, camera: int, number: int) -> bool:
    """Whether a step explains the frames around a change better than even transitions of any length in SLOW_FRAMES do."""
    starts = (*tracks.starts[camera], views.weight.shape[1])
    frame = starts[number]
    for half in SLOW_FRAMES:
        around = slice(max(starts[number - 1], frame - half), min(starts[number + 1], frame + half))
        when = np.arange(around.start, around.stop)
        slow = np.clip((when - frame + 0.5) / (2 * half) + 0.5, 0.0, 1.0)[:, None]
        step, transition = _costs(views, tracks, camera, number, around, ((when >= frame)[:, None] * 1.0, slow))
        if transition.sum() <= step.sum():
            return False
    return True


def _costs(
    views: Views, tracks: Tracks, camera: int, number: int, frames: slice, shares: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Cost (F,) of each frame's pairs with the camera when it has gone these shares of its way to the pose `number`: squared
    residuals in units of their variance, cut off at 3 sigma. Residuals of poses between are taken from those at both ends."""
    part, costs = views.cut(frames), (np.zeros(frames.stop - frames.start), np.zeros(frames.stop - frames.start))
    for a, b in part.pairs:
        if camera in (a, b):
            now = epipolar_rows(part, tracks, a, b, frames.start)
            variance = sigma_px(now) ** 2
            before, after = (
                epipolar_rows(part, tracks.held(camera, held), a, b, frames.start).error_px for held in (number - 1, number)
            )
            for cost, share in zip(costs, shares, strict=True):
                error_px = before + share * (after - before)
                cost += (now.weight * np.minimum(error_px**2 / variance, 9.0)).sum(1)
    return costs


def _step_at(views: Views, tracks: Tracks, camera: int, number: int) -> _Step:
    """How clearly a change that was found stands out when all the others are allowed for."""
    frame, n_frames = tracks.starts[camera][number], views.weight.shape[1]
    without = all_scores(views, tracks.without(camera, number), LOSSES)
    best = _Step(camera, frame, 0.0, 1.0, (0.0,) * len(without[0]))
    for scores, settled in zip(without, all_scores(views, tracks, LOSSES), strict=True):
        for window in sorted({min(scale, n_frames) for scale in SCALES}):
            ratios = tuple(_near(own, window, frame) for own in scores)
            factor = inflation(settled[camera], window)
            significance = ratios[camera] / (factor * _needed(len(ratios), n_frames))
            if significance > best.significance:
                best = _Step(camera, frame, significance, factor, ratios)
    return best


def _near(scores: Scores, window: int, frame: int) -> float:
    near = slice(max(frame - MIN_FRAMES, 0), frame + MIN_FRAMES + 1)
    return float(likelihood_ratio(scores, window, near)[0].max())


def _bump(rig: Rig, camera: int, frame: int, t_ns: int, size: Size, step: _Step) -> Bump:
    close = [c for c, ratio in enumerate(step.ratios) if step.ratios[camera] - ratio < SUSPECT * step.inflation]
    suspects = close if len(rig) > 2 else [0, 1]
    return Bump(
        camera=rig.names[camera],
        t_ns=t_ns,
        frame=frame,
        size=size,
        significance=step.significance,
        suspects=(rig.names[camera], *(rig.names[c] for c in suspects if c != camera)),
    )
