"""How well a rig will measure: the covariance of a triangulated point, before anybody stands there."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.camera import Camera
from calibration.errors import CalibrationError
from calibration.refine_points import invert_information
from calibration.rig import Rig

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# A pixel whose ray does not come back to the point it is of lies beyond the fold of the lens polynomial: nothing is seen there.
SAME_RAY = 1e-4


def sees(camera: Camera, xyz_m: ArrayLike) -> Mask:
    """(N,) True for world points (N, 3) in front of the camera whose image falls inside its frame."""
    points_m = np.asarray(xyz_m, dtype=np.float64).reshape(-1, 3)
    xy_px = camera.project(points_m)
    with np.errstate(invalid="ignore"):
        inside = np.all((xy_px > -0.5) & (xy_px < np.array(camera.size_wh) - 0.5), axis=1)
    cam_m = camera.cam_from_world.apply(points_m)
    rays = camera.undistort(np.where(inside[:, None], xy_px, np.nan))
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.linalg.norm(rays - cam_m[:, :2] / cam_m[:, 2:], axis=1)
    return np.asarray(off < SAME_RAY, dtype=np.bool_)


def point_covariance(rig: Rig, xyz_m: ArrayLike, noise_px: float = 1.0) -> Array:
    """Covariance (N, 3, 3) in m^2 of least-squares points at xyz_m (N, 3) world, seen by every camera whose frame holds them.

    noise_px is 1 sigma of one pixel coordinate of a detection; it gives the inverse Fisher information. To it comes
    G Sigma G^T of `rig.covariance`, where G is the derivative of the least-squares point by the camera poses (implicit
    function theorem; Hartley & Zisserman, Multiple View Geometry, 5.2); None counts the poses as exact. Errors are relative
    to whatever that covariance holds fixed: the first camera, for a rig solved here. NaN where fewer than two cameras see
    the point or their rays are parallel. Raises CalibrationError on a shape that is not (N, 3).
    """
    points_m = np.asarray(xyz_m, dtype=np.float64)
    if points_m.ndim != 2 or points_m.shape[1] != 3:
        raise CalibrationError(f"point_covariance: expected xyz_m (N, 3), got {points_m.shape}")
    information, by_pose, views = _normal_equations(rig, points_m)
    inverse = invert_information(information)
    inverse[views < 2] = np.nan
    covariance_m2 = noise_px**2 * inverse
    if rig.covariance is not None:
        moved = inverse @ by_pose  # of the point by the poses, but for its sign
        covariance_m2 = covariance_m2 + moved @ rig.covariance @ moved.transpose(0, 2, 1)
    return covariance_m2


def worst_sigma_m(covariance_m2: Array) -> Array:
    """(N,) 1 sigma in metres along the worst axis of covariances (N, 3, 3); NaN stays NaN."""
    known = np.isfinite(covariance_m2).all((1, 2))
    out = np.full(len(covariance_m2), np.nan)
    out[known] = np.sqrt(np.linalg.eigvalsh(covariance_m2[known])[:, -1])
    return out


def _normal_equations(rig: Rig, xyz_m: Array) -> tuple[Array, Array, NDArray[np.int64]]:
    """Information (N, 3, 3) per px^2, its counterpart by the poses (N, 3, 6C), and the number of views (N,)."""
    information = np.zeros((len(xyz_m), 3, 3))
    by_pose = np.zeros((len(xyz_m), 3, 6 * len(rig)))
    views = np.zeros(len(xyz_m), dtype=np.int64)
    for index, camera in enumerate(rig.cameras):
        seen = np.flatnonzero(sees(camera, xyz_m))
        if seen.size:
            pose, point = _derivatives(camera, xyz_m[seen])
            information[seen] += point.transpose(0, 2, 1) @ point
            by_pose[seen, :, 6 * index : 6 * index + 6] = point.transpose(0, 2, 1) @ pose
            views[seen] += 1
    return information, by_pose, views


def _derivatives(camera: Camera, xyz_m: Array) -> tuple[Array, Array]:
    """Derivatives of pixels by (rvec rad, t m) of cam_from_world (N, 2, 6) and by the world point (N, 2, 3)."""
    motion, points = camera.cam_from_world, np.ascontiguousarray(xyz_m[:, None])
    if camera.lens == "fisheye":
        _, table = cv2.fisheye.projectPoints(points, motion.rvec, motion.t, camera.K, camera.dist)
        pose = table[:, 8:14]  # after two focal lengths, the principal point and four coefficients
    else:
        _, table = cv2.projectPoints(points, motion.rvec, motion.t, camera.K, camera.dist)
        pose = table[:, :6]
    pose = np.asarray(pose, dtype=np.float64).reshape(-1, 2, 6)
    return pose, pose[..., 3:] @ motion.R
