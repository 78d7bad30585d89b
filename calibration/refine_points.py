"""Triangulated points moved to the least reprojection error, with their covariance."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration import symmetric
from calibration.camera import Camera
from calibration.lens import distort_with_slopes
from calibration.rig import Rig
from calibration.triangulate import Points3D, blocks, views_used

Array = NDArray[np.float64]

ROUNDS = 2  # Gauss-Newton from the linear solution: a third step moves no point by more than 5 um at 10 px noise
SINGULAR = 2.7e-11  # det / (trace / 3)^3 below which a point's information has no inverse


def refine_points(
    rig: Rig, xy_px: ArrayLike, points: Points3D, weight: ArrayLike | None = None, noise_px: float = 1.0
) -> Points3D:
    """Least-squares points over the views that `points` used: distorted pixels xy_px (C, N, 2), weight (C, N).

    noise_px is the standard deviation of one coordinate in a view of weight 1; weight w counts as noise_px / w. covariance_m2
    (N, 3, 3) is the inverse Fisher information of that noise (the cameras taken as exact). A point that Gauss-Newton does not
    improve stays where it was; NaN stays NaN. Source: Hartley & Zisserman, Multiple View Geometry, 12.5 and 5.2.
    Raises CalibrationError when the shapes do not fit the rig.
    """
    xy, w = views_used(rig, xy_px, weight)
    w = w if points.used is None else np.where(points.used, w, 0.0)
    parts = [_refined(rig, xy[:, cut], w[:, cut], points.xyz_m[cut], noise_px) for cut in blocks(xy.shape[1])]
    if not parts:
        return Points3D(points.xyz_m, points.error_px, points.n_views, np.zeros((0, 3, 3)), points.used)
    xyz_m, error_px, covariance_m2 = (np.concatenate(values) for values in zip(*parts, strict=True))
    return Points3D(xyz_m, error_px, points.n_views, covariance_m2, points.used)


def _refined(rig: Rig, xy_px: Array, weight: Array, linear_m: Array, noise_px: float) -> tuple[Array, Array, Array]:
    """Points (N, 3), mean errors (N,) px and covariances (N, 3, 3) of a block."""
    before = at = _Fit(rig, xy_px, weight, linear_m)
    for _ in range(ROUNDS):
        at = _Fit(rig, xy_px, weight, at.stepped_m())
    worse = np.flatnonzero(~(at.cost <= before.cost))  # True for NaN
    at.put(worse, before)
    covariance_m2 = symmetric.full(symmetric.inverse(at.information, SINGULAR)) * noise_px**2
    return at.xyz_m, np.where(np.isnan(at.xyz_m[:, 0]), np.nan, at.error_px), covariance_m2


class _Fit:
    """Least squares at points (N, 3): information (6, N) per px^2, gradient (3, N), cost (N,) px^2, mean error_px (N,)."""

    def __init__(self, rig: Rig, xy_px: Array, weight: Array, xyz_m: Array) -> None:
        n = len(xyz_m)
        self.xyz_m, self.information, self.gradient = xyz_m, np.zeros((6, n)), np.zeros((3, n))
        self.cost, total_px = np.zeros(n), np.zeros(n)
        for camera, xy, w in zip(rig.cameras, xy_px, weight, strict=True):
            off, rows = _project(camera, xyz_m, xy)
            used = w > 0
            off = np.where(used, off, 0.0)
            weighed = off * w
            self.cost += (weighed * weighed).sum(0)
            total_px += np.sqrt((off * off).sum(0))
            for residual, row in zip(weighed, rows, strict=True):
                self._add(residual, np.where(used, row, 0.0) * w)
        self.error_px = total_px / np.maximum((weight > 0).sum(0), 1)

    def _add(self, residual: Array, row: Array) -> None:
        self.gradient += row * residual
        for k, (a, b) in enumerate(zip(*np.triu_indices(3), strict=True)):
            self.information[k] += row[a] * row[b]

    def stepped_m(self) -> Array:
        """The points one Gauss-Newton step on."""
        return self.xyz_m + symmetric.times(symmetric.inverse(self.information, SINGULAR), self.gradient).T

    def put(self, index: NDArray[np.intp], other: _Fit) -> None:
        """The fit of the points `index` as in another."""
        self.xyz_m[index], self.error_px[index] = other.xyz_m[index], other.error_px[index]
        self.information[:, index] = other.information[:, index]


def _project(camera: Camera, xyz_m: Array, xy_px: Array) -> tuple[Array, Array]:
    """Residuals (2, N) of distorted pixels xy_px (N, 2) and the derivatives (2, 3, N) of the pixels by the world point."""
    R, K = camera.cam_from_world.R, camera.K
    X, Y, Z = R @ xyz_m.T + camera.cam_from_world.t[:, None]
    inverse = 1.0 / np.where(Z > 1e-9, Z, np.nan)
    x, y = X * inverse, Y * inverse
    u, v, *slopes = distort_with_slopes(x, y, camera.dist, camera.lens)
    ux, uy, vy = (slope * inverse for slope in slopes)
    off = np.stack([xy_px[:, 0] - K[0, 2] - K[0, 0] * u, xy_px[:, 1] - K[1, 2] - K[1, 1] * v])
    rows = np.empty((2, 3, len(xyz_m)))
    for k in range(3):
        dx, dy = R[0, k] - x * R[2, k], R[1, k] - y * R[2, k]
        rows[0, k], rows[1, k] = K[0, 0] * (ux * dx + uy * dy), K[1, 1] * (uy * dx + vy * dy)
    return off, rows


def invert_information(information: Array) -> Array:
    """Inverses of (N, 3, 3); NaN for one that is singular or not finite."""
    rows, columns = np.triu_indices(3)
    return symmetric.full(symmetric.inverse(information[:, rows, columns].T, SINGULAR))
