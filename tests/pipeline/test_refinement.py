"""Refinement: two measurements of one place, and never a reprojection error that is hidden."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration.synthetic import ring_rig
from models.skeleton import COCO17
from pipeline.errors import InputError
from pipeline.refinement import largest_shift_px, refined, weighed
from pipeline.types import Skeletons3D
from tests.pipeline.test_audit import STANDING_M

RIG, WRIST = ring_rig(4), COCO17.index("left_wrist")


def seen(sigma_m: float, error_px: float = 1.0) -> Skeletons3D:
    covariance_m2 = np.tile(np.eye(3) * 0.002**2, (1, 17, 1, 1))
    covariance_m2[0, WRIST] = np.eye(3) * sigma_m**2
    ones = np.ones((1, 17))
    return Skeletons3D(0, np.array([0]), STANDING_M[None], ones, error_px * ones, 3 * ones, covariance_m2)


def test_two_measurements_meet_by_their_precisions() -> None:
    at_m, left_m2 = weighed(np.zeros(3), np.eye(3), np.ones(3), 3 * np.eye(3))
    assert np.allclose(at_m, 0.25)
    assert np.allclose(left_m2, 0.75 * np.eye(3))
    nowhere, _ = weighed(np.zeros(3), np.eye(3), np.full(3, np.nan), np.full((3, 3), np.nan))
    assert np.isnan(nowhere).all()


def test_what_the_views_are_sure_of_hardly_moves_and_what_they_leave_open_does() -> None:
    moved_m = []
    for sigma_m in (0.001, 0.1):
        [after] = refined(RIG, [seen(sigma_m)], "prior", threshold_px=1e9)
        moved_m.append(np.linalg.norm(after.xyz_m[0, WRIST] - STANDING_M[WRIST]))
        assert np.array_equal(after.error_px, np.ones((1, 17)))
        assert np.trace(after.covariance_m2[0, WRIST]) < 3 * sigma_m**2
    assert moved_m[0] < 0.003
    assert moved_m[1] > 3 * moved_m[0]


def test_a_joint_whose_error_could_pass_the_threshold_stays_where_the_views_put_it() -> None:
    before = seen(0.1, error_px=4.0)
    [after] = refined(RIG, [before], "prior", threshold_px=4.0)
    assert np.array_equal(after.xyz_m, before.xyz_m)
    assert np.array_equal(after.covariance_m2, before.covariance_m2)
    [free] = refined(RIG, [before], "prior", threshold_px=20.0)
    shift_px = largest_shift_px(RIG, before.xyz_m, free.xyz_m)
    assert (shift_px <= 16.0 + 1e-9).all()
    assert shift_px.max() > 0


def test_unknown_joints_and_unknown_covariances_stay_so() -> None:
    xyz_m = STANDING_M[None].copy()
    xyz_m[0, 3] = np.nan
    before = replace(seen(0.01), xyz_m=xyz_m)
    [after] = refined(RIG, [before], "prior", threshold_px=1e9)
    assert np.isnan(after.xyz_m[0, 3]).all()
    plain = replace(before, covariance_m2=None)
    assert list(refined(RIG, [plain], "prior", 10.0)) == [plain]


def test_weights_that_are_no_prior_are_refused() -> None:
    with pytest.raises(InputError, match=r"reconstruct\.prior: .*expected a pose prior"):
        list(refined(RIG, [], "studio", 1.0))
