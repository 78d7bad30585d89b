"""One camera's pose solved anew from points that the other cameras of its rig see: after a bump, without a board."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares

from calibration.bundle import rvec_covariance
from calibration.camera import Camera
from calibration.errors import CalibrationError
from calibration.refine_points import refine_points
from calibration.rig import Rig
from calibration.transforms import Rigid, rotation_angle_rad
from calibration.triangulate import THRESHOLD_PX, Points3D, triangulate_robust, views_used

Array = NDArray[np.float64]

# Six unknowns want three points; five more let the wrong ones be found out.
MIN_POINTS = 8
# Points whose second extent is below this share of their first lie on a line: about it the camera could stand anywhere.
LINE = 0.02
# A pose less certain than this is not determined: a camera off by so much serves nobody.
MAX_SIGMA_MM, MAX_SIGMA_MRAD = 100.0, 30.0
# Start of the search: points within this share of the focal length of a proposal agree with it, half of all at least.
AGREE_SHARE, TRIES = 0.01, 2000
TRIM_SIGMA = 4.0
# The median length of a 2D Gaussian error is 1.1774 sigma (Rayleigh).
RAYLEIGH_MEDIAN = 1.1774


@dataclass(frozen=True, eq=False)
class Recalibration:
    """What was solved. points: seen by the camera and two others or more; used: those that agree with the new pose.

    before_px, after_px: median distance of the camera's pixels from where the others' points land, with the old and the new
    pose; rotation_mrad, translation_mm (of the centre) from the old pose to the new with 1 sigma in the least certain
    direction; pose_covariance (6, 6) of a left perturbation (rotation rad, translation m) of cam_from_world, from the Hessian
    at the solution and how the residuals of one column of points hang together, the other cameras taken as exact.

    What a detector or the other cameras are off by all the time is not in it. People who walk all over the view average that
    out, one who stands still does not: in Pose2Sim's static trial (12 frames of one person) cameras that never moved come out
    50 to 130 mm beside their reference.
    """

    camera: str
    points: int
    used: int
    before_px: float
    after_px: float
    rotation_mrad: float
    rotation_sigma_mrad: float
    translation_mm: float
    translation_sigma_mm: float
    pose_covariance: Array


def recalibrate(
    rig: Rig, name: str, xy_px: ArrayLike, weight: ArrayLike | None = None, threshold_px: float = THRESHOLD_PX
) -> tuple[Rig, Recalibration]:
    """The rig with one camera standing where its pixels say; its lens and the other cameras stay as they are.

    xy_px (C, F, N, 2) or (C, N, 2) distorted px of points that the cameras share, all from after the bump, NaN unseen; weight
    of the same shape without the last axis, >= 0. Points come from the others (`triangulate_robust` within threshold_px, then
    least squares); the pose starts from RANSAC (Fischler & Bolles 1981), is fitted with a soft L1 loss, and at last by least
    squares to what lies within 4 sigma. Where rig.covariance is known, the camera's block becomes the new one and the rest of
    its rows zero. Raises CalibrationError when fewer than 8 points are seen by the camera and two others, when they lie on a
    line, or when they do not determine the pose otherwise.
    """
    index = _index(rig, name)
    points_m, seen_px, weights, column = _points(rig, index, xy_px, weight, threshold_px)
    old = rig.cameras[index]
    _check_extent(name, points_m)
    start = _resected(old, points_m, seen_px)
    solved, near = _solved(start, points_m, seen_px, weights)
    covariance = _covariance(solved, points_m[near], seen_px[near], weights[near], column[near])
    report = _report(old, solved, points_m, seen_px, int(near.sum()), covariance)
    _check_sigma(report)
    return standing_at(rig, name, solved.cam_from_world, covariance), report


def _index(rig: Rig, name: str) -> int:
    rig[name]  # raises CalibrationError naming the cameras there are
    if len(rig) < 3:
        raise CalibrationError(
            f"recalibrate {name}: expected two other cameras to see the points, the rig has {', '.join(rig.names)}; calibrate "
            "with a board"
        )
    return rig.names.index(name)


def _points(
    rig: Rig, index: int, xy_px: ArrayLike, weight: ArrayLike | None, threshold_px: float
) -> tuple[Array, Array, Array, NDArray[np.int64]]:
    """Points (N, 3) in m that two others or more agree on, their pixels (N, 2) in the camera, weights (N,) and columns (N,):
    which of the points of an instant."""
    given = np.asarray(xy_px, dtype=np.float64)
    flat = None if weight is None else np.asarray(weight, dtype=np.float64)
    columns = given.shape[2] if given.ndim == 4 else given.shape[1] if given.ndim == 3 else 0
    if given.ndim == 4:
        given = given.reshape(len(given), -1, 2)
        flat = None if flat is None else flat.reshape(len(flat), -1)
    xy, w = views_used(rig, given, flat)
    rest = [c for c in range(len(rig)) if c != index]
    others = rig.subset([rig.names[c] for c in rest])
    both = (w[index] > 0) & ((w[rest] > 0).sum(0) >= 2)
    found = triangulate_robust(others, xy[rest][:, both], w[rest][:, both], threshold_px)
    known = np.isfinite(found.xyz_m).all(1)
    if known.sum() < MIN_POINTS:
        raise CalibrationError(
            f"recalibrate {rig.names[index]}: expected at least {MIN_POINTS} points that it and two of "
            f"{', '.join(others.names)} see in agreement, found {known.sum()} (seen by it and two others: "
            f"{both.sum()}); film people or marks in the views they share"
        )
    agreed = np.flatnonzero(both)[known]
    used = None if found.used is None else found.used[:, known]
    points = Points3D(found.xyz_m[known], found.error_px[known], found.n_views[known], used=used)
    refined = refine_points(others, xy[rest][:, agreed], points, w[rest][:, agreed])
    return refined.xyz_m, xy[index][agreed], w[index][agreed], agreed % columns


def _check_extent(name: str, points_m: Array) -> None:
    # Medians, so that a few wrong points far away do not make a line look like a cloud.
    centred = points_m - np.median(points_m, axis=0)
    near = np.linalg.norm(centred, axis=1)
    inner = centred[near <= 3.0 * np.median(near)]
    extent_m = np.linalg.svd(inner, compute_uv=False) / np.sqrt(len(inner))
    if extent_m[1] < LINE * max(extent_m[0], 1e-9):
        raise CalibrationError(
            f"recalibrate {name}: its {len(points_m)} points lie on a line ({extent_m[0]:.3f} m along it, {extent_m[1]:.4f} m "
            "across, 1 sigma), about which the camera could stand anywhere; film people or marks all over the view"
        )


def _resected(camera: Camera, points_m: Array, seen_px: Array) -> Camera:
    """The camera where a sample of points puts it that most others agree with; where it stood when that agrees better."""
    ideal = camera.undistort(seen_px)
    flat = np.isfinite(ideal).all(1)
    start = camera.cam_from_world
    found, rvec, tvec, _ = cv2.solvePnPRansac(
        points_m[flat][:, None], ideal[flat][:, None], np.eye(3), None, start.rvec.copy(), start.t.copy(),
        iterationsCount=TRIES, reprojectionError=AGREE_SHARE, confidence=0.9999, flags=cv2.SOLVEPNP_SQPNP,
    )  # fmt: skip
    proposals = [camera]
    if found and np.isfinite(rvec).all() and np.isfinite(tvec).all():
        proposals.append(camera.with_pose(Rigid.from_rvec(rvec.reshape(3), tvec.reshape(3))))
    return min(proposals, key=lambda each: _median_px(each, points_m, seen_px))


def _median_px(camera: Camera, points_m: Array, seen_px: Array) -> float:
    """Median distance of pixels from where the points land; a point behind the camera is infinitely far off."""
    away = np.linalg.norm(camera.project(points_m) - seen_px, axis=1)
    return float(np.median(np.nan_to_num(away, nan=np.inf)))


def _solved(start: Camera, points_m: Array, seen_px: Array, weights: Array) -> tuple[Camera, NDArray[np.bool_]]:
    """The camera fitted, and which points (N,) it was fitted to at last."""
    width_px = max(_median_px(start, points_m, seen_px) / RAYLEIGH_MEDIAN, 1e-3)
    rough = _fitted(start, _residuals(start, points_m, seen_px, weights), "soft_l1", width_px)
    sigma_px = max(_median_px(rough, points_m, seen_px) / RAYLEIGH_MEDIAN, 1e-6)
    away = np.linalg.norm(rough.project(points_m) - seen_px, axis=1)
    near = away <= TRIM_SIGMA * sigma_px
    if near.sum() < MIN_POINTS:
        raise CalibrationError(
            f"recalibrate {start.name}: only {near.sum()} of {len(points_m)} points agree with any one pose, expected at least "
            f"{MIN_POINTS}; is it the same recording, and is the camera's lens still set as it was calibrated?"
        )
    residuals = _residuals(rough, points_m[near], seen_px[near], weights[near])
    return _fitted(rough, residuals, "linear", 1.0), near


def _residuals(camera: Camera, points_m: Array, seen_px: Array, weights: Array) -> Callable[[Array], Array]:
    """Weighted residuals (2N,) of a left perturbation (6,); one behind the camera is as far off as it is wide."""
    far_px = float(max(camera.size_wh))

    def residuals(step: Array) -> Array:
        away = _stepped(camera, step).project(points_m) - seen_px
        return (np.nan_to_num(away, nan=far_px) * weights[:, None]).ravel()

    return residuals


def _stepped(camera: Camera, step: Array) -> Camera:
    return camera.with_pose(Rigid.from_rvec(step[:3], step[3:]) @ camera.cam_from_world)


def _fitted(camera: Camera, residuals: Callable[[Array], Array], loss: str, width_px: float) -> Camera:
    found = least_squares(residuals, np.zeros(6), loss=loss, f_scale=width_px, x_scale=(1e-3,) * 6, method="trf")
    return _stepped(camera, found.x)


def _covariance(camera: Camera, points_m: Array, seen_px: Array, weights: Array, column: NDArray[np.int64]) -> Array:
    """(6, 6) inverse Hessian of half the squared residuals times their variance, widened as far as the residuals of one column
    hang together: a joint that a detector sees beside its place is seen there in every frame (Liang & Zeger 1986, as a scalar).
    """
    residuals = _residuals(camera, points_m, seen_px, weights)
    left = residuals(np.zeros(6))
    J = np.stack([(residuals(1e-6 * unit) - residuals(-1e-6 * unit)) / 2e-6 for unit in np.eye(6)], axis=1)
    variance = float(left @ left) / max(len(left) - 6, 1)
    inverse = np.asarray(np.linalg.pinv(J.T @ J))
    pull = (J * left[:, None]).reshape(-1, 2, 6).sum(1)
    groups, member = np.unique(column, return_inverse=True)
    pulls = np.zeros((len(groups), 6))
    np.add.at(pulls, member, pull)
    few = len(groups) / max(len(groups) - 6, 1)  # six unknowns take that much of the pull away
    together = few * float(np.trace(inverse @ (pulls.T @ pulls))) / (6.0 * max(variance, 1e-12))
    return np.asarray(inverse * variance * max(1.0, together))


def _report(old: Camera, new: Camera, points_m: Array, seen_px: Array, used: int, covariance: Array) -> Recalibration:
    # The centre is -R^T t: of a left perturbation (w, u) it moves by -R^T u.
    rotation_sigma, translation_sigma = (
        float(np.sqrt(np.linalg.eigvalsh(covariance[part, part])[-1])) for part in (slice(0, 3), slice(3, 6))
    )
    return Recalibration(
        camera=old.name,
        points=len(points_m),
        used=used,
        before_px=_median_px(old, points_m, seen_px),
        after_px=_median_px(new, points_m, seen_px),
        rotation_mrad=1e3 * rotation_angle_rad(new.cam_from_world.R, old.cam_from_world.R),
        rotation_sigma_mrad=1e3 * rotation_sigma,
        translation_mm=1e3 * float(np.linalg.norm(new.centre_m - old.centre_m)),
        translation_sigma_mm=1e3 * translation_sigma,
        pose_covariance=covariance,
    )


def _check_sigma(report: Recalibration) -> None:
    if report.translation_sigma_mm > MAX_SIGMA_MM or report.rotation_sigma_mrad > MAX_SIGMA_MRAD:
        raise CalibrationError(
            f"recalibrate {report.camera}: {report.used} points leave its place open by {report.translation_sigma_mm:.0f} mm "
            f"and {report.rotation_sigma_mrad:.0f} mrad (1 sigma), expected at most {MAX_SIGMA_MM:.0f} mm and "
            f"{MAX_SIGMA_MRAD:.0f} mrad; film people or marks all over its view, near and far"
        )


def standing_at(rig: Rig, name: str, cam_from_world: Rigid, pose_covariance: Array) -> Rig:
    """The rig with one camera standing elsewhere; pose_covariance as in `Recalibration`, used where the rig's is known."""
    cameras = tuple(each.with_pose(cam_from_world) if each.name == name else each for each in rig.cameras)
    if rig.covariance is None:
        return Rig(cameras, rig.stereo_pairs)
    index = rig.names.index(name)
    block = slice(6 * index, 6 * index + 6)
    local, total = np.zeros_like(rig.covariance), rig.covariance.copy()
    local[block, block] = pose_covariance
    total[block], total[:, block] = 0.0, 0.0
    total[block, block] = rvec_covariance(cameras, local)[block, block]
    return Rig(cameras, rig.stereo_pairs, total)
