import cv2
import numpy as np
import pytest

from calibration.lens import distort, distort_with_slopes, undistort_brown

LENSES = {
    "brown": [-0.12, 0.04, 0.001, -0.002, 0.01],
    "rational": [0.4, -0.1, 0.001, -0.002, 0.01, 0.5, -0.05, 0.02],
    "fisheye": [-0.02, 0.01, -0.003, 0.001],
}


@pytest.mark.parametrize("lens", LENSES)
def test_distortion_equals_opencv(lens: str) -> None:
    xy = np.random.default_rng(0).uniform(-0.8, 0.8, (500, 2))
    xy[0] = 0.0  # the optical axis, where the fisheye formula divides by zero
    rays, zero = np.c_[xy, np.ones(500)][:, None], np.zeros(3)
    project = cv2.fisheye.projectPoints if lens == "fisheye" else cv2.projectPoints
    expected = project(rays, zero, zero, np.eye(3), np.array(LENSES[lens]))[0].reshape(-1, 2)
    np.testing.assert_allclose(np.stack(distort(*xy.T, np.array(LENSES[lens]), lens), 1), expected, atol=1e-12)


@pytest.mark.parametrize("lens", LENSES)
def test_slopes_are_the_derivatives_of_distortion(lens: str) -> None:
    dist, step = np.array(LENSES[lens]), 1e-6
    x, y = np.random.default_rng(0).uniform(-0.8, 0.8, (2, 500))
    x[0] = y[0] = 0.0
    by_x = np.subtract(distort(x + step, y, dist, lens), distort(x - step, y, dist, lens)) / (2 * step)
    by_y = np.subtract(distort(x, y + step, dist, lens), distort(x, y - step, dist, lens)) / (2 * step)
    u, v, ux, uy, vy = distort_with_slopes(x, y, dist, lens)
    np.testing.assert_allclose([u, v], distort(x, y, dist, lens), atol=1e-15)
    # Central differences: step^2 of truncation and 1e-16 / step of rounding.
    np.testing.assert_allclose([ux, uy], [by_x[0], by_y[0]], atol=1e-9)
    np.testing.assert_allclose([uy, vy], [by_x[1], by_y[1]], atol=1e-9)


@pytest.mark.parametrize("k1", [-0.35, -0.12, 0.0, 0.3])
def test_newton_undoes_a_brown_lens_and_says_where_it_cannot(k1: float) -> None:
    dist = np.array([k1, 0.04, 0.001, -0.002, 0.01])
    x, y = np.random.default_rng(0).uniform(-0.8, 0.8, (2, 500))
    back_x, back_y, found = undistort_brown(*distort(x, y, dist, "brown"), dist)
    assert found.all()
    np.testing.assert_allclose([back_x, back_y], [x, y], atol=1e-12)
    fold = np.array([-0.5, 0.0, 0.0, 0.0, 0.0])  # r - r^3 / 2 is never more than 0.544
    assert undistort_brown(np.array([0.3, 0.6, np.nan]), np.zeros(3), fold)[2].tolist() == [True, False, False]
