from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration.board import Board
from calibration.bundle import LensPrior, refine
from calibration.bundle_blocks import Step, initial_state, linearise, residuals_px, stepped
from calibration.camera import Camera
from calibration.errors import CalibrationError
from calibration.rig import Rig
from calibration.synthetic import BoardTruth, moving_board, project_board, ring_rig
from calibration.transforms import Rigid, rotation_angle_rad

BOARD = Board("charuco", 9, 6, 0.06, 0.045, "DICT_4X4_50")
NOISE_PX = 0.3


def _problem(seed: int = 0, frames: int = 25, outlier: float = 0.0) -> tuple[Rig, BoardTruth]:
    rig = ring_rig(4, arc_deg=100, seed=seed)
    poses = moving_board(rig, BOARD, frames, seed=seed)
    return rig, project_board(rig, BOARD, poses, NOISE_PX, outlier, seed=seed)


def _shaken(rig: Rig, seed: int = 0) -> Rig:
    """All cameras but the first off by about one degree and 30 mm."""
    rng = np.random.default_rng(seed)
    moved = [
        c.with_pose(Rigid.from_rvec(rng.normal(0, 0.01, 3), rng.normal(0, 0.03, 3)) @ c.cam_from_world) for c in rig.cameras[1:]
    ]
    return Rig((rig.cameras[0], *moved))


def _with_lens(rig: Rig, lens: str) -> Rig:
    dist = {"brown": [-0.1, 0.03, 0.001, -0.002, 0.01], "fisheye": [0.03, -0.01, 0.004, -0.001]}
    dist["rational"] = [0.1, 0.02, 0.001, -0.002, 0.01, 0.2, 0.03, 0.01]
    return Rig(tuple(replace(camera, lens=lens, dist=np.array(dist[lens])) for camera in rig.cameras))


@pytest.mark.parametrize("lens", ["brown", "rational", "fisheye"])
def test_derivatives_are_those_of_the_residuals(lens: str) -> None:
    rig, truth = _problem(frames=3)
    view, state = initial_state(_with_lens(rig, lens), truth.observations, BOARD, truth.world_from_board)
    _, jacobian = linearise(view, state, True)
    cameras, lenses, boards, h = len(rig), state.lens.shape[1], len(view.frames), 1e-6
    for column in range(jacobian.shape[-1]):
        sides = []
        for sign in (h, -h):
            step = Step(np.zeros((cameras, 6)), np.zeros((boards, 6)), np.zeros((cameras, lenses)))
            part, place = ((step.cam, column), (step.board, column - 6), (step.lens, column - 12))[min(column // 6, 2)]
            part[:, place] = sign
            sides.append(residuals_px(view, stepped(state, step)))
        numeric = ((sides[0] - sides[1]) / (2 * h))[view.observed]
        exact = jacobian[view.observed][..., column]
        assert np.abs(numeric - exact).max() <= 1e-5 * np.abs(exact).max() + 1e-5


def test_a_shaken_rig_comes_back_within_its_stated_uncertainty() -> None:
    rig, truth = _problem()
    refined, report = refine(_shaken(rig), truth.observations, BOARD)
    assert report.converged
    assert report.sigma_px == pytest.approx(NOISE_PX, rel=0.05)
    sigma = np.sqrt(np.diag(report.pose_covariance)).reshape(4, 6)
    for index in (1, 2, 3):
        ours, true = refined.cameras[index], rig.cameras[index]
        # 4 sigma of a three-dimensional error.
        turned = rotation_angle_rad(ours.cam_from_world.R, true.cam_from_world.R)
        assert turned < 4 * np.linalg.norm(sigma[index, :3])
        assert np.linalg.norm(ours.centre_m - true.centre_m) < 4 * np.linalg.norm(sigma[index, 3:])


def test_residual_vectors_lead_from_the_corners_seen_to_the_boards_projected() -> None:
    rig, truth = _problem(frames=6, outlier=0.05)
    refined, report = refine(rig, truth.observations, BOARD, truth.world_from_board)
    np.testing.assert_array_equal(report.xy_px, truth.observations)
    for camera, xy_px, residual in zip(refined.cameras, report.xy_px, report.residual_xy_px, strict=True):
        for frame, pose in enumerate(report.world_from_board):
            assert pose is not None
            projected = np.where(np.isfinite(xy_px[frame]), camera.project(pose.apply(BOARD.corners_m)), np.nan)
            np.testing.assert_allclose(xy_px[frame] + residual[frame], projected, atol=1e-9)
    np.testing.assert_array_equal(report.residual_px, np.linalg.norm(report.residual_xy_px, axis=-1))


def test_noise_free_corners_give_the_exact_rig() -> None:
    rig, truth = _problem(frames=8)
    refined, report = refine(_shaken(rig), truth.clean_px, BOARD, truth.world_from_board)
    assert report.rms_px < 1e-7
    for ours, true in zip(refined.cameras, rig.cameras, strict=True):
        np.testing.assert_allclose(ours.cam_from_world.matrix, true.cam_from_world.matrix, atol=1e-9)


def test_stated_covariance_covers_the_errors_it_claims_to() -> None:
    squares = []
    for seed in range(12):
        rig, truth = _problem(seed, frames=10)
        refined, _ = refine(rig, truth.observations, BOARD, truth.world_from_board)
        assert refined.covariance is not None
        ours, true = (r.cameras[2].cam_from_world for r in (refined, rig))
        error = np.r_[ours.rvec - true.rvec, ours.t - true.t]
        squares.append(error @ np.linalg.solve(refined.covariance[12:18, 12:18], error))
    # The mean of 12 chi-square variables with 6 degrees of freedom is 6 +- sqrt(12 / 12) = 1; allow 3.5 of that.
    assert abs(np.mean(squares) - 6.0) < 3.5


@pytest.mark.parametrize("loss", ["cauchy", "huber"])
def test_gross_outliers_cost_nothing_but_their_corners(loss: str) -> None:
    rig, truth = _problem(outlier=0.05)
    refined, report = refine(_shaken(rig), truth.observations, BOARD, truth.world_from_board, loss=loss)
    assert report.sigma_px == pytest.approx(NOISE_PX, rel=0.1)
    assert not report.used[truth.outlier].any()
    good = np.isfinite(truth.clean_px[..., 0]) & ~truth.outlier
    assert report.used[good].mean() > 0.99
    assert max(np.linalg.norm(o.centre_m - t.centre_m) for o, t in zip(refined.cameras, rig.cameras, strict=True)) < 2e-3


def test_lenses_come_free_when_asked_and_stay_when_not() -> None:
    rig, truth = _problem(frames=40)
    wrong = Rig(tuple(replace(camera, K=camera.K * np.array([[1.01], [1.01], [1.0]])) for camera in rig.cameras))
    kept, _ = refine(wrong, truth.observations, BOARD)
    freed, report = refine(wrong, truth.observations, BOARD, lens_prior=LensPrior(focal=0.05, frozen_dist=(4,)))
    assert report.sigma_px == pytest.approx(NOISE_PX, rel=0.05)
    for before, still, free, true in zip(wrong.cameras, kept.cameras, freed.cameras, rig.cameras, strict=True):
        np.testing.assert_array_equal(still.K, before.K)
        assert abs(free.K[0, 0] - true.K[0, 0]) < 3.0  # 14 px before
        assert free.dist[4] == true.dist[4]


def test_the_order_of_frames_changes_nothing() -> None:
    rig, truth = _problem(outlier=0.02)
    order = np.random.default_rng(0).permutation(truth.observations.shape[1])
    a, _ = refine(_shaken(rig), truth.observations, BOARD)
    b, _ = refine(_shaken(rig), truth.observations[:, order], BOARD)
    for ours, theirs in zip(a.cameras, b.cameras, strict=True):
        np.testing.assert_allclose(ours.cam_from_world.matrix, theirs.cam_from_world.matrix, atol=1e-7)


def test_wrong_shapes_blind_cameras_and_unknown_losses_are_refused() -> None:
    rig, truth = _problem(frames=4)
    with pytest.raises(CalibrationError, match="C=4"):
        refine(rig, truth.observations[:3], BOARD)
    blind = truth.observations.copy()
    blind[2] = np.nan
    with pytest.raises(CalibrationError, match="camera cam3"):
        refine(rig, blind, BOARD)
    with pytest.raises(CalibrationError, match="cauchy or huber"):
        refine(rig, truth.observations, BOARD, loss="tukey")


def test_a_camera_that_agrees_with_nothing_is_named() -> None:
    rig, truth = _problem(frames=6)
    turned = Camera("cam2", rig.cameras[1].size_wh, rig.cameras[1].K, rig.cameras[1].dist)
    wrong = Rig((rig.cameras[0], turned.with_pose(Rigid(np.diag([1.0, -1.0, -1.0]), [0, 0, -9.0])), *rig.cameras[2:]))
    with pytest.raises(CalibrationError, match="cam2"):
        refine(wrong, truth.observations, BOARD, truth.world_from_board)
