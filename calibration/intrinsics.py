"""One camera's focal lengths, principal point and lens from views of a board (Zhang 2000, by OpenCV's calibrateCamera)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.board import Board, find_corners, find_corners_thorough
from calibration.camera import LENSES, Camera
from calibration.errors import CalibrationError
from calibration.lens_residuals import lens_residuals_px
from calibration.planar import MIN_CORNERS, consistent_corners, corners_seen, threshold_px

Array = NDArray[np.float64]
Points = list[NDArray[Any]]

MIN_VIEWS = 3
# More views add time, not accuracy: they are thinned to the ones that differ most.
MAX_VIEWS = 60
# A raw view bends by several px in a wide lens; only what is off by more than this many filter widths is misread.
RAW_FILTER_WIDTHS = 3.0
# A focal length less certain than this fraction is not determined by the views (all at one tilt).
MAX_FOCAL_SIGMA = 0.05
# A view this many times worse than the median view is named as suspect.
SUSPECT_RATIO = 4.0


# Boards that all face one way to within this angle leave focal length and distance free to trade places, and noise then
# poses as tilt: 0.3 px of it made 4 degrees out of eight parallel boards.
MIN_TILT_DEG = 5.0


@dataclass(frozen=True, eq=False)
class _Fit:
    """A solved lens: K, dist, 1 sigma of fx and RMS in px, RMS per view, and how far board normals differ at most."""

    K: Array
    dist: Array
    fx_sigma_px: float
    rms_px: float
    per_view_px: Array
    tilt_deg: float


@dataclass(frozen=True)
class DetectorFigure:
    """What one corner detector led to: views used, focal lengths and RMS in px."""

    detector: str
    views: int
    fx_px: float
    fy_px: float
    rms_px: float


@dataclass(frozen=True, eq=False)
class IntrinsicsReport:
    """How a lens was found. per_view_px (F,) RMS of each view used, NaN for the others; views_used and suspect_views index F.

    rms_px over all corners (length of the 2D error, as OpenCV states it); fx_sigma_px 1 sigma from the residuals; figures:
    one entry per detector tried, where images were given. xy_px (F, M, 2) the corners fitted, NaN unseen or left out;
    residual_xy_px (F, M, 2) projected minus seen.
    """

    rms_px: float
    per_view_px: Array
    views_used: tuple[int, ...]
    suspect_views: tuple[int, ...]
    fx_sigma_px: float
    figures: tuple[DetectorFigure, ...] = ()
    xy_px: Array | None = None
    residual_xy_px: Array | None = None


def calibrate_intrinsics(
    xy_px: Array, board: Board, size_wh: tuple[int, int], lens: str = "brown", fix_k3: bool = True, name: str = "cam"
) -> tuple[Camera, IntrinsicsReport]:
    """Camera at the identity pose from corners (F, M, 2) px, NaN unseen.

    A chessboard view is used as found and named in `suspect_views` if it fits badly. On boards whose corners are identified
    one by one, misread corners are left out. Raises CalibrationError naming the camera and what to film.
    """
    views = _usable_views(np.asarray(xy_px, dtype=np.float64), board, size_wh, name)
    used = _most_different(views, MAX_VIEWS)
    fit = _solve(views, used, board, size_wh, lens, fix_k3, name)
    if board.kind != "chessboard":
        cleaned = _without_misread(views, used, board, fit, lens)
        if not np.array_equal(np.isnan(cleaned), np.isnan(views)):
            used = [view for view in used if np.isfinite(cleaned[view, :, 0]).sum() >= MIN_CORNERS]
            _require_views(len(used), name)
            fit, views = _solve(cleaned, used, board, size_wh, lens, fix_k3, name), cleaned
    _require_tilt(fit, len(used), name)
    table = np.full(len(views), np.nan)
    table[used] = fit.per_view_px
    suspect = tuple(view for view in used if table[view] > SUSPECT_RATIO * np.nanmedian(table))
    camera, fitted = Camera(name, size_wh, fit.K, fit.dist, lens), np.full(views.shape, np.nan)
    fitted[used] = views[used]
    return camera, IntrinsicsReport(
        fit.rms_px,
        table,
        tuple(used),
        suspect,
        fit.fx_sigma_px,
        xy_px=fitted,
        residual_xy_px=lens_residuals_px(camera, board, fitted),
    )


def calibrate_from_images(
    images: Iterable[NDArray[np.uint8]], board: Board, lens: str = "brown", fix_k3: bool = True, name: str = "cam"
) -> tuple[Camera, IntrinsicsReport]:
    """As `calibrate_intrinsics`, from RGB images (F of (H, W, 3)): both corner detectors are tried and both reported.

    The thorough detector's camera is returned when it rests on at least as many views and fits no worse. Raises
    CalibrationError on images of different sizes.
    """
    kept = list(images)
    sizes = {(image.shape[1], image.shape[0]) for image in kept}
    if len(sizes) != 1:
        found = ", ".join(f"{w}x{h}" for w, h in sorted(sizes)) or "no image"
        raise CalibrationError(f"camera {name}: expected images of one size, found {found}; keep those of this camera only")
    tried: list[tuple[Camera, IntrinsicsReport]] = []
    figures: list[DetectorFigure] = []
    for label, find in (("standard", find_corners), ("thorough", find_corners_thorough)):
        corners = np.stack([find(board, image) for image in kept])
        camera, report = calibrate_intrinsics(corners, board, sizes.copy().pop(), lens, fix_k3, name)
        fx_px, fy_px = float(camera.K[0, 0]), float(camera.K[1, 1])
        figures.append(DetectorFigure(label, len(report.views_used), fx_px, fy_px, report.rms_px))
        tried.append((camera, report))
    better = figures[1].views >= figures[0].views and figures[1].rms_px <= figures[0].rms_px
    camera, report = tried[int(better)]
    return camera, replace(report, figures=tuple(figures))


def _require_views(count: int, name: str) -> None:
    if count < MIN_VIEWS:
        raise CalibrationError(
            f"camera {name}: found the board in {count} view{'s' * (count != 1)}, at least {MIN_VIEWS} are needed (10 to 20 "
            "are good); film the whole board in every part of the image, tilted, and check the board's size and kind"
        )


def _require_tilt(fit: _Fit, count: int, name: str) -> None:
    uncertain = not np.isfinite(fit.fx_sigma_px) or fit.fx_sigma_px > MAX_FOCAL_SIGMA * fit.K[0, 0]
    if uncertain or fit.tilt_deg < MIN_TILT_DEG:
        raise CalibrationError(
            f"camera {name}: {count} views do not determine the focal length (fx {fit.K[0, 0]:.0f} +- {fit.fx_sigma_px:.0f} "
            f"px, the boards face one way to within {fit.tilt_deg:.1f} degrees); film the board tilted by 20 to 45 degrees to "
            "the left, right, top and bottom"
        )


def _usable_views(xy_px: Array, board: Board, size_wh: tuple[int, int], name: str) -> Array:
    """A copy without infinities, misread corners and views of too few corners."""
    if xy_px.ndim != 3 or xy_px.shape[1:] != (len(board.corners_m), 2):
        raise CalibrationError(
            f"camera {name}: corners: expected (F, M={len(board.corners_m)}, 2), got {xy_px.shape}; is it another board?"
        )
    views = np.where(corners_seen(xy_px)[..., None], xy_px, np.nan)
    plane, limit_px = board.corners_m[:, :2], RAW_FILTER_WIDTHS * threshold_px(size_wh)
    for view in views:
        keep = corners_seen(view)
        if board.kind != "chessboard":
            keep = consistent_corners(plane, view, limit_px)
        view[~keep if keep.sum() >= MIN_CORNERS else slice(None)] = np.nan
    _require_views(int(np.isfinite(views[..., 0]).any(1).sum()), name)
    return views


def _most_different(views: Array, limit: int) -> list[int]:
    """At most `limit` views, chosen by farthest-point sampling of where and how large the board stands in the image."""
    seen = np.flatnonzero(np.isfinite(views[..., 0]).any(1))
    if len(seen) <= limit:
        return [int(view) for view in seen]
    place = np.stack([np.r_[np.nanmean(views[v], 0), np.nanstd(views[v], 0)] for v in seen])
    corners = np.isfinite(views[seen, :, 0]).sum(1)
    chosen = [int(np.argmax(corners))]
    distance = np.linalg.norm(place - place[chosen[0]], axis=1)
    while len(chosen) < limit:
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.linalg.norm(place - place[chosen[-1]], axis=1))
    return sorted(int(view) for view in seen[chosen])


def _solve(views: Array, used: list[int], board: Board, size_wh: tuple[int, int], lens: str, fix_k3: bool, name: str) -> _Fit:
    keep = np.isfinite(views[..., 0])
    xyz = [board.corners_m[keep[v]].astype(np.float32)[:, None] for v in used]
    xy = [views[v, keep[v]].astype(np.float32)[:, None] for v in used]
    try:
        if lens == "fisheye":
            return _solve_fisheye(xyz, xy, size_wh)
        return _solve_brown(xyz, xy, size_wh, lens, fix_k3)
    except cv2.error as error:
        raise CalibrationError(
            f"camera {name}: no lens fits the {len(used)} views ({str(error.err)[:80]}); film the board tilted and closer"
        ) from None


def _solve_brown(xyz: Points, xy: Points, size_wh: tuple[int, int], lens: str, fix_k3: bool) -> _Fit:
    flags = cv2.CALIB_RATIONAL_MODEL if lens == "rational" else (cv2.CALIB_FIX_K3 if fix_k3 else 0)
    solved: Any = cv2.calibrateCameraExtended(xyz, xy, size_wh, None, None, flags=flags)  # type: ignore[call-overload]
    rms_px, K, dist, rvecs, _, sigma, _, per_view = solved
    dist = dist.ravel()[: LENSES[lens]]
    return _Fit(K, dist, float(sigma[0, 0]), float(rms_px), per_view.ravel(), _tilt_deg(rvecs))


def _solve_fisheye(xyz: Points, xy: Points, size_wh: tuple[int, int]) -> _Fit:
    """OpenCV's fisheye solver states no uncertainty: sigma of fx is from the curvature along fx alone, a lower bound."""
    flags = cv2.CALIB_RECOMPUTE_EXTRINSIC | cv2.CALIB_FIX_SKEW
    # OpenCV 5 wants rows of points here, (1, M, 3) float64; columns end in an error about array sizes.
    points, pixels = ([p.astype(np.float64).reshape(1, len(p), -1) for p in side] for side in (xyz, xy))
    solved: Any = cv2.fisheye.calibrate(points, pixels, size_wh, None, None, flags=flags)  # type: ignore[call-overload]
    rms_px, K, dist, rvecs, tvecs = solved
    per_view, slope = [], 0.0
    for p, q, rvec, tvec in zip(points, pixels, rvecs, tvecs, strict=True):
        model, jacobian = cv2.fisheye.projectPoints(p, rvec.ravel(), tvec.ravel(), K, dist)
        per_view.append(float(np.sqrt(((model - q) ** 2).sum(-1).mean())))
        slope += float((jacobian[:, 0] ** 2).sum())
    return _Fit(K, dist.ravel(), float(rms_px / np.sqrt(2 * slope)), float(rms_px), np.array(per_view), _tilt_deg(rvecs))


def _tilt_deg(rvecs: Sequence[NDArray[Any]]) -> float:
    """The largest angle between a board normal and the mean one, degrees."""
    normals = np.stack([cv2.Rodrigues(rvec.reshape(3))[0][:, 2] for rvec in rvecs])
    mean = normals.mean(0) / max(np.linalg.norm(normals.mean(0)), 1e-12)
    return float(np.degrees(np.arccos(np.clip(normals @ mean, -1.0, 1.0)).max()))


def _without_misread(views: Array, used: list[int], board: Board, fit: _Fit, lens: str) -> Array:
    """Views with corners beyond 5 robust sigma (and 1 px) of the fitted lens set to NaN."""
    camera = Camera("fit", (1, 1), fit.K, fit.dist, lens)
    misses = np.full(views.shape[:2], np.nan)
    for v in used:
        keep = corners_seen(views[v])
        flat = camera.undistort(views[v, keep])
        model, _ = cv2.findHomography(board.corners_m[keep, :2], flat, cv2.LMEDS)
        if model is not None:
            fitted = cv2.perspectiveTransform(board.corners_m[keep, None, :2], model)[:, 0]
            misses[v, keep] = np.linalg.norm(fitted - flat, axis=1) * np.sqrt(fit.K[0, 0] * fit.K[1, 1])
    limit_px = max(1.0, 5.0 * float(np.nanmedian(misses)) / 1.1774)
    out = views.copy()
    out[misses > limit_px] = np.nan
    return out
