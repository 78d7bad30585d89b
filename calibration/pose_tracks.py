"""Camera poses that stay put between change points, held against each other through epipolar residuals.

Every pair of cameras that sees a point gives one number: how far, in pixels, the two lines of sight miss each other. It needs
no triangulated point, so a camera that moved spoils its own pairs and leaves those of the others alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from calibration.rig import Rig
from calibration.transforms import Rigid

Array = NDArray[np.float64]
Weigh = Callable[[Array, float], Array]

# Residuals beyond this many sigma count by their length, not its square (Huber 1964): 95 % efficient at 1.345, a little more
# at 2, and a tenth of gross outliers moves nothing by more than their share of 2 sigma.
HUBER_SIGMA = 2.0
BISQUARE_SIGMA = 4.685
# Of a normal distribution the median absolute value is 0.6745 sigma.
MAD_SIGMA = 1.4826
MIN_SIGMA_PX = 0.05
# A normal distribution cut off at 3 sigma has a standard deviation of 0.9866 sigma.
CLIP_SIGMA, CLIPPED_NORMAL, CLIP_ROUNDS = 3.0, 0.9866, 3
# 1 sigma of how far a pose may go in one step where the points do not say: keeps undetermined directions where they were.
PRIOR = 1.0 / np.array([0.1, 0.1, 0.1, 0.3, 0.3, 0.3]) ** 2
FIT_ENOUGH = 1e-5


@dataclass(frozen=True, eq=False)
class Views:
    """Lines of sight ray (C, F, N, 3) = (x, y, 1) in camera axes, weight (C, F, N), 0 where not seen, focal_px (C,)."""

    ray: Array
    weight: Array
    focal_px: Array

    @classmethod
    def of(cls, rig: Rig, xy_px: Array, weight: Array) -> Views:
        """From distorted pixels (C, F, N, 2) and weights (C, F, N) that are 0 where nothing was seen."""
        flat = [camera.undistort(xy).reshape(*xy.shape[:2], 2) for camera, xy in zip(rig.cameras, xy_px, strict=True)]
        ideal = np.stack(flat)
        known = np.isfinite(ideal).all(-1) & (weight > 0)
        ray = np.concatenate([np.where(known[..., None], ideal, 0.0), np.ones((*known.shape, 1))], axis=-1)
        focal_px = np.array([np.sqrt(camera.K[0, 0] * camera.K[1, 1]) for camera in rig.cameras])
        return cls(ray, np.where(known, weight, 0.0), focal_px)

    def cut(self, frames: slice) -> Views:
        """Some of the instants."""
        return Views(self.ray[:, frames], self.weight[:, frames], self.focal_px)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Pairs of cameras that see a point together at least once."""
        seen = self.weight > 0
        return [(a, b) for a, b in combinations(range(len(seen)), 2) if (seen[a] & seen[b]).any()]


@dataclass(frozen=True, eq=False)
class Tracks:
    """Per camera the frames at which a pose begins (the first is 0) and the poses cam_from_world."""

    starts: tuple[tuple[int, ...], ...]
    poses: tuple[tuple[Rigid, ...], ...]

    @classmethod
    def of(cls, rig: Rig) -> Tracks:
        """Nobody moves."""
        return cls(tuple((0,) for _ in rig.cameras), tuple((camera.cam_from_world,) for camera in rig.cameras))

    @property
    def changes(self) -> list[tuple[int, int]]:
        """(camera, number of the pose that begins there, 1 or more) in camera order."""
        return [(c, j) for c, starts in enumerate(self.starts) for j in range(1, len(starts))]

    def split(self, camera: int, frame: int) -> Tracks:
        """The same poses with a change point more."""
        after = sum(start <= frame for start in self.starts[camera])
        starts, poses = self.starts[camera], self.poses[camera]
        return self._with(camera, (*starts[:after], frame, *starts[after:]), (*poses[:after], poses[after - 1], *poses[after:]))

    def without(self, camera: int, number: int) -> Tracks:
        """The pose before goes on where the pose `number` began."""
        starts, poses = self.starts[camera], self.poses[camera]
        return self._with(camera, starts[:number] + starts[number + 1 :], poses[:number] + poses[number + 1 :])

    def moved(self, camera: int, number: int, frame: int) -> Tracks:
        """The change to the pose `number` at another frame."""
        starts = list(self.starts[camera])
        starts[number] = frame
        return self._with(camera, tuple(starts), self.poses[camera])

    def held(self, camera: int, number: int) -> Tracks:
        """The camera in the pose `number` all the time."""
        return self._with(camera, (0,), (self.poses[camera][number],))

    def _with(self, camera: int, starts: tuple[int, ...], poses: tuple[Rigid, ...]) -> Tracks:
        return replace(
            self,
            starts=(*self.starts[:camera], starts, *self.starts[camera + 1 :]),
            poses=(*self.poses[:camera], poses, *self.poses[camera + 1 :]),
        )

    def at(self, camera: int, frame: int) -> int:
        """Which pose holds at a frame."""
        return sum(start <= frame for start in self.starts[camera]) - 1

    def segments(self, n_frames: int) -> list[slice]:
        """Stretches of frames in which no camera moves."""
        edges = sorted({start for starts in self.starts for start in starts} | {n_frames})
        return [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]


@dataclass(frozen=True, eq=False)
class Rows:
    """Epipolar residuals of a pair over F instants and N points.

    error_px (F, N): as long as pixel noise of 1 px per coordinate makes it, on average; weight (F, N), 0 where not both see.
    by_a, by_b (F, N, 6): derivative by a turn (rad) about the camera's centre and a shift (m) of the scene, world axes.
    """

    error_px: Array
    weight: Array
    by_a: Array
    by_b: Array


def epipolar_rows(views: Views, tracks: Tracks, a: int, b: int, first_frame: int = 0) -> Rows:
    """Residuals of a pair: the triple product of the baseline and the two lines of sight over its standard deviation at 1 px
    of noise (Sampson's distance: Hartley & Zisserman, Multiple View Geometry, 11.4.3). first_frame: number of views' first.

    The derivative is that of the quotient: with the numerator's alone a fit would shorten the baselines to shrink its noise.
    """
    frames = np.arange(first_frame, first_frame + views.weight.shape[1])
    (Ra, ca), (Rb, cb) = (_poses_at(tracks, c, frames) for c in (a, b))
    ray_a, ray_b = views.ray[a] @ Ra, views.ray[b] @ Rb
    base = np.broadcast_to((cb - ca)[:, None], ray_a.shape)
    grad_a, grad_b, cross = _cross(ray_b, base), _cross(base, ray_a), _cross(ray_a, ray_b)
    across_a, turn_a = _across(grad_a, Ra[:, None, 2], views.focal_px[a])
    across_b, turn_b = _across(grad_b, Rb[:, None, 2], views.focal_px[b])
    variance = np.maximum((across_a * grad_a).sum(-1) + (across_b * grad_b).sum(-1), 1e-18)
    scale = np.sqrt(variance)[..., None]
    error_px = (cross * base).sum(-1) / scale[..., 0]
    share = error_px[..., None] / variance[..., None]
    shift = cross / scale - share * (_cross(across_a, ray_b) + _cross(ray_a, across_b))
    spin_a = _cross(grad_a, ray_a) / scale - share * (turn_a - _cross(ray_a, _cross(across_b, base)))
    spin_b = _cross(grad_b, ray_b) / scale - share * (turn_b - _cross(ray_b, _cross(base, across_a)))
    weight = np.where(variance > 1e-16, views.weight[a] * views.weight[b], 0.0)
    return Rows(error_px, weight, np.concatenate([spin_a, shift], -1), np.concatenate([spin_b, -shift], -1))


def _across(gradient: Array, axis: Array, focal_px: float) -> tuple[Array, Array]:
    """What a view adds to half the variance: its derivative by the gradient (F, N, 3), and by a turn of the camera."""
    along = (gradient * axis).sum(-1, keepdims=True)
    return (gradient - along * axis) / focal_px**2, along * _cross(axis, gradient) / focal_px**2


def _cross(a: Array, b: Array) -> Array:
    """The vector product over the last axis; numpy's own takes three times as long on many short vectors."""
    (ax, ay, az), (bx, by, bz) = np.moveaxis(a, -1, 0), np.moveaxis(b, -1, 0)
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=-1)


def _poses_at(tracks: Tracks, camera: int, frames: NDArray[np.int64]) -> tuple[Array, Array]:
    """Rotations (F, 3, 3) and centres (F, 3) of a camera."""
    number = np.searchsorted(tracks.starts[camera], frames, side="right") - 1
    R = np.stack([pose.R for pose in tracks.poses[camera]])
    centre = np.stack([pose.inverse().t for pose in tracks.poses[camera]])
    return R[number], centre[number]


def sigma_px(rows: Rows) -> float:
    """Robust standard deviation of the residuals of a pair, as 1 px of noise per coordinate would make 1: from the median,
    then three times from what lies within 3 sigma."""
    error = np.abs(rows.error_px[rows.weight > 0])
    sigma = MAD_SIGMA * float(np.median(error))
    for _ in range(CLIP_ROUNDS):
        near = error[error <= CLIP_SIGMA * max(sigma, MIN_SIGMA_PX)]
        sigma = float(np.sqrt((near**2).mean())) / CLIPPED_NORMAL if len(near) else sigma
    return max(sigma, MIN_SIGMA_PX)


def huber(error_px: Array, sigma: float) -> Array:
    """Weights that bound what one residual can do: far ones still pull, so a camera that went far is still seen to move."""
    return np.minimum(1.0, HUBER_SIGMA * sigma / np.maximum(np.abs(error_px), 1e-12))


def bisquare(error_px: Array, sigma: float) -> Array:
    """Weights that leave far residuals out (Beaton & Tukey 1974): gross outliers add no noise."""
    return np.maximum(1.0 - (error_px / (BISQUARE_SIGMA * sigma)) ** 2, 0.0) ** 2


def fit(views: Views, tracks: Tracks) -> Tracks:
    """Every pose of the tracks from all pairs together: Gauss-Newton with robust weights; the gauge stays where it was."""
    unknown = {key: i for i, key in enumerate((c, j) for c, poses in enumerate(tracks.poses) for j in range(len(poses)))}
    for weigh in (huber,) * 2 + (bisquare,) * 4:
        information, gradient = _normal_equations(views, tracks, unknown, weigh)
        step = -np.linalg.solve(information, gradient).reshape(-1, 6)
        poses = tuple(
            tuple(turned(pose, step[unknown[c, j]]) for j, pose in enumerate(own)) for c, own in enumerate(tracks.poses)
        )
        tracks = replace(tracks, poses=poses)
        if np.abs(step).max() < FIT_ENOUGH:
            break
    return tracks


def turned(pose: Rigid, step: Array) -> Rigid:
    """A pose after a turn (rad) about its centre and a shift (m), both (6,) in world axes."""
    return Rigid.from_rvec(pose.R @ step[:3], pose.R @ step[3:]) @ pose


def _normal_equations(views: Views, tracks: Tracks, unknown: dict[tuple[int, int], int], weigh: Weigh) -> tuple[Array, Array]:
    size = 6 * len(unknown)
    information, gradient = np.diag(np.tile(PRIOR, len(unknown))), np.zeros(size)
    for a, b in views.pairs:
        rows = epipolar_rows(views, tracks, a, b)
        sigma = sigma_px(rows)
        weight = rows.weight * weigh(rows.error_px, sigma) / sigma**2
        J = np.concatenate([rows.by_a, rows.by_b], axis=-1)
        for cut in tracks.segments(len(weight)):
            own = [unknown[c, tracks.at(c, cut.start)] for c in (a, b)]
            at = np.concatenate([np.arange(6 * i, 6 * i + 6) for i in own])
            part, w = J[cut].reshape(-1, 12), weight[cut].reshape(-1)
            weighted = part * w[:, None]
            information[np.ix_(at, at)] += weighted.T @ part
            gradient[at] += weighted.T @ rows.error_px[cut].reshape(-1)
    return information, gradient
