"""How well a rig will measure: the covariance of a triangulated point, before anybody stands there."""

from __future__ import annotations

from collections.abc import Callable

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


def point_covariance(rig: Rig, xyz_m: ArrayLike, noise_px: float = 1.0, used: Mask | None = None) -> Array:
    """Covariance (N, 3, 3) in m^2 of least-squares points at xyz_m (N, 3) world, seen by every camera whose frame holds them,
    or by those that `used` (C, N) tells.

    noise_px is 1 sigma of one pixel coordinate of a detection; it gives the inverse Fisher information. To it comes
    G Sigma G^T of `rig.covariance`, where G is the derivative of the least-squares point by the camera poses (implicit
    function theorem; Hartley & Zisserman, Multiple View Geometry, 5.2); None counts the poses as exact. Lenses count as
    exact: for a rig whose lenses were solved with its poses, see `joint_point_covariance`. Errors are relative to whatever
    that covariance holds fixed: the first camera, for a rig solved here. NaN where fewer than two cameras see the point or
    their rays are parallel. Raises CalibrationError on a shape that is not (N, 3).
    """
    width = 6 * len(rig)
    known = np.zeros((width, width)) if rig.covariance is None else rig.covariance
    return _propagated(rig, _points(xyz_m), noise_px, known, _by_pose, used)


def joint_point_covariance(rig: Rig, xyz_m: ArrayLike, joint_covariance: Array, noise_px: float = 1.0) -> Array:
    """As `point_covariance`, from the covariance of poses and lenses together (`BundleReport.joint_covariance`).

    What a lens and its camera's pose do to a point hangs together (principal point and direction trade places), so that neither
    the poses' share alone nor the sum of both shares is right. Raises CalibrationError on a shape that does not fit.
    """
    width = len(joint_covariance) // len(rig)
    widest = 10 + max(camera.dist.size for camera in rig.cameras)
    if joint_covariance.shape != (width * len(rig),) * 2 or width not in (6, widest):
        raise CalibrationError(
            f"joint_point_covariance: expected 6 or {widest} unknowns for each of {len(rig)} cameras, "
            f"got {joint_covariance.shape}"
        )
    return _propagated(rig, _points(xyz_m), noise_px, joint_covariance, _by_pose_and_lens)


def _points(xyz_m: ArrayLike) -> Array:
    points_m = np.asarray(xyz_m, dtype=np.float64)
    if points_m.ndim != 2 or points_m.shape[1] != 3:
        raise CalibrationError(f"point_covariance: expected xyz_m (N, 3), got {points_m.shape}")
    return points_m


def worst_sigma_m(covariance_m2: Array) -> Array:
    """(N,) 1 sigma in metres along the worst axis of covariances (N, 3, 3); NaN stays NaN."""
    known = np.isfinite(covariance_m2).all((1, 2))
    out = np.full(len(covariance_m2), np.nan)
    out[known] = np.sqrt(np.linalg.eigvalsh(covariance_m2[known])[:, -1])
    return out


Derivative = Callable[[Camera, Array, int], Array]


def _propagated(
    rig: Rig, xyz_m: Array, noise_px: float, covariance: Array, derivative: Derivative, used: Mask | None = None
) -> Array:
    """Noise of the detections and covariance of the unknowns, as many for every camera, carried to the points (N, 3, 3)."""
    width = len(covariance) // len(rig)
    information = np.zeros((len(xyz_m), 3, 3))
    coupling = np.zeros((len(xyz_m), 3, len(covariance)))
    views = np.zeros(len(xyz_m), dtype=np.int64)
    for index, camera in enumerate(rig.cameras):
        seen = np.flatnonzero(sees(camera, xyz_m) if used is None else used[index])
        if seen.size:
            by_point = (_table(camera, xyz_m[seen])[1] @ camera.cam_from_world.R).transpose(0, 2, 1)
            information[seen] += by_point @ by_point.transpose(0, 2, 1)
            coupling[seen, :, width * index : width * (index + 1)] = by_point @ derivative(camera, xyz_m[seen], width)
            views[seen] += 1
    inverse = invert_information(information)
    inverse[views < 2] = np.nan
    moved = inverse @ coupling  # of the point by the unknowns, but for its sign
    with np.errstate(invalid="ignore"):  # an unknown that nothing determines has infinite variance
        return noise_px**2 * inverse + moved @ covariance @ moved.transpose(0, 2, 1)


def _by_pose(camera: Camera, xyz_m: Array, width: int) -> Array:
    """Derivatives of pixels (N, 2, 6) by (rvec rad, t m) of cam_from_world."""
    turn, move, _ = _table(camera, xyz_m)
    return np.concatenate([turn, move], axis=2)


def _by_pose_and_lens(camera: Camera, xyz_m: Array, width: int) -> Array:
    """Derivatives of pixels (N, 2, width) by left perturbations of the pose and, if width has room, by the lens."""
    _, move, lens = _table(camera, xyz_m)
    out = np.zeros((len(xyz_m), 2, width))
    # a . (w x X) = w . (X x a), X the point in the camera's frame
    out[..., :3] = np.cross(camera.cam_from_world.apply(xyz_m)[:, None], move)
    out[..., 3:6] = move
    if width > 6:
        out[..., 6 : 6 + lens.shape[2]] = lens
    return out


def _table(camera: Camera, xyz_m: Array) -> tuple[Array, Array, Array]:
    """Derivatives of pixels by rvec (N, 2, 3), by t (N, 2, 3) and by fx, fy, cx, cy, dist (N, 2, 4 + n)."""
    motion, points = camera.cam_from_world, np.ascontiguousarray(xyz_m[:, None])
    if camera.lens == "fisheye":
        _, table = cv2.fisheye.projectPoints(points, motion.rvec, motion.t, camera.K, camera.dist)
        turn, move, lens = table[:, 8:11], table[:, 11:14], table[:, :8]
    else:
        _, table = cv2.projectPoints(points, motion.rvec, motion.t, camera.K, camera.dist)
        turn, move, lens = table[:, :3], table[:, 3:6], table[:, 6 : 10 + camera.dist.size]
    turn, move, lens = (np.asarray(part, dtype=np.float64).reshape(len(xyz_m), 2, -1) for part in (turn, move, lens))
    return turn, move, lens
