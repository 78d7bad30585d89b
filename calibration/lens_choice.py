"""The simplest lens that explains the views, by cross-validation over views.

Each candidate is solved on part of the views; on the others only the board's pose is fitted and the RMS that is left is the
held-out error: a lens with too few coefficients bends, one with too many follows noise, and both show. Of all candidates
within one standard error of the best the simplest is taken (the one-standard-error rule of Breiman, Friedman, Olshen and
Stone 1984, "Classification and Regression Trees", section 3.4.3).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from calibration.board_set import Target
from calibration.camera import LENSES, Camera
from calibration.errors import CalibrationError
from calibration.lens_solve import MAX_STEPS, linearise_view, solve_lens
from calibration.planar import MIN_CORNERS, board_candidates, corners_seen
from calibration.transforms import Rigid

Array = NDArray[np.float64]

AUTO = "auto"
# Fewer views leave too little on either side of a fold.
MIN_CHOICE_VIEWS = 6
FOLDS = 5
# Steps of a fold's solver before the lenses are compared; each begins where the simpler one ended, so that views held out
# stay unseen.
FEW_STEPS = 40
# A view that even the best candidate misses by this many times the median says nothing about lenses: it is misread.
BAD_VIEW_RATIO = 4.0


@dataclass(frozen=True)
class LensModel:
    """A candidate: what it is called, its lens, and whether k3 is held at zero."""

    label: str
    lens: str
    fix_k3: bool = False


# In the order of simplicity.
CANDIDATES = (
    LensModel("brown, k3 = 0", "brown", True),
    LensModel("brown", "brown"),
    LensModel("rational", "rational"),
    LensModel("fisheye", "fisheye"),
)
SIMPLEST = CANDIDATES[0]


@dataclass(frozen=True)
class LensScore:
    """One row of the choice: mean RMS px of held-out views and its standard error, NaN where not tried, and why."""

    label: str
    held_out_px: float
    standard_error_px: float
    chosen: bool
    why: str


@dataclass(frozen=True)
class LensChoice:
    """The model chosen, the table behind it, on how many views it rests, and the CPU seconds it took."""

    model: LensModel
    table: tuple[LensScore, ...]
    views: int
    cpu_s: float


def pinned(lens: str, fix_k3: bool) -> LensModel:
    """The model a user asks for by name. Raises CalibrationError for a lens there is not."""
    if lens not in LENSES:
        raise CalibrationError(f"lens: expected {AUTO} or one of {', '.join(LENSES)}, got {lens!r}")
    if lens != "brown":
        return LensModel(lens, lens)
    return CANDIDATES[0] if fix_k3 else CANDIDATES[1]


def choose_lens(views: Array, used: Sequence[int], board: Target, size_wh: tuple[int, int], name: str) -> LensChoice:
    """Cross-validate CANDIDATES on the views `used` of corners (F, M, 2) px, NaN unseen.

    With fewer than MIN_CHOICE_VIEWS views the simplest stays. A view that no candidate explains is set aside and the rest is
    validated again. Raises CalibrationError when not even the simplest lens fits.
    """
    start_s = time.process_time()
    if len(used) < MIN_CHOICE_VIEWS:
        why = f"{len(used)} views, {MIN_CHOICE_VIEWS} are needed to compare lenses: the simplest stays"
        row = LensScore(SIMPLEST.label, float("nan"), float("nan"), True, why)
        return LensChoice(SIMPLEST, (row,), len(used), time.process_time() - start_s)
    kept = list(used)
    errors_px = _held_out(views, kept, board, size_wh, name)
    fair = _explained(errors_px)
    if not fair.all() and fair.sum() >= MIN_CHOICE_VIEWS:
        kept = [view for view, good in zip(used, fair, strict=True) if good]
        errors_px = _held_out(views, kept, board, size_wh, name)
    model, table = _judged(errors_px)
    return LensChoice(model, table, len(kept), time.process_time() - start_s)


def _held_out(views: Array, used: list[int], board: Target, size_wh: tuple[int, int], name: str) -> Array:
    """RMS px (candidates, n) of each view under lenses solved without it; inf for a candidate that some fold cannot solve.

    The fisheye, slowest of all, is spared (NaN) where the simplest lens holds against the rational one, which bends as far.
    """
    errors = np.full((len(CANDIDATES), len(used)), np.inf)
    simpler: list[Camera] = []
    solved = partial(_folds, views, used, board, size_wh, name)
    for row, model in enumerate(CANDIDATES):
        needs_more = row > 0 and _simplest_row(errors[:row])[0] > 0
        if model.lens == "fisheye" and not needs_more:
            errors[row] = np.nan
            break
        try:
            if not needs_more:
                errors[row], simpler = solved(model, simpler, FEW_STEPS)
                needs_more = _simplest_row(errors[: row + 1])[0] > 0
            if needs_more:  # than the simplest: each lens from the start and to the end
                errors[row], _ = solved(model, [], MAX_STEPS)
        except CalibrationError:
            if model is SIMPLEST:
                raise
    return errors


def _simplest_row(errors_px: Array) -> tuple[int, int, float]:
    """The simplest row within one standard error of the best, the best row, and that limit in px."""
    mean = errors_px.mean(1)
    best = int(np.nanargmin(mean))
    limit_px = float(mean[best] + errors_px[best].std(ddof=1) / np.sqrt(errors_px.shape[1]))
    return int(np.argmax(mean <= limit_px)), best, limit_px


def _folds(
    views: Array,
    used: list[int],
    board: Target,
    size_wh: tuple[int, int],
    name: str,
    model: LensModel,
    simpler: list[Camera],
    steps: int,
) -> tuple[Array, list[Camera]]:
    """RMS px (n,) of each view under a lens solved without it, and that lens per fold; it begins at the simpler one."""
    errors, cameras = np.full(len(used), np.inf), []
    folds = min(FOLDS, len(used))
    for fold in range(folds):
        held = list(range(fold, len(used), folds))
        train = [view for place, view in enumerate(used) if place not in held]
        start = simpler[fold] if simpler else None
        fit = solve_lens(views, train, board, size_wh, model.lens, model.fix_k3, name, start, steps)
        errors[held] = [pose_only_rms_px(fit.camera, board, views[used[place]]) for place in held]
        cameras.append(fit.camera)
    return errors, cameras


def pose_only_rms_px(camera: Camera, board: Target, xy_px: Array) -> float:
    """RMS px of corners (M, 2), NaN unseen, when only the board's pose is fitted; inf where the lens cannot show the board."""
    seen = corners_seen(xy_px)
    starts = board_candidates(camera, board, np.where(seen[:, None], xy_px, np.nan))
    if not starts or seen.sum() < MIN_CORNERS:
        return float("inf")
    points, pixels = board.corners_m[seen], xy_px[seen]
    return _fitted_rms_px(camera, starts[0].cam_from_board, points, pixels)


def _fitted_rms_px(camera: Camera, start: Rigid, points_m: Array, pixels: Array) -> float:
    def miss(pose: Array) -> Array:
        return (linearise_view(camera, Rigid.from_rvec(pose[:3], pose[3:]), points_m)[0] - pixels).ravel()

    def slope(pose: Array) -> Array:
        return linearise_view(camera, Rigid.from_rvec(pose[:3], pose[3:]), points_m)[2]

    first = np.r_[start.rvec, start.t]
    if not np.isfinite(miss(first)).all():
        return float("inf")
    solved = least_squares(miss, first, slope, method="lm", x_scale="jac", max_nfev=50)
    return float(np.sqrt(2.0 * solved.cost / len(points_m)))


def _explained(errors_px: Array) -> NDArray[np.bool_]:
    """(n,) True for views that at least one candidate explains about as well as it explains the others."""
    best = np.nanmin(errors_px, axis=0)
    return np.asarray(best <= BAD_VIEW_RATIO * np.median(best))


def _judged(errors_px: Array) -> tuple[LensModel, tuple[LensScore, ...]]:
    chosen, best, limit_px = _simplest_row(errors_px)
    rows = []
    for row, (model, errors) in enumerate(zip(CANDIDATES, errors_px, strict=True)):
        mean_px, error_px = float("nan"), float("nan")
        if np.isfinite(errors).all():
            mean_px, error_px = float(errors.mean()), float(errors.std(ddof=1) / np.sqrt(errors.size))
        why = _why(errors, row == chosen, row == best, limit_px)
        rows.append(LensScore(model.label, mean_px, error_px, row == chosen, why))
    return CANDIDATES[chosen], tuple(rows)


def _why(errors_px: Array, chosen: bool, best: bool, limit_px: float) -> str:
    if np.isnan(errors_px).any():
        return "not tried: the simplest holds against the rational lens"
    if not np.isfinite(errors_px).all():
        return "does not fit the views"
    if chosen:
        return "best" if best else f"the simplest within one standard error of the best ({limit_px:.3f} px)"
    if errors_px.mean() <= limit_px:
        return "best, by less than its standard error" if best else "no better than a simpler one"
    return f"more than one standard error above the best ({limit_px:.3f} px)"
