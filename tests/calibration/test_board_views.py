from __future__ import annotations

import numpy as np

from calibration.board import Board
from calibration.board_views import best_views, coverage, spread_views
from calibration.camera import Camera
from calibration.lens_solve import solve_lens
from calibration.transforms import Rigid

BOARD = Board("chessboard", 7, 5, 0.04)
SIZE = (1280, 720)
TRUTH = Camera("cam", SIZE, np.array([[900.0, 0, 650], [0, 905, 350], [0, 0, 1]]), np.array([-0.2, 0.05, 0.001, -0.001, 0]))
INSIDE_PX = 5.0


def _waved(count: int, seed: int) -> np.ndarray:
    """A person waving a board: mostly in the middle, tilted by 14 degrees (1 sigma per axis)."""
    rng, middle, views = np.random.default_rng(seed), Rigid(np.eye(3), -BOARD.corners_m.mean(0)), []
    while len(views) < count:
        place_m = np.array([rng.normal(0, 0.15), rng.normal(0, 0.08), rng.uniform(0.5, 1.5)])
        xy_px = TRUTH.project((Rigid.from_rvec(rng.normal(0, 0.25, 3), place_m) @ middle).apply(BOARD.corners_m))
        if (xy_px > INSIDE_PX).all() and (xy_px < np.array(SIZE) - INSIDE_PX).all():
            views.append(xy_px + rng.normal(0, 0.3, xy_px.shape))
    return np.array(views)


def test_the_best_20_of_200_views_determine_the_focal_length_better_than_random_or_spread_ones() -> None:
    errors_px: dict[str, list[float]] = {"best": [], "spread": [], "random": [], "all": []}
    sigmas_px: dict[str, list[float]] = {label: [] for label in errors_px}
    for seed in range(6):
        views = _waved(200, seed)
        first = solve_lens(views, spread_views(views, 24), BOARD, SIZE, "brown", True, "cam")
        chosen = {
            "best": best_views(views, BOARD, first, 20),
            "spread": spread_views(views, 20),
            "random": list(np.random.default_rng(seed + 100).choice(200, 20, replace=False)),
            "all": list(range(200)),
        }
        for label, used in chosen.items():
            fit = solve_lens(views, used, BOARD, SIZE, "brown", True, "cam")
            errors_px[label].append(fit.camera.K[0, 0] - TRUTH.K[0, 0])
            sigmas_px[label].append(float(np.sqrt(fit.covariance[0, 0])))
    sigma_px = {label: float(np.mean(values)) for label, values in sigmas_px.items()}
    print(
        {
            label: f"rms error {np.sqrt(np.mean(np.square(e))):.2f} px, sigma {sigma_px[label]:.2f}"
            for label, e in errors_px.items()
        }
    )
    assert sigma_px["all"] < sigma_px["best"] < 0.75 * sigma_px["spread"] < 0.75 * sigma_px["random"]
    # The mean square of 6 errors is within three times its expectation.
    assert np.mean(np.square(errors_px["best"])) < 3 * sigma_px["best"] ** 2


def test_no_view_is_left_out_below_the_limit_and_none_twice() -> None:
    views = _waved(30, 9)
    views[[3, 8]] = np.nan
    fit = solve_lens(views, spread_views(views, 10), BOARD, SIZE, "brown", True, "cam")
    seen = [view for view in range(30) if view not in (3, 8)]
    assert best_views(views, BOARD, fit, 28) == seen
    some = best_views(views, BOARD, fit, 12)
    assert len(set(some)) == 12
    assert set(some) <= set(seen)


def test_the_part_of_the_image_without_corners_is_told() -> None:
    views = _waved(40, 2)
    used = [view for view in range(40) if (views[view, :, 0] > SIZE[0] / 3).all()]
    shown = coverage(views, used, solve_lens(views, used, BOARD, SIZE, "brown", True, "cam"))
    assert {"top left", "middle left", "bottom left"} <= set(shown.empty_ninths)
    assert 0 < shown.share < 0.7
    assert "no corner in the top left" in shown.advice[0]
    assert shown.tilt_deg[0] < shown.tilt_deg[1]
