"""Triangulation against known truth, its degenerate cases, and another tool's result on a real recording."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.camera import Camera
from calibration.errors import CalibrationError
from calibration.rig import Rig
from calibration.transforms import Rigid, look_at
from calibration.triangulate import triangulate, triangulate_robust

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


def test_a_shape_that_misses_a_camera_is_refused() -> None:
    rig = ring(4)
    with pytest.raises(CalibrationError, match=r"C=4.*cam0, cam1, cam2, cam3.*\(3, 7, 2\)"):
        triangulate(rig, np.zeros((3, 7, 2)))
    with pytest.raises(CalibrationError, match=r"weight \(4, 7\), got \(4, 6\)"):
        triangulate(rig, np.zeros((4, 7, 2)), np.ones((4, 6)))
    with pytest.raises(CalibrationError, match="threshold_px"):
        triangulate_robust(rig, np.zeros((4, 7, 2)), threshold_px=0)
