from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration.rig import Rig
from calibration.synthetic import ring_rig
from calibration.transforms import Rigid
from calibration.uncertainty import point_covariance, worst_sigma_m
from pipeline.capture_volume import AROUND_M, HEAD_M, median_sigma_mm, slices, volume

RIG = ring_rig(4)
NOWHERE = np.zeros((0, 3))


def _sigma_m(xyz_m: np.ndarray) -> np.ndarray:
    return worst_sigma_m(point_covariance(RIG, xyz_m))


def test_without_a_board_the_volume_lies_where_the_cameras_look() -> None:
    low, high = volume(RIG, NOWHERE, floor_known=True)
    # ring_rig's cameras all look at (0, 0, 0.9).
    assert low == pytest.approx([-AROUND_M, -AROUND_M, 0.0], abs=0.01)
    assert high == pytest.approx([AROUND_M, AROUND_M, HEAD_M], abs=0.01)


def test_parallel_cameras_have_a_volume_before_them() -> None:
    first = RIG.cameras[0]
    aside = [
        replace(first, name=f"c{n}", cam_from_world=Rigid([[1, 0, 0], [0, 0, -1], [0, 1, 0]], [n, 1, 0])) for n in range(3)
    ]
    low, high = volume(Rig(tuple(aside)), NOWHERE, floor_known=False)
    assert np.isfinite([low, high]).all()
    assert (high[1] > 0) and (high > low).all()


def test_with_a_board_the_volume_reaches_around_it() -> None:
    low, high = volume(RIG, np.array([[1.0, 2.0, 0.5], [1.5, 2.0, 1.0]]), floor_known=False)
    assert low == pytest.approx([0.0, 1.0, 0.0])
    assert high == pytest.approx([2.5, 3.0, 1.5])


def test_slices_hold_the_predicted_sigma_of_their_places_and_show_every_camera() -> None:
    level, upright = slices(RIG, _sigma_m, *volume(RIG, NOWHERE, floor_known=True), height_m=1.0)
    assert (level.axes, level.at_m, upright.axes[1]) == ((0, 1), 1.0, 2)
    row, column = (int(np.argmin(np.abs(side))) for side in (level.b_m, level.a_m))
    place_m = np.array([[level.a_m[column], level.b_m[row], 1.0]])
    assert level.sigma_mm[row, column] == pytest.approx(1e3 * _sigma_m(place_m)[0])
    place_m = np.zeros((1, 3))
    place_m[0, list(upright.axes)] = upright.a_m[40], upright.b_m[20]
    place_m[0, 3 - sum(upright.axes)] = upright.at_m
    assert upright.sigma_mm[20, 40] == pytest.approx(1e3 * _sigma_m(place_m)[0], nan_ok=True)
    for camera in RIG.cameras:
        for part in (level, upright):
            a, b = camera.centre_m[list(part.axes)]
            assert part.a_m[0] < a < part.a_m[-1] and part.b_m[0] <= b < part.b_m[-1]


def test_the_median_is_missing_where_no_two_cameras_look() -> None:
    low, high = volume(RIG, NOWHERE, floor_known=True)
    # 1 px at 3 m and 1400 px is 2.1 mm across one line of sight; four of them share it.
    assert 1.0 < median_sigma_mm(_sigma_m, low, high) < 2.5
    assert np.isnan(median_sigma_mm(_sigma_m, low + 50, high + 50))
