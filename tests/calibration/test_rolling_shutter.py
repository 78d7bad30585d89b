from __future__ import annotations

import numpy as np
import pytest

from calibration.errors import CalibrationError
from calibration.rolling_shutter import Readout, RollingCorners, solve_readouts
from tests.calibration.rolling import BOARD, NO_READOUTS, READOUTS_S, RIG, bent_px, solved, waved, worst_mm

NOISE_PX = 0.2


def test_corners_of_a_moving_board_are_moved_to_the_middle_of_the_frame() -> None:
    filmed = waved(0.0)
    assert np.nanmax(bent_px(filmed, NO_READOUTS)) > 1.5
    # A parabola leaves the third derivative of the motion; at the ends of a sighting a line leaves the second, too.
    assert np.nanmax(bent_px(filmed, READOUTS_S)) < 0.3
    assert np.nanmedian(bent_px(filmed, READOUTS_S)) < 0.02


def test_a_rig_of_rolling_cameras_is_right_only_with_their_readouts() -> None:
    filmed = waved(NOISE_PX)
    wrong, right = worst_mm(solved(filmed, NO_READOUTS)), worst_mm(solved(filmed, READOUTS_S))
    assert right < 1.5
    assert wrong > 4 * right


def test_unknown_readouts_are_found() -> None:
    filmed = waved(NOISE_PX)
    start = [Readout(0.0), Readout(READOUTS_S[1]), Readout(0.0)]
    found = solve_readouts(solved(filmed, NO_READOUTS), BOARD, filmed, start, [0, 2])
    for each, truth in zip(found, READOUTS_S, strict=True):
        assert abs(each.seconds - truth) < 4 * each.sigma_s + 1e-9
        assert each.sigma_s < 5e-4
    assert found[1] == Readout(READOUTS_S[1])


def test_a_board_that_hardly_moves_does_not_determine_a_readout() -> None:
    with pytest.raises(CalibrationError, match=r"cam1: its views do not determine the readout .* move the board fast"):
        solve_readouts(RIG, BOARD, waved(NOISE_PX, slow=0.01), [Readout(0.0)] * 3, [0])


def test_readouts_that_do_not_settle_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("calibration.rolling_shutter.MAX_ROUNDS", 1)
    with pytest.raises(CalibrationError, match=r"readouts of cam1, cam3: still moving by .* sigma after 1 rounds; .*give the"):
        solve_readouts(RIG, BOARD, waved(NOISE_PX), [Readout(0.0)] * 3, [0, 2])


def test_without_readout_corners_stay_and_with_one_a_lone_sighting_is_left_out() -> None:
    corners = waved(0.0)[0]
    np.testing.assert_array_equal(corners.at_mid_frame(0.0), corners.xy_px[1])
    unseen = np.full_like(corners.xy_px[1], np.nan)
    alone = RollingCorners(np.stack([unseen, corners.xy_px[1], unseen]), corners.t_s, corners.height_px)
    assert np.isnan(alone.at_mid_frame(0.01)).all()
