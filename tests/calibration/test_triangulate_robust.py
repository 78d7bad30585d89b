"""Robust triangulation: which views are left out, against known truth."""

from __future__ import annotations

from itertools import combinations
from types import SimpleNamespace
from typing import cast

import numpy as np

from calibration.rig import Rig
from calibration.triangulate import _Block as Block
from calibration.triangulate import _cost as cost
from calibration.triangulate import _pairs as pairs
from calibration.triangulate import triangulate, triangulate_robust
from tests.calibration.test_triangulate import FOCAL_PX, NOISE_PX, body_points, distance_m, ring, seen_by


def test_one_wrong_view_is_left_out() -> None:
    rig, xyz_m = ring(4), body_points(2000)
    xy_px = seen_by(rig, xyz_m, NOISE_PX)
    wrong = np.arange(0, 2000, 10)
    view = wrong // 10 % 4
    xy_px[view, wrong] += np.random.default_rng(3).choice([-1, 1], (len(wrong), 2)) * 60.0
    points = triangulate_robust(rig, xy_px)
    assert points.used is not None
    expected = np.ones((4, 2000), dtype=bool)
    expected[view, wrong] = False
    assert (points.used == expected).all()
    # Three views left: the noise of the linear solution by the bound above, five sigma for the worst of 200.
    assert distance_m(points.xyz_m, xyz_m)[wrong].max() < 5 * NOISE_PX * 3.8 / FOCAL_PX * np.sqrt(1.5)
    untouched = np.setdiff1d(np.arange(2000), wrong)
    np.testing.assert_array_equal(points.xyz_m[untouched], triangulate(rig, xy_px).xyz_m[untouched])


def test_half_of_many_views_wrong_still_gives_the_point() -> None:
    rig, xyz_m = ring(12), body_points(200)
    xy_px, rng = seen_by(rig, xyz_m, NOISE_PX), np.random.default_rng(4)
    wrong = np.argsort(rng.random((12, 200)), axis=0) < 6
    xy_px[wrong] += rng.uniform(50, 300, (wrong.sum(), 2)) * rng.choice([-1, 1], (wrong.sum(), 2))
    points = triangulate_robust(rig, xy_px)
    assert distance_m(points.xyz_m, xyz_m).max() < 5 * NOISE_PX * 3.8 / FOCAL_PX
    assert (points.n_views >= 6).all()


def test_a_camera_that_saw_nothing_is_no_hindrance_to_consensus() -> None:
    rig, xyz_m = ring(4), body_points(40)
    xy_px = seen_by(rig, xyz_m, NOISE_PX)
    xy_px[3] = np.nan
    xy_px[0] += 90.0  # of three views one is wrong, everywhere
    points = triangulate_robust(rig, xy_px)
    three = triangulate_robust(rig.subset(["cam0", "cam1", "cam2"]), xy_px[:3])
    np.testing.assert_allclose(points.xyz_m, three.xyz_m, atol=1e-9)
    assert points.n_views.max() == 2


def test_views_that_do_not_agree_give_nothing() -> None:
    rig, xyz_m = ring(4).subset(["cam0", "cam1"]), body_points(50)
    xy_px = seen_by(rig, xyz_m)
    xy_px[1, :, 1] += 300.0  # across the epipolar lines, which are nearly horizontal here
    points = triangulate_robust(rig, xy_px)
    assert np.isnan(points.xyz_m).all() and (points.n_views < 2).all()
    assert np.isfinite(triangulate(rig, xy_px).xyz_m).any()  # the plain solver believes anything


def test_robust_triangulation_repeats_itself_and_ignores_the_block_size() -> None:
    rig, xyz_m = ring(4), body_points(9000)  # more than one block
    xy_px, rng = seen_by(rig, xyz_m, NOISE_PX), np.random.default_rng(5)
    xy_px[rng.random((4, 9000)) < 0.1] += 80.0
    first, again, tail = (triangulate_robust(rig, xy) for xy in (xy_px, xy_px, xy_px[:, 5000:]))
    np.testing.assert_array_equal(first.xyz_m, again.xyz_m)
    np.testing.assert_allclose(first.xyz_m[5000:], tail.xyz_m, atol=1e-12)


def test_few_cameras_try_every_pair_and_many_the_near_and_two_wide_ones_first() -> None:
    for count in (2, 4, 10):
        assert pairs(count) == (list(combinations(range(count), 2)), [])
    few, rest = pairs(25)
    apart = [[min(j - i, 25 - (j - i)) for i, j in part] for part in (few, rest)]
    assert set(apart[0]) == {1, 2, 3, 4, 6, 8} and set(apart[1]) == {5, 7, 9, 10, 11, 12}
    assert sorted(few + rest) == list(combinations(range(25), 2))
    assert len(pairs(11)[1]) == 11, "five apart, and no more: of 11 cameras no two are six apart"


def test_a_far_pair_of_many_cameras_is_tried_where_the_near_ones_conflict() -> None:
    rig, xyz_m = ring(12), body_points(60)
    xy_px = np.full((12, 60, 2), np.nan)
    xy_px[[0, 2, 5]] = seen_by(rig, xyz_m, NOISE_PX)[[0, 2, 5]]
    xy_px[2, :, 1] += 300.0  # 0 and 5, which are no pair of the short list, agree
    xy_px[:, :30] = seen_by(rig, xyz_m, NOISE_PX)[:, :30]
    points = triangulate_robust(rig, xy_px)
    assert points.used is not None and points.used[:, :30].all()
    assert np.flatnonzero(points.used[:, 30:].all(1)).tolist() == [0, 5] and (points.n_views[30:] == 2).all()
    assert distance_m(points.xyz_m, xyz_m)[30:].max() < 5 * NOISE_PX * 3.8 / FOCAL_PX * np.sqrt(9 / 4)


def two_bodies(rig: Rig, ones: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels in which some views look at one point and the others at another 30 cm away, and both points."""
    one, other = body_points(40), body_points(40) + [0.0, 0.0, 0.3]
    xy_px = seen_by(rig, other, 0.5)
    xy_px[ones] = seen_by(rig, one, 0.5)[ones]
    return xy_px, one, other


def test_of_two_pairs_that_agree_the_heavier_wins() -> None:
    rig = ring(4)
    xy_px, one, other = two_bodies(rig, [0, 1])
    for weight, truth in (([1.0, 1.0, 0.6, 0.6], one), ([0.6, 0.6, 1.0, 1.0], other)):
        points = triangulate_robust(rig, xy_px, np.repeat(np.array(weight)[:, None], 40, 1))
        assert (points.used == (np.array(weight) == 1.0)[:, None]).all()
        assert distance_m(points.xyz_m, truth).max() < 0.01


def test_a_view_left_out_costs_its_weight_times_the_squared_threshold() -> None:
    rig = ring(5)
    xy_px, one, other = two_bodies(rig, [0, 1, 2])
    # Three views of 0.5 cost 1.5 times 20^2 when left out, two of 0.7 cost 1.4 times and two of 0.8 cost 1.6 times that.
    for weight, truth in (([0.5, 0.5, 0.5, 0.7, 0.7], one), ([0.5, 0.5, 0.5, 0.8, 0.8], other)):
        points = triangulate_robust(rig, xy_px, np.repeat(np.array(weight)[:, None], 40, 1))
        assert distance_m(points.xyz_m, truth).max() < 0.01


def test_the_points_beside_a_point_do_not_change_it() -> None:
    rig, rng = ring(5), np.random.default_rng(6)
    xy_px = seen_by(rig, body_points(40), NOISE_PX)
    unseen, wrong = np.argsort(rng.random((5, 40)), axis=0)[:2]
    xy_px[wrong, np.arange(40), 1] += 90.0
    xy_px[unseen, np.arange(40)] = np.nan
    xy_px[0, :10] = np.nan
    together = triangulate_robust(rig, xy_px)
    for n in range(40):
        alone = triangulate_robust(rig, xy_px[:, n : n + 1])
        np.testing.assert_allclose(alone.xyz_m[0], together.xyz_m[n], atol=1e-9)
        assert alone.n_views[0] == together.n_views[n] >= 2


def test_a_proposal_costs_the_squares_of_its_errors_cut_off_at_the_threshold() -> None:
    error_px = np.array([[3.0, 30.0, np.inf], [4.0, np.nan, 0.0], [np.nan, 2.0, 1.0]])
    weight = np.array([[1.0, 0.5, 1.0], [0.5, 0.0, 2.0], [0.0, 3.0, 1.0]])
    block = cast(Block, SimpleNamespace(weight=weight, error_px=lambda _: error_px))
    found = cost(block, np.zeros((3, 3)), 20.0)
    np.testing.assert_allclose(found, [9 + 0.5 * 16, 0.5 * 400 + 3 * 4, 400 + 1])


def best_pair_views(rig: Rig, xy_px: np.ndarray, threshold_px: float) -> np.ndarray:
    """(N,) how many views agree with the best proposal of a pair, before anything is fitted to them."""
    cost, agreeing = [], []
    for views in combinations(range(len(rig)), 2):
        names = [rig.names[view] for view in views]
        xyz_m = triangulate(rig.subset(names), xy_px[list(views)]).xyz_m
        error_px = np.linalg.norm(seen_by(rig, xyz_m) - xy_px, axis=-1)
        cost.append((np.minimum(error_px, threshold_px) ** 2).sum(0))
        agreeing.append((error_px <= threshold_px).sum(0))
    return np.take_along_axis(np.array(agreeing), np.argmin(cost, axis=0)[None], 0)[0]


def test_a_fit_to_the_views_that_agree_wins_views_back_and_loses_none() -> None:
    rig, xyz_m = ring(8), body_points(400)
    xy_px = seen_by(rig, xyz_m, NOISE_PX)
    xy_px[3, :, 1] += 60.0
    gained = triangulate_robust(rig, xy_px, threshold_px=2.0).n_views - best_pair_views(rig, xy_px, 2.0)
    assert gained.min() == 0 and (gained > 0).sum() >= 10
