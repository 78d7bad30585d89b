from __future__ import annotations

import numpy as np
import pytest

from calibration.intrinsics import calibrate_intrinsics
from calibration.lens_residuals import lens_residuals_px
from calibration.transforms import Rigid
from tests.calibration.test_intrinsics import BROWN, CHARUCO, CHESS, SIZE, _views


def test_corners_of_the_true_lens_leave_nothing() -> None:
    xy_px = _views(BROWN, CHESS, 5, 0.0)
    xy_px[1, :4] = np.nan
    residual = lens_residuals_px(BROWN.with_pose(Rigid.from_rvec([0.1, 2.0, 0.3], [1.0, 2.0, 3.0])), CHESS, xy_px)
    np.testing.assert_array_equal(np.isnan(residual), np.isnan(xy_px))
    assert np.nanmax(np.abs(residual)) < 1e-3


def test_a_view_of_too_few_corners_has_no_residual() -> None:
    xy_px = _views(BROWN, CHESS, 2, 0.0)
    xy_px[0, 5:] = np.nan
    assert np.isnan(lens_residuals_px(BROWN, CHESS, xy_px)[0]).all()


def test_a_moved_corner_is_left_behind_by_as_much() -> None:
    xy_px = _views(BROWN, CHESS, 1, 0.0)
    xy_px[0, 17] += [2.0, -1.0]
    # Of 35 corners and 6 pose parameters, one corner drags the pose by about a sixth of its own error at most.
    assert lens_residuals_px(BROWN, CHESS, xy_px)[0, 17] == pytest.approx([-2.0, 1.0], abs=0.4)


@pytest.mark.parametrize("board", [CHESS, CHARUCO])
def test_residual_vectors_of_a_report_have_the_rms_it_states(board: object) -> None:
    views = _views(BROWN, board, 15, 0.2)  # type: ignore[arg-type]
    views[3, 7] += 40.0 if board is CHARUCO else 0.0
    _, report = calibrate_intrinsics(views, board, SIZE)  # type: ignore[arg-type]
    assert report.residual_xy_px is not None and report.xy_px is not None
    rms_px = np.sqrt(np.nanmean((report.residual_xy_px**2).sum(-1)))
    # Poses are fitted to straightened corners, the report's to the corners as seen: a fraction of a percent.
    assert rms_px == pytest.approx(report.rms_px, rel=0.01)
    assert np.isnan(report.xy_px[3, 7]).all() == (board is CHARUCO)


def test_only_views_used_have_residuals() -> None:
    _, report = calibrate_intrinsics(_views(BROWN, CHESS, 70, 0.2), CHESS, SIZE)
    assert report.residual_xy_px is not None
    seen = np.isfinite(report.residual_xy_px).all((1, 2))
    assert tuple(np.flatnonzero(seen)) == report.views_used
