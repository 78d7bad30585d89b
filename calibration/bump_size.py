"""How far a camera was moved between two of its poses, and how its image shows it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.camera import Camera
from calibration.change_scan import SCALES, Scores, all_scores, inflation
from calibration.pose_tracks import PRIOR, Tracks, Views, bisquare, turned
from calibration.rig import Rig
from calibration.transforms import Rigid, rotation_angle_rad
from calibration.triangulate import triangulate_robust

Array = NDArray[np.float64]

# A shift of the centre that is not known to this is not told: about the length of a camera.
MAX_TRANSLATION_SIGMA_MM = 100.0
# Frames on either side of the change from which points are taken, and how many of them.
AROUND_FRAMES, TAKEN_FRAMES = 150, 40
# Share of the squared shift that must be gone from the squared error for the shift to be believed.
EXPLAINED = 0.5
STEP = 1e-5  # rad and m, of the numerical derivative of the shift


@dataclass(frozen=True)
class Size:
    """A change of a camera's pose: how far it turned and its centre moved (NaN where the points do not tell it), 1 sigma each
    of the least certain direction.

    shift_px: by how much points move in its image, median, with 1 sigma. error_px and rest_px: median distance of its pixels
    after the change from where the points land that the others see, with the pose before it and with the pose after it.
    """

    rotation_mrad: float
    rotation_sigma_mrad: float
    translation_mm: float
    translation_sigma_mm: float
    shift_px: float
    shift_sigma_px: float
    error_px: float
    rest_px: float

    @property
    def explains(self) -> bool:
        """Whether the new pose takes away what such a shift adds to the error: independent errors add up as squares."""
        return self.error_px**2 - self.rest_px**2 >= EXPLAINED * self.shift_px**2


def measure(rig: Rig, views: Views, tracks: Tracks, camera: int, number: int) -> Size:
    """The change to the pose `number` of a camera. rig: names and image sizes, the poses are those of the tracks."""
    before, after = tracks.poses[camera][number - 1 : number + 1]
    covariance = _covariance(views, tracks, camera, number)
    rotation_sigma, translation_sigma = (_worst(covariance[part, part]) for part in (slice(0, 3), slice(3, 6)))
    xyz_m, error_px, rest_px = _points(rig, views, tracks, camera, number)
    ideal = _ideal(rig, views, camera, before)
    shift_px = _shift_px(ideal, after, xyz_m)
    slope = [(_shift_px(ideal, turned(after, STEP * unit), xyz_m) - shift_px) / STEP for unit in np.eye(6)]
    moved_mm = 1e3 * float(np.linalg.norm(after.inverse().t - before.inverse().t))
    return Size(
        rotation_mrad=1e3 * rotation_angle_rad(after.R, before.R),
        rotation_sigma_mrad=1e3 * rotation_sigma,
        translation_mm=moved_mm if 1e3 * translation_sigma <= MAX_TRANSLATION_SIGMA_MM else float("nan"),
        translation_sigma_mm=1e3 * translation_sigma,
        shift_px=shift_px,
        shift_sigma_px=float(np.sqrt(np.array(slope) @ covariance @ np.array(slope))),
        error_px=error_px,
        rest_px=rest_px,
    )


def _covariance(views: Views, tracks: Tracks, camera: int, number: int) -> Array:
    """(6, 6) of the change (turn rad, shift m), widened by how residuals hang together in time."""
    starts = (*tracks.starts[camera], views.weight.shape[1])
    [scores] = all_scores(views, tracks, (bisquare,))
    own: Scores = scores[camera]
    parts = (own.information[a:b].sum(0) for a, b in zip(starts[number - 1 : number + 1], starts[number:], strict=False))
    total: Array = sum((np.linalg.inv(part + np.diag(PRIOR)) for part in parts), np.zeros((6, 6)))
    return total * inflation(own, SCALES[-1])


def _worst(covariance: Array) -> float:
    return float(np.sqrt(np.linalg.eigvalsh(covariance)[-1]))


def _points(rig: Rig, views: Views, tracks: Tracks, camera: int, number: int) -> tuple[Array, float, float]:
    """Points (N, 3) that the other cameras see around the change, and the median distance in px of the camera's pixels after
    it from where these land with the pose before and with the pose after; with two cameras the points are those of both,
    each in its place."""
    starts = (*tracks.starts[camera], views.weight.shape[1])
    low, frame, high = starts[number - 1 : number + 2]
    low, high = max(low, frame - AROUND_FRAMES), min(high, frame + AROUND_FRAMES)
    poses = [_ideal(rig, views, camera, pose) for pose in tracks.poses[camera][number - 1 : number + 1]]
    chosen = np.unique(np.linspace(low, high - 1, TAKEN_FRAMES).round().astype(int))
    xyz_m, off_px = [], [np.zeros((2, 0))]
    for stretch in tracks.segments(starts[-1]):
        frames = chosen[(chosen >= stretch.start) & (chosen < stretch.stop)]
        posed = [_ideal(rig, views, c, tracks.poses[c][tracks.at(c, stretch.start)]) for c in range(len(rig))]
        xy_px = (views.focal_px[:, None, None, None] * views.ray[:, frames, :, :2]).reshape(len(rig), -1, 2)
        weight = views.weight[:, frames].reshape(len(rig), -1)
        seen = weight[camera] > 0
        weight[camera] *= len(rig) == 2
        points = triangulate_robust(Rig(tuple(posed)), xy_px, weight).xyz_m
        xyz_m.append(points[np.isfinite(points).all(1)])
        if stretch.start >= frame:
            off_px.append(np.stack([np.linalg.norm(pose.project(points) - xy_px[camera], axis=1)[seen] for pose in poses]))
    error_px, rest_px = (_median(off) for off in np.concatenate(off_px, axis=1))
    return np.concatenate(xyz_m), error_px, rest_px


def _median(lengths_px: Array) -> float:
    return float(np.nanmedian(lengths_px)) if np.isfinite(lengths_px).any() else float("nan")


def _ideal(rig: Rig, views: Views, camera: int, pose: Rigid) -> Camera:
    """The camera as a pinhole whose pixels are focal_px times x/z, y/z: what `Views` hold."""
    focal_px = views.focal_px[camera]
    return Camera(rig.names[camera], rig.cameras[camera].size_wh, np.diag([focal_px, focal_px, 1.0]), cam_from_world=pose)


def _shift_px(before: Camera, after: Rigid, xyz_m: Array) -> float:
    """Median distance in px between where points (N, 3) land before and after; NaN without points."""
    away = np.linalg.norm(before.with_pose(after).project(xyz_m) - before.project(xyz_m), axis=1)
    return _median(away)
