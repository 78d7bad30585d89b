"""One camera's focal lengths, principal point and lens from views of a board (Zhang 2000, by OpenCV's solvers)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.board import Image, find_corners_as_sampled, find_corners_thorough
from calibration.board_set import Target, find_views, view_labels
from calibration.board_views import best_views, coverage, spread_views
from calibration.camera import Camera
from calibration.errors import CalibrationError
from calibration.intrinsics_report import DetectorFigure, FitFigures, IntrinsicsReport
from calibration.lens_choice import AUTO, SIMPLEST, LensChoice, LensModel, choose_lens, pinned
from calibration.lens_residuals import lens_residuals_px
from calibration.lens_solve import LensFit, board_normals, solve_lens
from calibration.outlier_views import DroppedView, without_outliers
from calibration.planar import MIN_CORNERS, consistent_corners, corners_seen, threshold_px

Array = NDArray[np.float64]
Solve = Callable[[list[int]], LensFit]

MIN_VIEWS = 3
# More views add time, not accuracy: they are thinned to the ones that determine the lens best.
MAX_VIEWS = 60
# A first lens from this many spread views tells the best ones, and lenses are compared on as many.
SPREAD_VIEWS = 24
# Steps for that first lens: the others start from it.
FIRST_STEPS = 60
# A raw view bends by several px in a wide lens; only what is off by more than this many filter widths is misread.
RAW_FILTER_WIDTHS = 3.0
# A focal length less certain than this fraction is not determined by the views (all at one tilt).
MAX_FOCAL_SIGMA = 0.05
# Boards that all face one way to within this angle leave focal length and distance free to trade places, and noise then
# poses as tilt: 0.3 px of it made 4 degrees out of eight parallel boards.
MIN_TILT_DEG = 5.0


def calibrate_intrinsics(
    xy_px: Array,
    board: Target,
    size_wh: tuple[int, int],
    lens: str = "brown",
    fix_k3: bool = True,
    name: str = "cam",
    labels: Sequence[str] | None = None,
) -> tuple[Camera, IntrinsicsReport]:
    """Camera at the identity pose from corners (F, M, 2) px, NaN unseen.

    lens "auto" takes the simplest that explains the views (`lens_choice.choose_lens`). Of more than MAX_VIEWS views the best
    are used; a view that the others' lens does not explain is dropped and told by its label (default: "view 3"). On boards
    whose corners are identified one by one, misread corners are left out first. Raises CalibrationError naming the camera
    and what to film.
    """
    views = _usable_views(np.asarray(xy_px, dtype=np.float64), board, size_wh, name)
    names = labels if labels is not None else [f"view {view}" for view in range(len(views))]
    some = spread_views(views, SPREAD_VIEWS)
    choice = choose_lens(views, some, board, size_wh, name) if lens == AUTO else None
    model = choice.model if choice else pinned(lens, fix_k3)
    first = solve_lens(views, some, board, size_wh, model.lens, model.fix_k3, name, max_steps=FIRST_STEPS)
    solve: Solve = partial(_solve, views, board, size_wh, model, name, first.camera)
    used = some if len(some) < SPREAD_VIEWS else best_views(views, board, first, MAX_VIEWS)
    fit = solve(used)
    if board.kind != "chessboard":
        _clear_misread(views, used, board, fit)
        used = [view for view in used if np.isfinite(views[view, :, 0]).sum() >= MIN_CORNERS]
        _require_views(len(used), name)
        fit = solve(used)
    _require_tilt(fit, len(used), name)
    found = FitFigures(len(used), float(fit.camera.K[0, 0]), float(fit.camera.K[1, 1]), fit.rms_px)
    used, fit, dropped = without_outliers(views, used, board, fit, solve, names, MIN_VIEWS)
    return fit.camera, replace(_report(views, used, board, fit, model, choice, dropped), before_drop=found)


def _solve(
    views: Array, board: Target, size_wh: tuple[int, int], model: LensModel, name: str, start: Camera, used: list[int]
) -> LensFit:
    return solve_lens(views, used, board, size_wh, model.lens, model.fix_k3, name, start)


def _report(
    views: Array,
    used: list[int],
    board: Target,
    fit: LensFit,
    model: LensModel,
    choice: LensChoice | None,
    dropped: tuple[DroppedView, ...],
) -> IntrinsicsReport:
    table, fitted = np.full(len(views), np.nan), np.full(views.shape, np.nan)
    table[used], fitted[used] = fit.per_view_px, views[used]
    fx, fy, covariance = fit.camera.K[0, 0], fit.camera.K[1, 1], fit.covariance
    fx_sigma, fy_sigma, cx_sigma, cy_sigma = (float(v) for v in np.sqrt(np.diag(covariance)[:4]))
    slope = np.array([1 / fy, -fx / fy**2])
    return IntrinsicsReport(
        fit.rms_px,
        table,
        tuple(used),
        tuple(view.view for view in dropped),
        fx_sigma,
        model=model,
        choice=choice,
        dropped=dropped,
        coverage=coverage(views, used, fit),
        fy_sigma_px=fy_sigma,
        centre_sigma_px=(cx_sigma, cy_sigma),
        aspect=float(fx / fy),
        aspect_sigma=float(np.sqrt(slope @ covariance[:2, :2] @ slope)),
        xy_px=fitted,
        residual_xy_px=lens_residuals_px(fit.camera, board, fitted),
    )


def calibrate_from_images(
    images: Iterable[Image],
    board: Target,
    lens: str = "brown",
    fix_k3: bool = True,
    name: str = "cam",
    labels: Sequence[str] | None = None,
) -> tuple[Camera, IntrinsicsReport]:
    """As `calibrate_intrinsics`, from RGB images (F of (H, W, 3)): two corner detectors are tried and both reported.

    "standard" is the recipe of OpenCV's samples, told for a brown lens with k3 = 0 whatever lens is chosen, as other tools
    do. The thorough detector's camera is returned when it rests on at least as many views and fits no worse. Raises
    CalibrationError on images of different sizes, and when the thorough detector's views do not suffice.
    """
    kept = list(images)
    size = _one_size(kept, name)
    if labels is not None:
        labels = view_labels(board, labels)
    thorough = np.concatenate([find_views(board, image, find_corners_thorough) for image in kept])
    solved, report = calibrate_intrinsics(thorough, board, size, lens, fix_k3, name, labels)
    figures = [_figure("thorough", solved, report)]
    model = report.model
    plain = np.concatenate([find_views(board, image, find_corners_as_sampled) for image in kept])
    try:
        camera, other = calibrate_intrinsics(plain, board, size, SIMPLEST.lens, SIMPLEST.fix_k3, name, labels)
        figures.insert(0, _figure("standard", camera, other))
        if model != SIMPLEST:
            camera, other = calibrate_intrinsics(plain, board, size, model.lens, model.fix_k3, name, labels)
            other = replace(other, choice=report.choice)
    except CalibrationError:  # the quad finder alone sees too little: the thorough one stands by itself
        camera, other = solved, report
    better = len(report.views_used) >= len(other.views_used) and report.rms_px <= other.rms_px
    camera, told = (solved, report) if better else (camera, replace(other, choice=report.choice))
    return camera, replace(told, figures=tuple(figures))


def _one_size(images: Sequence[Image], name: str) -> tuple[int, int]:
    sizes = {(image.shape[1], image.shape[0]) for image in images}
    if len(sizes) != 1:
        found = ", ".join(f"{w}x{h}" for w, h in sorted(sizes)) or "no image"
        raise CalibrationError(f"camera {name}: expected images of one size, found {found}; keep those of this camera only")
    return sizes.pop()


def _figure(detector: str, camera: Camera, report: IntrinsicsReport) -> DetectorFigure:
    fx_px, before = float(camera.K[0, 0]), report.before_drop
    return DetectorFigure(
        detector, before.views, before.fx_px, before.fy_px, before.rms_px, report.model.label, report.dropped, fx_px
    )


def _require_views(count: int, name: str) -> None:
    if count < MIN_VIEWS:
        raise CalibrationError(
            f"camera {name}: found the board in {count} view{'s' * (count != 1)}, at least {MIN_VIEWS} are needed (10 to 20 "
            "are good); film the whole board in every part of the image, tilted, and check the board's size and kind"
        )


def _require_tilt(fit: LensFit, count: int, name: str) -> None:
    focal, sigma = np.diag(fit.camera.K)[:2], np.sqrt(np.diag(fit.covariance)[:2])
    worst = int(np.argmax(sigma / focal))
    if fit.tilt_deg < MIN_TILT_DEG:
        how = f"the boards face one way to within {fit.tilt_deg:.1f} degrees"
    elif not np.isfinite(sigma).all() or sigma[worst] > MAX_FOCAL_SIGMA * focal[worst]:
        how = _turned(fit)
    else:
        return
    raise CalibrationError(
        f"camera {name}: {count} views do not determine the focal length ({'f' + 'xy'[worst]} {focal[worst]:.0f} +- "
        f"{sigma[worst]:.0f} px, {how}); film the board tilted by 20 to 45 degrees to the left, right, top and bottom"
    )


def _turned(fit: LensFit) -> str:
    """How far board normals spread along their main direction, and across it."""
    normals = board_normals(fit.cam_from_board)
    along, across = np.degrees(np.linalg.svd(normals - normals.mean(0), compute_uv=False)[:2] / np.sqrt(len(normals)))
    if across < 0.2 * along:
        return f"the board turns about one axis only: normals spread by {along:.1f} degrees one way, {across:.1f} the other"
    return f"the boards face one way to within {fit.tilt_deg:.1f} degrees"


def _usable_views(xy_px: Array, board: Target, size_wh: tuple[int, int], name: str) -> Array:
    """A copy without misread corners and views of too few corners."""
    if xy_px.ndim != 3 or xy_px.shape[1:] != (len(board.corners_m), 2):
        raise CalibrationError(
            f"camera {name}: corners: expected (F, M={len(board.corners_m)}, 2), got {xy_px.shape}; is it another board?"
        )
    _require_finite_and_inside(xy_px, size_wh, name)
    views = np.where(corners_seen(xy_px)[..., None], xy_px, np.nan)
    plane, limit_px = board.corners_m[:, :2], RAW_FILTER_WIDTHS * threshold_px(size_wh)
    for view in views:
        keep = corners_seen(view)
        if board.kind != "chessboard":
            keep = consistent_corners(plane, view, limit_px)
        view[~keep if keep.sum() >= MIN_CORNERS else slice(None)] = np.nan
    _require_views(int(np.isfinite(views[..., 0]).any(1).sum()), name)
    return views


def _require_finite_and_inside(xy_px: Array, size_wh: tuple[int, int], name: str) -> None:
    infinite = np.flatnonzero(np.isinf(xy_px).any((1, 2)))
    if infinite.size:
        raise CalibrationError(
            f"camera {name}: corners of view {infinite[0]} hold infinity; a corner that is not seen is NaN, so look at what "
            "made these corners"
        )
    for view, xy in enumerate(xy_px):
        seen = xy[corners_seen(xy)]
        middle = seen.mean(0) if len(seen) else np.zeros(2)
        if (middle < -0.5).any() or (middle > np.array(size_wh) - 0.5).any():
            raise CalibrationError(
                f"camera {name}: the board of view {view} lies at ({middle[0]:.0f}, {middle[1]:.0f}) px, outside an image of "
                f"{size_wh[0]}x{size_wh[1]}; are views of another resolution among them? Keep those of one resolution"
            )


def _clear_misread(views: Array, used: Sequence[int], board: Target, fit: LensFit) -> None:
    """Set corners beyond 5 robust sigma (and 1 px) of the fitted lens to NaN, in place."""
    focal_px = np.sqrt(fit.camera.K[0, 0] * fit.camera.K[1, 1])
    misses = np.full(views.shape[:2], np.nan)
    for v in used:
        keep = corners_seen(views[v])
        flat = fit.camera.undistort(views[v, keep])
        model, _ = cv2.findHomography(board.corners_m[keep, :2], flat, cv2.LMEDS)
        if model is not None:
            fitted = cv2.perspectiveTransform(board.corners_m[keep, None, :2], model)[:, 0]
            misses[v, keep] = np.linalg.norm(fitted - flat, axis=1) * focal_px
    limit_px = max(1.0, 5.0 * float(np.nanmedian(misses)) / 1.1774)
    views[misses > limit_px] = np.nan
