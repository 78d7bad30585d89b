"""Triangulation against known truth, its degenerate cases, and another tool's result on a real recording."""

from __future__ import annotations

import re

import numpy as np
import pytest

from calibration.camera import Camera
from calibration.errors import CalibrationError
from calibration.rig import Rig
from calibration.transforms import Rigid, look_at
from calibration.triangulate import _origin_m as origin_m
from calibration.triangulate import blocks, triangulate, triangulate_robust

FOCAL_PX, RADIUS_M, NOISE_PX = 1400.0, 3.0, 1.0


def ring(n_cameras: int, shift_m: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Rig:
    K = np.array([[FOCAL_PX, 0, 965.0], [0, FOCAL_PX + 6, 533.0], [0, 0, 1]])
    dist = np.array([-0.12, 0.04, 1e-3, -5e-4, 0.0])
    angles = 2 * np.pi * np.arange(n_cameras) / n_cameras
    eyes = [np.array([RADIUS_M * np.cos(a), RADIUS_M * np.sin(a), 1.5]) + shift_m for a in angles]
    return Rig(
        tuple(
            Camera(f"cam{i}", (1920, 1080), K, dist, "brown", look_at(eye, np.add((0, 0, 0.9), shift_m)))
            for i, eye in enumerate(eyes)
        )
    )


def body_points(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform([-0.7, -0.7, 0.0], [0.7, 0.7, 1.9], (n, 3))


def seen_by(rig: Rig, xyz_m: np.ndarray, noise_px: float = 0.0, seed: int = 1) -> np.ndarray:
    xy_px = np.stack([camera.project(xyz_m) for camera in rig.cameras])
    return xy_px + np.random.default_rng(seed).normal(0.0, 1.0, xy_px.shape) * noise_px


def distance_m(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a - b, axis=1)


def dlt_by_svd(rig: Rig, xy_px: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The textbook: one 2C x 4 matrix and its smallest singular vector per point."""
    out = []
    for n in range(xy_px.shape[1]):
        rows = []
        for camera, pixel, w in zip(rig.cameras, xy_px[:, n], weight[:, n], strict=True):
            P, (x, y) = camera.cam_from_world.matrix[:3], camera.undistort(pixel)[0]
            rows += [w * camera.K[0, 0] * (P[0] - x * P[2]), w * camera.K[1, 1] * (P[1] - y * P[2])]
        v = np.linalg.svd(np.array(rows))[2][-1]
        out.append(v[:3] / v[3])
    return np.array(out)


def test_projected_points_come_back() -> None:
    rig, xyz_m = ring(4), body_points(1000)
    points = triangulate(rig, seen_by(rig, xyz_m))
    # The normal equations square a condition number of about ten: 1e-10 m leaves three digits of room.
    assert distance_m(points.xyz_m, xyz_m).max() < 1e-10
    assert points.error_px.max() < 1e-7
    assert (points.n_views == 4).all()


@pytest.mark.parametrize("n_cameras", [2, 3, 4, 8])
def test_error_follows_the_pixel_noise(n_cameras: int) -> None:
    rig, xyz_m = ring(n_cameras) if n_cameras > 2 else ring(4).subset(["cam0", "cam1"]), body_points(4000)
    points = triangulate(rig, seen_by(rig, xyz_m, NOISE_PX))
    # One view fixes two coordinates to noise * depth / f, n views share the noise: sqrt(3 / (2 n / 3)), depth to 3.8 m.
    bound_m = NOISE_PX * 3.8 / FOCAL_PX * np.sqrt(9.0 / (2.0 * n_cameras))
    assert np.median(distance_m(points.xyz_m, xyz_m)) < bound_m
    # Rayleigh mean of 2 C - 3 remaining of 2 C noise coordinates.
    expected_px = NOISE_PX * np.sqrt(np.pi / 2) * np.sqrt((2 * n_cameras - 3) / (2 * n_cameras))
    assert points.error_px.mean() == pytest.approx(expected_px, rel=0.12)


def test_the_closed_form_equals_the_singular_vector() -> None:
    rig, xyz_m = ring(4), body_points(60)
    xy_px = seen_by(rig, xyz_m, 8.0)
    weight = np.random.default_rng(2).uniform(0.2, 1.0, xy_px.shape[:2])
    np.testing.assert_allclose(triangulate(rig, xy_px, weight).xyz_m, dlt_by_svd(rig, xy_px, weight), atol=1e-9)


def test_a_rig_in_a_surveyors_frame_keeps_its_accuracy() -> None:
    shift = (4.0e5, 5.0e6, 120.0)
    near, far, xyz_m = ring(4), ring(4, shift), body_points(500)
    xy_px = seen_by(near, xyz_m, NOISE_PX)
    # Each solves about its own origin; moving that by the rig's size bends a noise of 2 mm by a few hundredths of it.
    moved = triangulate(far, xy_px).xyz_m - np.array(shift)
    assert distance_m(moved, triangulate(near, xy_px).xyz_m).max() < 1e-4


def test_a_weightless_or_unseen_view_changes_nothing() -> None:
    rig, xyz_m = ring(4), body_points(50)
    xy_px = seen_by(rig, xyz_m, NOISE_PX)
    three = triangulate(rig.subset(["cam0", "cam1", "cam3"]), xy_px[[0, 1, 3]])
    unseen = xy_px.copy()
    unseen[2] = np.nan
    for weight in (0.0, np.nan, np.inf, -1.0):
        weights = np.ones((4, 50))
        weights[2] = weight
        points = triangulate(rig, xy_px, weights)
        np.testing.assert_allclose(points.xyz_m, three.xyz_m, atol=1e-12)
        assert (points.n_views == 3).all()
    np.testing.assert_allclose(triangulate(rig, unseen).xyz_m, three.xyz_m, atol=1e-12)


def test_fewer_than_two_views_give_nothing() -> None:
    rig, xyz_m = ring(4), body_points(5)
    xy_px = seen_by(rig, xyz_m)
    xy_px[1:, 0] = np.nan
    xy_px[:, 1] = np.nan
    for solve in (triangulate, triangulate_robust):
        points = solve(rig, xy_px)
        assert np.isnan(points.xyz_m[:2]).all() and np.isnan(points.error_px[:2]).all()
        assert points.n_views.tolist() == [1, 0, 4, 4, 4]
        assert np.isfinite(points.xyz_m[2:]).all()
    assert triangulate(rig, np.zeros((4, 0, 2))).xyz_m.shape == (0, 3)


def test_parallel_rays_and_points_behind_a_camera_give_nothing() -> None:
    K = np.diag([1000.0, 1000.0, 1.0])
    left = Camera("left", (640, 480), K)
    right = Camera("right", (640, 480), K, cam_from_world=Rigid(np.eye(3), np.array([-0.2, 0.0, 0.0])))
    parallel, diverging = [[5.0, 3.0], [5.0, 3.0]], [[0.0, 0.0], [100.0, 0.0]]
    xy_px = np.stack([parallel, diverging], axis=1)
    for solve in (triangulate, triangulate_robust):
        points = solve(Rig((left, right)), xy_px)
        assert np.isnan(points.xyz_m).all() and np.isnan(points.error_px).all()


def test_a_shape_that_misses_a_camera_is_refused() -> None:
    rig = ring(4)
    expected = r"^triangulate: expected xy_px \(C=4, N, 2\) for cameras cam0, cam1, cam2, cam3, got "
    for shape in ((3, 7, 2), (4, 7, 3), (4, 7)):
        with pytest.raises(CalibrationError, match=expected + re.escape(str(shape))):
            triangulate(rig, np.zeros(shape))
    with pytest.raises(CalibrationError, match=r"^triangulate: expected weight \(4, 7\), got \(4, 6\)$"):
        triangulate(rig, np.zeros((4, 7, 2)), np.ones((4, 6)))
    for threshold_px in (0, -1.0, np.nan):
        with pytest.raises(CalibrationError, match=f"^triangulate_robust: threshold_px must be positive, got {threshold_px}$"):
            triangulate_robust(rig, np.zeros((4, 7, 2)), threshold_px=threshold_px)
    triangulate_robust(rig, np.zeros((4, 7, 2)), threshold_px=0.5)


def test_the_error_is_the_mean_distance_in_pixels_over_the_views_used() -> None:
    K = np.diag([1000.0, 1000.0, 1.0])
    left, right = (
        Camera(name, (640, 480), K, cam_from_world=Rigid(np.eye(3), np.array([x, 0.0, 0.0])))
        for name, x in (("left", 0.5), ("right", -0.5))
    )
    # Symmetric: the point is at y = 0, which both views miss by 3 px, at x = 0 and 5 m away, which they see exactly.
    xy_px = np.array([[[100.0, 3.0]], [[-100.0, -3.0]]])
    for solve in (triangulate, triangulate_robust):
        points = solve(Rig((left, right)), xy_px)
        np.testing.assert_allclose(points.xyz_m, [[0.0, 0.0, 5.0]], atol=1e-3)
        np.testing.assert_allclose(points.error_px, [3.0], atol=1e-3)
    assert triangulate_robust(Rig((left, right)), xy_px, threshold_px=2.9).n_views.tolist() == [0]


def test_no_points_keep_their_shapes() -> None:
    for points in (solve(ring(4), np.zeros((4, 0, 2))) for solve in (triangulate, triangulate_robust)):
        assert points.xyz_m.shape == (0, 3) and points.error_px.shape == points.n_views.shape == (0,)
        assert points.n_views.dtype == np.int64 and points.covariance_m2 is None
        assert points.used is not None and points.used.shape == (4, 0) and points.used.dtype == bool


def test_blocks_cover_every_point_once() -> None:
    assert list(blocks(8192)) == [slice(0, 8192)]
    assert list(blocks(8193)) == [slice(0, 8192), slice(8192, 16384)]


def test_every_block_says_which_views_it_used() -> None:
    rig, xyz_m = ring(4), body_points(8200)
    xy_px = seen_by(rig, xyz_m)
    xy_px[1, 100], xy_px[2, 8195] = np.nan, np.nan
    points = triangulate(rig, xy_px)
    assert points.used is not None and points.used.shape == (4, 8200)
    assert np.argwhere(~points.used).tolist() == [[1, 100], [2, 8195]]
    assert np.flatnonzero(points.n_views == 3).tolist() == [100, 8195]
    assert points.n_views.dtype == np.int64 and points.covariance_m2 is None


def test_the_origin_moves_only_where_the_rig_stands_ten_times_its_size_away() -> None:
    spread_m = RADIUS_M
    for times in (0.0, 9.9, 10.1, 10.9, 50.0):
        middle = (0.0, times * spread_m, -1.5)  # the ring's own height is 1.5 m
        expected = (0.0, times * spread_m, 0.0) if times > 10 else (0.0, 0.0, 0.0)
        np.testing.assert_allclose(origin_m(ring(4, middle)), expected, atol=1e-9)


def test_whole_numbers_do_for_pixels_and_weights() -> None:
    rig = ring(4)
    xy_px = np.round(seen_by(rig, body_points(20)))
    expected = triangulate(rig, xy_px, np.full((4, 20), 2.0)).xyz_m
    np.testing.assert_array_equal(triangulate(rig, xy_px.astype(int).tolist(), np.full((4, 20), 2).tolist()).xyz_m, expected)
    assert (triangulate(rig, xy_px.astype(np.float32), np.ones((4, 20), np.float32)).xyz_m.dtype) == np.float64


def test_a_view_that_is_not_used_is_not_in_the_mean_error() -> None:
    rig, xyz_m = ring(4), body_points(50)
    xy_px = seen_by(rig, xyz_m, NOISE_PX)
    xy_px[2, :, 0] = np.nan
    three = triangulate(rig.subset(["cam0", "cam1", "cam3"]), xy_px[[0, 1, 3]])
    np.testing.assert_allclose(triangulate(rig, xy_px).error_px, three.error_px, atol=1e-9)


def test_points_a_hand_before_the_camera_come_back_through_every_lens() -> None:
    for lens, dist in (("fisheye", [0.05, -0.01, 0.003, -0.001]), ("rational", [-0.1, 0.02, 1e-3, 1e-3, 0.0, 0.01, 0.0, 0.0])):
        K = np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]])
        cameras = (
            Camera(name, (640, 480), K, np.array(dist), lens, Rigid(np.eye(3), np.array([x, 0.0, 0.0])))
            for name, x in (("left", 0.05), ("right", -0.05))
        )
        rig, xyz_m = Rig(tuple(cameras)), np.array([[0.02, 0.03, 0.3], [-0.05, 0.1, 0.8]])
        points = triangulate(rig, seen_by(rig, xyz_m))
        np.testing.assert_allclose(points.xyz_m, xyz_m, atol=1e-7)
        np.testing.assert_allclose(points.error_px, 0.0, atol=1e-5)
