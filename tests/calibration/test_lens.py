import cv2
import numpy as np
import pytest

from calibration.lens import distort

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
