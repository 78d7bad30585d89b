"""A lens from views of a flat board by OpenCV's solvers (Zhang 2000), with the covariance of every lens it can solve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.board_set import Target
from calibration.camera import LENSES, Camera
from calibration.errors import CalibrationError
from calibration.transforms import Rigid

Array = NDArray[np.float64]
Points = list[NDArray[Any]]

# Directions of a scaled normal matrix weaker than this are not determined: their variance comes out huge, not hidden.
WEAKEST = 1e-14
# Enough for every lens that views determine; weak ones creep along a flat valley for hundreds of steps.
MAX_STEPS = 300
# OpenCV's fisheye solver gives up where its start shows a board at 90 degrees to the axis, so several are tried: focal length
# over the longer side, first its own start (1/pi), then wider and longer lenses.
FISHEYE_STARTS = (1 / np.pi, 0.25, 0.4, 0.16, 0.55, 0.8)


@dataclass(frozen=True, eq=False)
class LensFit:
    """A solved lens: its camera at the identity pose, RMS px over all corners and per view, poses of the views used.

    information: per view the normal matrix (4 + D, 4 + D) of (fx, fy, cx, cy, dist) in px^-2 with the view's pose eliminated,
    zero rows where a coefficient was held; sigma_px of one corner coordinate, from the residuals.
    """

    camera: Camera
    rms_px: float
    per_view_px: Array
    cam_from_board: tuple[Rigid, ...]
    information: Array
    sigma_px: float

    @property
    def covariance(self) -> Array:
        """Covariance (4 + D, 4 + D) of (fx, fy, cx, cy, dist)."""
        return lens_covariance(self.information.sum(0)) * self.sigma_px**2

    @property
    def tilt_deg(self) -> float:
        """The largest angle between a board's normal and the mean one, degrees."""
        normals = board_normals(self.cam_from_board)
        mean = normals.mean(0) / max(float(np.linalg.norm(normals.mean(0))), 1e-12)
        return float(np.degrees(np.arccos(np.clip(normals @ mean, -1.0, 1.0)).max()))


def board_normals(poses: Sequence[Rigid]) -> Array:
    """Unit normals (n, 3) of boards in the camera frame, pointing into the sheet."""
    return np.stack([pose.R[:, 2] for pose in poses])


def solve_lens(
    views: Array,
    used: Sequence[int],
    board: Target,
    size_wh: tuple[int, int],
    lens: str,
    fix_k3: bool,
    name: str,
    start: Camera | None = None,
    max_steps: int = MAX_STEPS,
) -> LensFit:
    """Lens from the views `used` of corners (F, M, 2) px, NaN unseen. Raises CalibrationError when no lens fits them.

    start: a lens of this or a simpler kind to begin with, not for fisheyes; max_steps: of OpenCV's Levenberg-Marquardt.
    """
    keep = np.isfinite(views[..., 0])
    xyz = [board.corners_m[keep[v]].astype(np.float32)[:, None] for v in used]
    xy = [views[v, keep[v]].astype(np.float32)[:, None] for v in used]
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, max_steps, np.finfo(np.float64).eps)
    try:
        if lens == "fisheye":
            K, dist, poses = _fisheye(xyz, xy, size_wh)
        else:
            K, dist, poses = _brown(xyz, xy, size_wh, lens, fix_k3, start, stop)
    except cv2.error as error:
        raise CalibrationError(
            f"camera {name}: no {lens} lens fits the {len(used)} views ({str(error.err)[:80]}); film the board "
            "tilted and closer"
        ) from None
    camera = Camera(name, size_wh, K, dist, lens)
    held = [8] if lens == "brown" and fix_k3 else []
    return _judged(camera, poses, [board.corners_m[keep[v]] for v in used], [views[v, keep[v]] for v in used], held)


def _brown(
    xyz: Points,
    xy: Points,
    size_wh: tuple[int, int],
    lens: str,
    fix_k3: bool,
    start: Camera | None,
    stop: tuple[int, int, float],
) -> tuple[Array, Array, list[Rigid]]:
    flags = cv2.CALIB_RATIONAL_MODEL if lens == "rational" else (cv2.CALIB_FIX_K3 if fix_k3 else 0)
    K, dist = (None, None) if start is None else (start.K.copy(), np.pad(start.dist, (0, LENSES[lens] - start.dist.size)))
    flags |= 0 if start is None else cv2.CALIB_USE_INTRINSIC_GUESS
    solved: Any = cv2.calibrateCamera(xyz, xy, size_wh, K, dist, flags=flags, criteria=stop)  # type: ignore[call-overload]
    _, K, dist, rvecs, tvecs = solved
    return K, dist.ravel()[: LENSES[lens]], _poses(rvecs, tvecs)


def _fisheye(xyz: Points, xy: Points, size_wh: tuple[int, int]) -> tuple[Array, Array, list[Rigid]]:
    # OpenCV 5 wants rows of points here, (1, M, 3) float64; columns end in an error about array sizes.
    points, pixels = ([p.astype(np.float64).reshape(1, len(p), -1) for p in side] for side in (xyz, xy))
    flags = cv2.CALIB_RECOMPUTE_EXTRINSIC | cv2.CALIB_FIX_SKEW
    for share in FISHEYE_STARTS:
        focal, (width, height) = share * max(size_wh), size_wh
        start = np.array([[focal, 0.0, (width - 1) / 2], [0.0, focal, (height - 1) / 2], [0.0, 0.0, 1.0]])
        try:
            solved: Any = cv2.fisheye.calibrate(  # type: ignore[call-overload]
                points, pixels, size_wh, start, np.zeros(4), flags=flags | cv2.CALIB_USE_INTRINSIC_GUESS
            )
        except cv2.error as error:
            failed = error
            continue
        _, K, dist, rvecs, tvecs = solved
        return K, dist.ravel(), _poses(rvecs, tvecs)
    raise failed


def _poses(rvecs: Sequence[NDArray[Any]], tvecs: Sequence[NDArray[Any]]) -> list[Rigid]:
    return [Rigid.from_rvec(r.ravel(), t.ravel()) for r, t in zip(rvecs, tvecs, strict=True)]


def _judged(camera: Camera, poses: list[Rigid], xyz: list[Array], xy: list[Array], held: list[int]) -> LensFit:
    squared, information = [], []
    for pose, points, pixels in zip(poses, xyz, xy, strict=True):
        model, by_lens, by_pose = linearise_view(camera, pose, points)
        by_lens[:, held] = 0.0
        squared.append(((model - pixels) ** 2).sum(-1))
        information.append(_without_pose(by_lens, by_pose))
    total, corners = float(sum(s.sum() for s in squared)), sum(map(len, squared))
    free = 2 * corners - 6 * len(poses) - (4 + camera.dist.size - len(held))
    per_view = np.array([np.sqrt(s.mean()) for s in squared])
    rms_px, sigma_px = float(np.sqrt(total / corners)), float(np.sqrt(total / max(free, 1)))
    return LensFit(camera, rms_px, per_view, tuple(poses), np.array(information), sigma_px)


def linearise_view(camera: Camera, pose: Rigid, xyz_m: Array) -> tuple[Array, Array, Array]:
    """Pixels (M, 2) of board points (M, 3), and their derivatives by (fx, fy, cx, cy, dist) and by the pose (2M, 6)."""
    xy: Any
    jacobian: Any
    if camera.lens == "fisheye":
        xy, jacobian = cv2.fisheye.projectPoints(xyz_m[:, None], pose.rvec, pose.t, camera.K, camera.dist)
        return xy.reshape(-1, 2), jacobian[:, :8], jacobian[:, 8:14]
    xy, jacobian = cv2.projectPoints(xyz_m[:, None], pose.rvec, pose.t, camera.K, camera.dist)
    return xy.reshape(-1, 2), jacobian[:, 6 : 10 + camera.dist.size], jacobian[:, :6]


def view_information(camera: Camera, pose: Rigid, xyz_m: Array) -> Array:
    """What board points (M, 3) seen at `pose` say about (fx, fy, cx, cy, dist): `LensFit.information` of one view."""
    _, by_lens, by_pose = linearise_view(camera, pose, xyz_m)
    return _without_pose(by_lens, by_pose)


def _without_pose(by_lens: Array, by_pose: Array) -> Array:
    """The Schur complement of one view's pose: what is left of the view for the lens."""
    basis = np.linalg.qr(by_pose)[0]
    left = by_lens - basis @ (basis.T @ by_lens)
    return np.asarray(left.T @ left)


def lens_covariance(information: Array) -> Array:
    """Inverse of a normal matrix, scaled first; held parameters (zero rows) have zero variance."""
    scale = np.sqrt(np.diag(information))
    free = scale > 0
    out = np.zeros_like(information)
    scaled = information[np.ix_(free, free)] / np.outer(scale[free], scale[free])
    values, vectors = np.linalg.eigh(scaled)
    inverse = (vectors / np.maximum(values, WEAKEST)) @ vectors.T
    out[np.ix_(free, free)] = inverse / np.outer(scale[free], scale[free])
    return out
