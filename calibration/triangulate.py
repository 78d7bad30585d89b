"""Points in space from their pixels in several cameras."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration import symmetric
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
EVERY = slice(None)


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
    equations = _Equations(rig)
    parts = [_triangulate_block(_Block(equations, xy[:, cut], w[:, cut])) for cut in blocks(xy.shape[1])]
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
    equations = _Equations(rig)
    parts = [_robust_block(_Block(equations, xy[:, cut], w[:, cut]), threshold_px) for cut in blocks(xy.shape[1])]
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


def blocks(n: int) -> Iterator[slice]:
    """Cuts of N points that are handled at once."""
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


class _Equations:
    """What a rig's normal equations are made with: their origin, and basis (10, C, 4), by which they are a linear function of
    each view's `_Block.moments`, so that any choice of views is one matrix product."""

    def __init__(self, rig: Rig) -> None:
        self.cameras, self.origin_m = rig.cameras, _origin_m(rig)
        self.basis = np.stack([_basis(camera, self.origin_m) for camera in rig.cameras], axis=1)


class _Block:
    """A block of points: pixels (C, N, 2), weights (C, N) and moments (C, 4, N): w^2 (1, x, y, fx^2 x^2 + fy^2 y^2) of the
    ideal normalised coordinates. The equations are the upper triangle of sum w^2 r r^T, rows r = f (P_i - x_i P_2)."""

    def __init__(self, equations: _Equations, xy_px: Array, weight: Array) -> None:
        self.equations, self.cameras, self.xy_px = equations, equations.cameras, xy_px
        self.weight = np.empty_like(weight)
        self.moments = np.empty((len(weight), 4, weight.shape[1]))
        for c, camera in enumerate(self.cameras):
            x, y = camera.undistort(xy_px[c]).T
            # A lens polynomial that does not converge gives no ray: that view is not used.
            self.weight[c] = np.where(np.isfinite(x) & np.isfinite(y), weight[c], 0.0)
            used = self.weight[c] > 0
            self._fill(c, np.where(used, x, 0.0), np.where(used, y, 0.0))

    def _fill(self, c: int, x: Array, y: Array) -> None:
        K, w2 = self.cameras[c].K, self.weight[c] ** 2
        one, by_x, by_y, squares = self.moments[c]
        one[:], by_x[:], by_y[:] = w2, w2 * x, w2 * y
        squares[:] = K[0, 0] ** 2 * by_x * x + K[1, 1] ** 2 * by_y * y

    def solve(self, views: slice | list[int] = EVERY, agreeing: NDArray[np.bool_] | None = None) -> Array:
        """World points (N, 3) in metres by the views, or by the `agreeing` (C, N) among them; NaN where rays do not meet."""
        moments = self.moments[views] if agreeing is None else self.moments * agreeing[:, None]
        basis = self.equations.basis[:, views].reshape(10, -1)
        normal = basis @ moments.reshape(basis.shape[1], moments.shape[2])
        return symmetric.least_homogeneous(normal, PARALLEL).T + self.equations.origin_m

    def take(self, index: NDArray[np.intp]) -> _Block:
        """The block of the points `index`."""
        part = object.__new__(_Block)
        part.equations, part.cameras = self.equations, self.cameras
        part.xy_px, part.weight, part.moments = self.xy_px[:, index], self.weight[:, index], self.moments[..., index]
        return part

    def error_px(self, xyz_m: Array) -> Array:
        """(C, N) reprojection error in distorted pixels; infinite behind a camera and where the point is NaN; NaN unseen."""
        error = np.stack([_error_px(c, p, xyz_m) for c, p in zip(self.cameras, self.xy_px, strict=True)])
        return np.where(self.weight > 0, error, np.nan)


def _basis(camera: Camera, origin_m: Array) -> Array:
    """(10, 4) from a view's moments to the upper triangle of its normal equations."""
    P = camera.cam_from_world.matrix[:3].copy()
    P[:, 3] += P[:, :3] @ origin_m
    fx2, fy2 = camera.K[0, 0] ** 2, camera.K[1, 1] ** 2
    upper = np.triu_indices(4)
    products = np.einsum("ia,jb->ijab", P, P)[..., upper[0], upper[1]]  # (3, 3, 10)
    swapped = products + np.transpose(products, (1, 0, 2))
    rows = (fx2 * products[0, 0] + fy2 * products[1, 1], -fx2 * swapped[0, 2], -fy2 * swapped[1, 2], products[2, 2])
    return np.stack(rows, axis=1)


def _origin_m(rig: Rig) -> Array:
    """Where the equations take their origin: the world's, unless the rig stands far from it (a surveyor's frame, say).

    The homogeneous form weighs a point by its distance from the origin; far away that costs digits and bends the result.
    """
    centres = np.stack([camera.centre_m for camera in rig.cameras])
    middle = centres.mean(0)
    spread = np.linalg.norm(centres - middle, axis=1).max()
    return middle if np.linalg.norm(middle) > 10.0 * spread else np.zeros(3)


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
    return _finish(block, block.solve(), block.weight > 0)


def _finish(block: _Block, xyz_m: Array, used: NDArray[np.bool_]) -> Points3D:
    """Points with their mean error over the views used; NaN where that error does not exist."""
    n_views = used.sum(0)
    error = np.where(used, block.error_px(xyz_m), 0.0).sum(0) / np.maximum(n_views, 1)
    good = (n_views >= 2) & np.isfinite(error)
    return Points3D(np.where(good[:, None], xyz_m, np.nan), np.where(good, error, np.nan), n_views.astype(np.int64), None, used)


def _robust_block(block: _Block, threshold_px: float) -> Points3D:
    used = block.weight > 0
    xyz_m = block.solve()
    conflict = np.flatnonzero((used & ~(block.error_px(xyz_m) <= threshold_px)).any(0) & (used.sum(0) >= 2))
    if len(conflict):
        part = block.take(conflict)
        agreeing = _consensus(part, xyz_m[conflict], threshold_px)
        used[:, conflict] = agreeing
        xyz_m[conflict] = part.solve(agreeing=agreeing)
    return _finish(block, xyz_m, used)


def _consensus(block: _Block, first_m: Array, threshold_px: float) -> NDArray[np.bool_]:
    """(C, N) which views agree: those within threshold_px of the best proposal, then of the fit to those views."""
    best_m = _best_proposal(block, first_m, threshold_px)
    agreeing = block.error_px(best_m) <= threshold_px
    for _ in range(2):  # a fit to the agreeing views can win a view back, or lose one
        fit_m = block.solve(agreeing=agreeing)
        refined = block.error_px(fit_m) <= threshold_px
        better = refined.sum(0) >= np.maximum(agreeing.sum(0), 2)
        agreeing = np.where(better, refined, agreeing)
    return agreeing


def _best_proposal(block: _Block, first_m: Array, threshold_px: float) -> Array:
    """(N, 3) the proposal of least truncated cost: the fit to all views first, then a pair of views at a time."""
    best_m, best = first_m.copy(), _cost(block, first_m, threshold_px)
    few, rest = _pairs(len(block.cameras))
    for i, j in few:
        _improve(block, np.arange(len(best)), i, j, threshold_px, best_m, best)
    # A point whose few views form no pair of the short list tries the others.
    pending = np.flatnonzero((block.error_px(best_m) <= threshold_px).sum(0) < 2)
    for i, j in rest if len(pending) else ():
        _improve(block, pending, i, j, threshold_px, best_m, best)
    return best_m


def _improve(block: _Block, index: NDArray[np.intp], i: int, j: int, threshold_px: float, best_m: Array, best: Array) -> None:
    """Replace, in place, the best proposals of the points `index` that views i and j better.

    A pair whose own views conflict over its point is no hypothesis: most pairs with a wrong view end there, unseen by the rest.
    """
    index = index[(block.weight[i, index] > 0) & (block.weight[j, index] > 0)]
    if not len(index):
        return
    part = block if len(index) == len(best) else block.take(index)
    xyz_m = part.solve([i, j])
    near = np.ones(len(index), dtype=bool)
    for c in (i, j):
        near &= _error_px(block.cameras[c], part.xy_px[c], xyz_m) <= threshold_px
    near_at = np.flatnonzero(near)
    index, xyz_m = index[near_at], xyz_m[near_at]
    cost = _cost(part.take(near_at), xyz_m, threshold_px)
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
