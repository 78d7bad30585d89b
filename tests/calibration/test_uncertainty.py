"""What a rig is predicted to measure is what happens when rigs and pixels are drawn at random."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration.board import Board
from calibration.bundle import refine, rvec_covariance
from calibration.errors import CalibrationError
from calibration.extrinsics import LENS_PRIOR
from calibration.refine_points import refine_points
from calibration.rig import Rig
from calibration.synthetic import moving_board, project_board, ring_rig
from calibration.transforms import Rigid
from calibration.triangulate import triangulate
from calibration.uncertainty import joint_point_covariance, point_covariance, sees, worst_sigma_m
from tests.calibration.rigs import drawn, uncertain

DRAWS, NOISE_PX = 3000, 1.5
POINTS_M = np.array([[0.0, 0.0, 1.0], [0.5, -0.4, 0.4], [-0.6, 0.3, 1.6]])


def _uncertain_rig(seed: int = 0) -> Rig:
    return uncertain(ring_rig(4, arc_deg=200, seed=seed), seed)


@pytest.fixture(scope="module")
def errors_m() -> np.ndarray:
    """(DRAWS, N, 3): points triangulated with the nominal rig from noisy pixels of the rig that really filmed."""
    rig, rng = _uncertain_rig(), np.random.default_rng(1)
    xy_px = np.stack([[c.project(POINTS_M) for c in drawn(rig, rng).cameras] for _ in range(DRAWS)])
    xy_px = (xy_px + rng.normal(0, NOISE_PX, xy_px.shape)).transpose(1, 0, 2, 3).reshape(len(rig), -1, 2)
    points = refine_points(rig, xy_px, triangulate(rig, xy_px))
    return points.xyz_m.reshape(DRAWS, -1, 3) - POINTS_M


def test_predicted_covariance_is_the_scatter_of_drawn_rigs_and_pixels(errors_m: np.ndarray) -> None:
    predicted = point_covariance(_uncertain_rig(), POINTS_M, NOISE_PX)
    for errors, expected in zip(errors_m.transpose(1, 0, 2), predicted, strict=True):
        whitened = errors @ np.linalg.inv(np.linalg.cholesky(expected)).T
        # An entry of a sample covariance of unit normals scatters by sqrt(2 / n) at most; five of those.
        assert np.abs(np.cov(whitened.T) - np.eye(3)).max() < 5 * np.sqrt(2 / DRAWS)


def test_the_rigs_own_share_counts(errors_m: np.ndarray) -> None:
    rig = _uncertain_rig()
    pixels_alone = worst_sigma_m(point_covariance(replace(rig, covariance=None), POINTS_M, NOISE_PX))
    both = worst_sigma_m(point_covariance(rig, POINTS_M, NOISE_PX))
    worst_m = np.array([np.sqrt(np.linalg.eigvalsh(np.cov(errors.T))[-1]) for errors in errors_m.transpose(1, 0, 2)])
    assert worst_m == pytest.approx(both, rel=5 / np.sqrt(2 * DRAWS))
    assert (worst_m > 1.2 * pixels_alone).all()


def test_ellipsoids_of_95_percent_hold_95_percent(errors_m: np.ndarray) -> None:
    precision = np.linalg.inv(point_covariance(_uncertain_rig(), POINTS_M, NOISE_PX))
    distance = np.einsum("dni,nij,dnj->dn", errors_m, precision, errors_m)
    held = (distance < 7.815).mean()  # 95 % of a chi-square variable of three degrees of freedom
    assert 0.93 < held < 0.97


def test_cameras_that_move_as_one_move_the_points_with_them() -> None:
    rig, sigma_m = ring_rig(4), 0.01
    together = np.concatenate([np.vstack([np.zeros((3, 3)), camera.cam_from_world.R]) for camera in rig.cameras])
    moved = Rig(rig.cameras, (), sigma_m**2 * together @ together.T)
    assert point_covariance(moved, POINTS_M, 0.0) == pytest.approx(np.tile(sigma_m**2 * np.eye(3), (3, 1, 1)), abs=1e-12)


@pytest.mark.parametrize(
    ("lens", "dist"), [("brown", [-0.1, 0.03, 0.001, -0.002, 0.01]), ("fisheye", [0.03, -0.01, 0.004, -0.001])]
)
def test_both_ways_to_state_the_poses_covariance_predict_the_same(lens: str, dist: list[float]) -> None:
    rig = _uncertain_rig()
    cameras = tuple(replace(camera, lens=lens, dist=np.array(dist)) for camera in rig.cameras)
    local = rig.covariance
    assert local is not None
    stated = Rig(cameras, (), rvec_covariance(cameras, local))
    assert joint_point_covariance(stated, POINTS_M, local) == pytest.approx(
        point_covariance(stated, POINTS_M), rel=1e-6, abs=1e-12
    )


def test_lenses_and_poses_solved_together_miss_points_by_what_their_joint_covariance_says() -> None:
    truth = ring_rig(4, arc_deg=100)
    board = Board("charuco", 9, 6, 0.06, 0.045, "DICT_4X4_50")
    poses, draws = moving_board(truth, board, 12), 30
    xy_px = np.stack([camera.project(POINTS_M) for camera in truth.cameras])
    errors = []
    for seed in range(draws):
        rig, report = refine(truth, project_board(truth, board, poses, 0.3, seed=seed).observations, board, poses, LENS_PRIOR)
        errors.append(refine_points(rig, xy_px, triangulate(rig, xy_px)).xyz_m - POINTS_M)
    joint = np.linalg.inv(joint_point_covariance(rig, POINTS_M, report.joint_covariance, 0.0))
    alone = np.linalg.inv(point_covariance(rig, POINTS_M, 0.0))
    off, off_alone = (np.einsum("dni,nij,dnj->dn", errors, precision, errors).mean(0) for precision in (joint, alone))
    # Chi-square of three degrees of freedom: 3, and 4 sigma of a mean of 30 draws. Below, because the prior is not tested.
    assert (off < 3 + 4 * np.sqrt(6 / draws)).all()
    assert (off > 1).all()
    assert (off_alone > 2 * off).all()


def test_a_covariance_of_another_shape_is_refused() -> None:
    with pytest.raises(CalibrationError, match=r"expected 6 or 15 unknowns for each of 2 cameras, got \(14, 14\)"):
        joint_point_covariance(ring_rig(2), POINTS_M, np.eye(14))


def test_derivatives_of_a_fisheye_are_those_of_its_brown_twin() -> None:
    """Without distortion a narrow fisheye differs from a pinhole by its mapping alone: both must predict millimetres alike."""
    brown = _uncertain_rig()
    fish = Rig(tuple(replace(c, lens="fisheye", dist=np.zeros(4)) for c in brown.cameras), (), brown.covariance)
    pin = Rig(tuple(replace(c, dist=np.zeros(5)) for c in brown.cameras), (), brown.covariance)
    near_axis_m = np.array([[0.0, 0.0, 0.9]])
    assert point_covariance(fish, near_axis_m) == pytest.approx(point_covariance(pin, near_axis_m), rel=0.02)


def test_a_point_that_fewer_than_two_cameras_see_has_no_covariance() -> None:
    rig = ring_rig(4, arc_deg=40)
    behind_m = rig["cam2"].centre_m + [3.0, 0.0, 0.0]
    covariance = point_covariance(rig, np.stack([behind_m, POINTS_M[0]]))
    assert np.isnan(covariance[0]).all()
    assert np.isfinite(covariance[1]).all()
    assert np.isnan(worst_sigma_m(covariance)).tolist() == [True, False]
    assert np.isnan(point_covariance(rig.subset(["cam1"]), POINTS_M)).all()


def test_rays_along_the_line_of_two_cameras_do_not_meet() -> None:
    two = ring_rig(4).subset(["cam1", "cam3"])
    middle_m = 0.5 * (two.cameras[0].centre_m + two.cameras[1].centre_m)
    sigma_m = worst_sigma_m(point_covariance(two, np.stack([middle_m, middle_m + [0.0, 0.6, 0.0]])))
    assert np.isnan(sigma_m[0]) or sigma_m[0] > 100 * sigma_m[1]


def test_what_lies_beyond_the_fold_of_a_lens_is_not_seen() -> None:
    camera = replace(ring_rig(1)["cam1"], dist=np.array([-0.4, 0.0, 0.0, 0.0, 0.0]), cam_from_world=Rigid.identity())
    at_fold = np.sqrt(1 / (3 * 0.4))  # r (1 - 0.4 r^2) turns back here
    beyond_m = np.array([[1.6 * at_fold, 0.0, 1.0], [0.1, 0.1, 1.0], [0.1, 0.1, -1.0], [3.0, 0.0, 1.0]])
    assert sees(camera, beyond_m).tolist() == [False, True, False, False]
    assert 0 < camera.project(beyond_m[:1])[0, 0] < camera.size_wh[0]


def test_points_of_another_shape_are_refused() -> None:
    with pytest.raises(CalibrationError, match=r"expected xyz_m \(N, 3\), got \(3,\)"):
        point_covariance(ring_rig(2), POINTS_M[0])
