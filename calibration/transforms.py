"""Rigid motions and the one formula for resized pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from calibration.errors import CalibrationError

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rigid:
    """A rotation R (3, 3) followed by a translation t (3,) in metres: ``x_a = R x_b + t``.

    Raises CalibrationError when a shape is wrong, a number is not finite or R is no rotation.
    """

    R: Array
    t: Array

    def __post_init__(self) -> None:
        R, t = np.array(self.R, dtype=np.float64), np.array(self.t, dtype=np.float64).reshape(-1)
        if R.shape != (3, 3) or t.shape != (3,):
            raise CalibrationError(f"Rigid: expected R (3, 3) and t (3,), got {R.shape} and {t.shape}")
        if not (np.isfinite(R).all() and np.isfinite(t).all()):
            raise CalibrationError("Rigid: R and t must be finite, got NaN or infinity")
        if np.abs(R @ R.T - np.eye(3)).max() > 1e-6 or np.linalg.det(R) < 0:
            raise CalibrationError("Rigid.R: expected a rotation (orthonormal, determinant +1)")
        object.__setattr__(self, "R", R)
        object.__setattr__(self, "t", t)

    @classmethod
    def identity(cls) -> Rigid:
        """The motion that moves nothing."""
        return cls(np.eye(3), np.zeros(3))

    @classmethod
    def from_rvec(cls, rvec: ArrayLike, t: ArrayLike) -> Rigid:
        """From a Rodrigues vector (3,) in radians and a translation (3,) in metres."""
        return cls(
            Rotation.from_rotvec(np.asarray(rvec, dtype=np.float64).reshape(3)).as_matrix(), np.asarray(t, dtype=np.float64)
        )

    @classmethod
    def from_matrix(cls, matrix: ArrayLike) -> Rigid:
        """From a homogeneous (4, 4) or (3, 4) matrix."""
        full = np.asarray(matrix, dtype=np.float64)
        return cls(full[:3, :3], full[:3, 3])

    @property
    def matrix(self) -> Array:
        """The homogeneous (4, 4) matrix."""
        return np.block([[self.R, self.t[:, None]], [np.zeros((1, 3)), np.ones((1, 1))]])

    @property
    def rvec(self) -> Array:
        """The Rodrigues vector (3,) in radians."""
        return Rotation.from_matrix(self.R).as_rotvec()

    def apply(self, xyz_m: ArrayLike) -> Array:
        """Move points (..., 3) in metres."""
        return np.asarray(xyz_m, dtype=np.float64) @ self.R.T + self.t

    def inverse(self) -> Rigid:
        """The motion back: ``b_from_a`` of an ``a_from_b``."""
        return Rigid(self.R.T, -self.R.T @ self.t)

    def __matmul__(self, other: Rigid) -> Rigid:
        """``a_from_b @ b_from_c`` is ``a_from_c``."""
        return Rigid(self.R @ other.R, self.R @ other.t + self.t)


def rotation_angle_rad(Ra: ArrayLike, Rb: ArrayLike) -> float:
    """Angle between two rotations (3, 3) in radians.

    Through quaternions: an arccos of the trace, and OpenCV's Rodrigues, both return 0 for angles below 1e-5.
    """
    between = np.asarray(Ra, dtype=np.float64) @ np.asarray(Rb, dtype=np.float64).T
    return float(Rotation.from_matrix(between).magnitude())


def align(src: ArrayLike, dst: ArrayLike) -> Rigid:
    """The rigid motion dst_from_src that best maps points (N, 3) onto points (N, 3), N >= 3 (Kabsch 1976, no scale)."""
    a, b = np.asarray(src, dtype=np.float64), np.asarray(dst, dtype=np.float64)
    if a.shape != b.shape or len(a) < 3:
        raise CalibrationError(f"align: expected two equal arrays (N >= 3, 3), got {a.shape} and {b.shape}")
    a0, b0 = a.mean(0), b.mean(0)
    u, _, vt = np.linalg.svd((b - b0).T @ (a - a0))
    R = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    return Rigid(R, b0 - R @ a0)


def look_at(eye_m: ArrayLike, target_m: ArrayLike, up: ArrayLike = (0.0, 0.0, 1.0)) -> Rigid:
    """cam_from_world of a camera at eye_m (3,) that looks at target_m (3,), its image upright with respect to `up`."""
    eye = np.asarray(eye_m, dtype=np.float64)
    z = np.asarray(target_m, dtype=np.float64) - eye
    z /= np.linalg.norm(z)
    x = np.cross(z, np.asarray(up, dtype=np.float64))
    if np.linalg.norm(x) < 1e-9:
        raise CalibrationError("look_at: the viewing direction is parallel to `up`; choose another `up`")
    x /= np.linalg.norm(x)
    R = np.stack([x, np.cross(z, x), z])
    return Rigid(R, -R @ eye)


def scale_px(xy_px: ArrayLike, scale: ArrayLike) -> Array:
    """Pixel coordinates (..., 2) after an image is resized by `scale`, (0, 0) being the centre of the first pixel."""
    return (np.asarray(xy_px, dtype=np.float64) + 0.5) * np.asarray(scale, dtype=np.float64) - 0.5
