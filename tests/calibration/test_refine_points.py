"""Refinement lowers the error to the noise, and its covariance is the scatter that really happens."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.refine_points import refine_points
from calibration.triangulate import triangulate, triangulate_robust
from tests.calibration.test_triangulate import NOISE_PX, body_points, distance_m, ring, seen_by


@pytest.mark.parametrize("n_cameras", [3, 4])
def test_refined_points_are_nearer_the_truth_and_reproject_better(n_cameras: int) -> None:
    rig, xyz_m = ring(n_cameras), body_points(4000)
    xy_px = seen_by(rig, xyz_m, NOISE_PX)
    linear = triangulate(rig, xy_px)
    refined = refine_points(rig, xy_px, linear)
    assert np.sqrt(np.mean(distance_m(refined.xyz_m, xyz_m) ** 2)) < np.sqrt(np.mean(distance_m(linear.xyz_m, xyz_m) ** 2))

    def squared_px(points_m: np.ndarray) -> np.ndarray:
        return ((seen_by(rig, points_m) - xy_px) ** 2).sum((0, 2))

    assert (squared_px(refined.xyz_m) <= squared_px(linear.xyz_m) + 1e-9).all()
    # At the least-squares point 2 C - 3 coordinates of noise remain.
    assert squared_px(refined.xyz_m).mean() == pytest.approx(NOISE_PX**2 * (2 * n_cameras - 3), rel=0.05)


def test_covariance_ellipsoids_hold_the_truth_as_often_as_they_say() -> None:
    rig, xyz_m, noise_px = ring(4), body_points(8000), 2.0
    xy_px = seen_by(rig, xyz_m, noise_px)
    refined = refine_points(rig, xy_px, triangulate(rig, xy_px), noise_px=noise_px)
    assert refined.covariance_m2 is not None
    off = refined.xyz_m - xyz_m
    mahalanobis = np.einsum("ni,nij,nj->n", off, np.linalg.inv(refined.covariance_m2), off)
    # 95 % of a chi-square variable of three degrees of freedom is below 7.815; 8000 draws scatter by 0.25 %.
    assert (mahalanobis < 7.815).mean() == pytest.approx(0.95, abs=0.01)


def test_views_left_out_stay_out_and_missing_points_stay_missing() -> None:
    rig, xyz_m = ring(4), body_points(200)
    xy_px = seen_by(rig, xyz_m, NOISE_PX)
    xy_px[1, :100] += 90.0
    xy_px[1:, 150] = np.nan
    robust = triangulate_robust(rig, xy_px)
    refined = refine_points(rig, xy_px, robust)
    assert np.isnan(refined.xyz_m[150]).all() and np.isnan(refined.error_px[150]) and refined.covariance_m2 is not None
    assert np.isnan(refined.covariance_m2[150]).all()
    others = np.delete(np.arange(200), 150)
    assert distance_m(refined.xyz_m, xyz_m)[others].max() < 5 * NOISE_PX * 3.8 / 1400.0 * np.sqrt(1.5)
    np.testing.assert_array_equal(refined.n_views, robust.n_views)


def test_a_heavier_view_pulls_harder() -> None:
    rig, xyz_m = ring(3), body_points(300)
    xy_px = seen_by(rig, xyz_m, NOISE_PX)
    weight = np.ones((3, 300))
    weight[0] = 10.0
    linear = triangulate(rig, xy_px, weight)
    near, even = refine_points(rig, xy_px, linear, weight), refine_points(rig, xy_px, linear)

    def first_view_px(points_m: np.ndarray) -> float:
        return float(np.linalg.norm(seen_by(rig, points_m)[0] - xy_px[0], axis=1).mean())

    assert first_view_px(near.xyz_m) < 0.2 * first_view_px(even.xyz_m)
