"""Points in space from their pixels in several cameras."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.camera import Camera
from calibration.errors import CalibrationError
from calibration.lens import distort
from calibration.rig import Rig

Array = NDArray[np.float64]

# Points handled at once: the working arrays of a four-camera rig then stay in a core's cache.
BLOCK = 8192
# Smallest det / (trace / 3)^3 of the normal matrix that still counts as an intersection: rays that differ by less than
# about 3e-5 rad are parallel.
PARALLEL = 1e-9
# Rigs of up to this many cameras try every pair of views as a hypothesis; larger ones try a number that grows with C.
ALL_PAIRS_UP_TO = 10
# Reprojection error of one view above which it is in conflict with the others: Pose2Sim's figure for full-HD footage.
THRESHOLD_PX = 20.0


@dataclass(frozen=True, eq=False)
class Points3D:
    """N triangulated points.

    xyz_m (N, 3) world; error_px (N,) mean reprojection error over the views used, in distorted pixels; both NaN where
    fewer than two views see the point, their rays are parallel, or the point lies behind one of them. n_views (N,) views used.
    covariance_m2 (N, 3, 3), or None where it was not asked for. used (C, N): which views took part.
    """

    xyz_m: Array
    error_px: Array
    n_views: NDArray[np.int64]
    covariance_m2: Array | None = None
    used: NDArray[np.bool_] | None = None


def triangulate(rig: Rig, xy_px: ArrayLike, weight: ArrayLike | None = None) -> Points3D:
    """Distorted pixels xy_px (C, N, 2), NaN unseen, weight (C, N) >= 0 to points: the weighted direct linear transform.

    Rows are scaled to pixels and to `weight`, so a view counts with its weight squared (Hartley & Zisserman, Multiple View
    Geometry, 12.2, homogeneous form). A view whose pixel or weight is not finite, or whose weight is 0, is not used.
    Raises CalibrationError when the shapes do not fit the rig.
    """
    xy, w = views_used(rig, xy_px, weight)
    parts = [_triangulate_block(_Block(rig, xy[:, cut], w[:, cut])) for cut in _blocks(xy.shape[1])]
    return _joined(parts, len(rig))


def triangulate_robust(
    rig: Rig, xy_px: ArrayLike, weight: ArrayLike | None = None, threshold_px: float = THRESHOLD_PX
) -> Points3D:
    """As `triangulate`, but views in conflict are left out.

    A point whose views all reproject within threshold_px keeps them all. For the others each pair of views proposes a point,
    the proposal with the least truncated squared error over all views wins (MSAC: Torr & Zisserman 2000), and the views within
    threshold_px of it are fitted together. NaN where fewer than two views agree. Deterministic: no random sampling.
    """
    if not threshold_px > 0:
        raise CalibrationError(f"triangulate_robust: threshold_px must be positive, got {threshold_px}")
    xy, w = views_used(rig, xy_px, weight)
    parts = [_robust_block(_Block(rig, xy[:, cut], w[:, cut]), threshold_px) for cut in _blocks(xy.shape[1])]
    return _joined(parts, len(rig))


def views_used(rig: Rig, xy_px: ArrayLike, weight: ArrayLike | None) -> tuple[Array, Array]:
    """Pixels (C, N, 2) and weights (C, N) that are 0 wherever a view must not be used."""
    xy = np.asarray(xy_px, dtype=np.float64)
    if xy.ndim != 3 or xy.shape[0] != len(rig) or xy.shape[2] != 2:
        raise CalibrationError(
            f"triangulate: expected xy_px (C={len(rig)}, N, 2) for cameras {', '.join(rig.names)}, got {xy.shape}"
        )
    w = np.ones(xy.shape[:2]) if weight is None else np.asarray(weight, dtype=np.float64)
    if w.shape != xy.shape[:2]:
        raise CalibrationError(f"triangulate: expected weight {xy.shape[:2]}, got {w.shape}")
    seen = np.isfinite(xy[..., 0]) & np.isfinite(xy[..., 1]) & np.isfinite(w) & (w > 0)
    return xy, np.where(seen, w, 0.0)


def _blocks(n: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, n, BLOCK))


def _joined(parts: list[Points3D], n_cameras: int) -> Points3D:
    if not parts:
        none = np.zeros((n_cameras, 0), dtype=bool)
        return Points3D(np.zeros((0, 3)), np.zeros(0), np.zeros(0, dtype=np.int64), None, none)
    return Points3D(
        np.concatenate([p.xyz_m for p in parts]),
        np.concatenate([p.error_px for p in parts]),
        np.concatenate([p.n_views for p in parts]),
        None,
        np.concatenate([p.used for p in parts if p.used is not None], axis=1),
    )


class _Block:
    """A block of points seen by a rig: ideal normalised coordinates, weights, and each view's share of the normal equations."""

    def __init__(self, rig: Rig, xy_px: Array, weight: Array) -> None:
        self.rig, self.xy_px, self.weight = rig, xy_px, weight
        self.origin_m = _origin_m(rig)
        ideal = np.stack([camera.undistort(xy) for camera, xy in zip(rig.cameras, xy_px, strict=True)])
        # A lens polynomial that does not converge gives no ray: that view is not used.
        self.weight = np.where(np.isfinite(ideal).all(-1), weight, 0.0)
        self.ideal = np.where((self.weight > 0)[..., None], ideal, 0.0)
        self.normal = np.stack([self._normal(c) for c in range(len(rig))])  # (C, N, 10)

    def _normal(self, c: int) -> Array:
        """(N, 10) upper triangle of sum w^2 r r^T, rows r = f (P_i - x_i P_2) of a view: one small matrix product."""
        camera = self.rig.cameras[c]
        P = camera.cam_from_world.matrix[:3].copy()
        P[:, 3] += P[:, :3] @ self.origin_m
        fx2, fy2 = camera.K[0, 0] ** 2, camera.K[1, 1] ** 2
        upper = np.triu_indices(4)
        products = np.einsum("ia,jb->ijab", P, P)[..., upper[0], upper[1]]  # (3, 3, 10)
        swapped = products + np.transpose(products, (1, 0, 2))
        basis = np.stack(
            [fx2 * products[0, 0] + fy2 * products[1, 1], -fx2 * swapped[0, 2], -fy2 * swapped[1, 2], products[2, 2]]
        )
        x, y, w2 = self.ideal[c, :, 0], self.ideal[c, :, 1], self.weight[c] ** 2
        return np.stack([w2, w2 * x, w2 * y, w2 * (fx2 * x * x + fy2 * y * y)], axis=1) @ basis

    def solve(self, normal: Array) -> Array:
        """(N, 10) summed normal equations to world points (N, 3) in metres; NaN where rays do not meet."""
        return _least_homogeneous(normal) + self.origin_m

    def take(self, index: NDArray[np.intp]) -> _Block:
        """The block of the points `index`."""
        part = object.__new__(_Block)
        part.rig, part.origin_m = self.rig, self.origin_m
        part.xy_px, part.weight, part.ideal = self.xy_px[:, index], self.weight[:, index], self.ideal[:, index]
        part.normal = self.normal[:, index]
        return part

    def error_px(self, xyz_m: Array) -> Array:
        """(C, N) reprojection error in distorted pixels; infinite behind a camera and where the point is NaN; NaN unseen."""
        error = np.stack([_error_px(c, p, xyz_m) for c, p in zip(self.rig.cameras, self.xy_px, strict=True)])
        return np.where(self.weight > 0, error, np.nan)


def _origin_m(rig: Rig) -> Array:
    """Where the equations take their origin: the world's, unless the rig stands far from it (a surveyor's frame, say).

    The homogeneous form weighs a point by its distance from the origin; far away that costs digits and bends the result.
    """
    centres = np.stack([camera.centre_m for camera in rig.cameras])
    middle = centres.mean(0)
    spread = np.linalg.norm(centres - middle, axis=1).max()
    return middle if np.linalg.norm(middle) > 10.0 * spread else np.zeros(3)


def _least_homogeneous(normal: Array) -> Array:
    """Points (N, 3) that minimise v' M v / v' v, v = (x, 1), for upper triangles (N, 10) of M.

    NaN where M's 3x3 block is singular. M v = s v splits into (A - s I) x = -b: the inhomogeneous solution gives s as its
    Rayleigh quotient, and two more closed-form 3x3 solves reach the smallest singular vector to rounding (the iteration
    converges cubically).
    """
    A, b, c = normal[:, [0, 1, 2, 4, 5, 7]], normal[:, [3, 6, 8]], normal[:, 9]
    with np.errstate(all="ignore"):
        x = _solve_symmetric(A, b, np.zeros(len(c)))
        for _ in range(2):
            shifted = _solve_symmetric(A, b, _rayleigh(A, b, c, x))
            x = np.where(np.isfinite(shifted), shifted, x)  # gross outliers can push the shift past A's own spectrum
    return x


def _rayleigh(A: Array, b: Array, c: Array, x: Array) -> Array:
    x0, x1, x2 = x.T
    square = A[:, 0] * x0 * x0 + A[:, 3] * x1 * x1 + A[:, 5] * x2 * x2
    cross = A[:, 1] * x0 * x1 + A[:, 2] * x0 * x2 + A[:, 4] * x1 * x2
    return (square + 2.0 * (cross + b[:, 0] * x0 + b[:, 1] * x1 + b[:, 2] * x2) + c) / (1.0 + (x * x).sum(1))


def _solve_symmetric(A: Array, b: Array, shift: Array) -> Array:
    """x of (A - shift I) x = -b by cofactors, for A (N, 6) = xx xy xz yy yz zz; NaN where A has no full rank."""
    xx, xy, xz, yy, yz, zz = A.T
    scale = (xx + yy + zz) / 3.0
    xx, yy, zz = xx - shift, yy - shift, zz - shift
    c0, c1, c2 = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    d1, d2, e2 = xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy
    det = xx * c0 + xy * c1 + xz * c2
    inverse = np.where(det > PARALLEL * scale**3, -1.0 / det, np.nan)
    b0, b1, b2 = b.T
    rows = (c0 * b0 + c1 * b1 + c2 * b2, c1 * b0 + d1 * b1 + d2 * b2, c2 * b0 + d2 * b1 + e2 * b2)
    return np.stack(rows, axis=1) * inverse[:, None]


def _error_px(camera: Camera, xy_px: Array, xyz_m: Array) -> Array:
    """(N,) distance in distorted pixels between a camera's view of points (N, 3) and xy_px (N, 2); infinite behind it."""
    R, t = camera.cam_from_world.R, camera.cam_from_world.t
    X, Y, Z = (R @ xyz_m.T) + t[:, None]
    front = Z > 1e-9  # False for NaN
    depth = np.where(front, Z, 1.0)
    x, y = distort(X / depth, Y / depth, camera.dist, camera.lens)
    dx = camera.K[0, 0] * x + camera.K[0, 2] - xy_px[:, 0]
    dy = camera.K[1, 1] * y + camera.K[1, 2] - xy_px[:, 1]
    return np.where(front, np.sqrt(dx * dx + dy * dy), np.inf)


def _triangulate_block(block: _Block) -> Points3D:
    return _finish(block, block.solve(block.normal.sum(0)), block.weight > 0)


def _finish(block: _Block, xyz_m: Array, used: NDArray[np.bool_]) -> Points3D:
    """Points with their mean error over the views used; NaN where that error does not exist."""
    n_views = used.sum(0)
    error = np.where(used, block.error_px(xyz_m), 0.0).sum(0) / np.maximum(n_views, 1)
    good = (n_views >= 2) & np.isfinite(error)
    return Points3D(np.where(good[:, None], xyz_m, np.nan), np.where(good, error, np.nan), n_views.astype(np.int64), None, used)


def _robust_block(block: _Block, threshold_px: float) -> Points3D:
    used = block.weight > 0
    xyz_m = block.solve(block.normal.sum(0))
    conflict = np.flatnonzero((used & ~(block.error_px(xyz_m) <= threshold_px)).any(0) & (used.sum(0) >= 2))
    if len(conflict):
        part = block.take(conflict)
        agreeing = _consensus(part, xyz_m[conflict], threshold_px)
        used[:, conflict] = agreeing
        xyz_m[conflict] = part.solve(np.where(agreeing[..., None], part.normal, 0.0).sum(0))
    return _finish(block, xyz_m, used)


def _consensus(block: _Block, first_m: Array, threshold_px: float) -> NDArray[np.bool_]:
    """(C, N) which views agree: those within threshold_px of the best proposal, then of the fit to those views."""
    best_m = _best_proposal(block, first_m, threshold_px)
    agreeing = block.error_px(best_m) <= threshold_px
    for _ in range(2):  # a fit to the agreeing views can win a view back, or lose one
        fit_m = block.solve(np.where(agreeing[..., None], block.normal, 0.0).sum(0))
        refined = block.error_px(fit_m) <= threshold_px
        better = refined.sum(0) >= np.maximum(agreeing.sum(0), 2)
        agreeing = np.where(better, refined, agreeing)
    return agreeing


def _best_proposal(block: _Block, first_m: Array, threshold_px: float) -> Array:
    """(N, 3) the proposal of least truncated cost: the fit to all views first, then a pair of views at a time."""
    best_m, best = first_m.copy(), _cost(block, first_m, threshold_px)
    few, rest = _pairs(len(block.rig))
    for i, j in few:
        _improve(block, np.arange(len(best)), i, j, threshold_px, best_m, best)
    # A point whose few views form no pair of the short list tries the others.
    pending = np.flatnonzero((block.error_px(best_m) <= threshold_px).sum(0) < 2)
    for i, j in rest if len(pending) else ():
        _improve(block, pending, i, j, threshold_px, best_m, best)
    return best_m


def _improve(block: _Block, index: NDArray[np.intp], i: int, j: int, threshold_px: float, best_m: Array, best: Array) -> None:
    """Replace, in place, the best proposals of the points `index` that views i and j better."""
    index = index[(block.weight[i, index] > 0) & (block.weight[j, index] > 0)]
    if not len(index):
        return
    part = block if len(index) == len(best) else block.take(index)
    xyz_m = part.solve(part.normal[i] + part.normal[j])
    cost = _cost(part, xyz_m, threshold_px)
    won = cost < best[index]
    best_m[index[won]], best[index[won]] = xyz_m[won], cost[won]


def _cost(block: _Block, xyz_m: Array, threshold_px: float) -> Array:
    """(N,) weighted squared error in px^2, each view's error cut off at the threshold."""
    cut = np.minimum(block.error_px(xyz_m), threshold_px)
    return (block.weight * np.where(block.weight > 0, cut, 0.0) ** 2).sum(0)


def _pairs(n_cameras: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The pairs tried on every point and those kept for points the first list leaves without agreement.

    Beyond ALL_PAIRS_UP_TO cameras the first list holds neighbours up to four apart and two wide baselines per camera:
    6 C pairs, each checked in C views, so the cost grows with the square of C. More than a fifth of right cameras holds
    such a pair.
    """
    every = list(combinations(range(n_cameras), 2))
    if n_cameras <= ALL_PAIRS_UP_TO:
        return every, []
    steps = {1, 2, 3, 4, n_cameras // 4, n_cameras // 3}
    few = [(i, j) for i, j in every if min(j - i, n_cameras - j + i) in steps]
    return few, [pair for pair in every if pair not in few]
