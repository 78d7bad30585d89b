from __future__ import annotations

import numpy as np

from calibration.board import Board
from calibration.synthetic import moving_board, project_board, ring_rig

BOARD = Board("charuco", 9, 6, 0.06, 0.045, "DICT_4X4_50")


def test_cameras_of_a_ring_look_at_their_target_from_the_given_distance() -> None:
    rig = ring_rig(5, radius_m=3.0, target_m=(0.0, 0.0, 0.9))
    for camera in rig.cameras:
        px = camera.project([[0.0, 0.0, 0.9]])[0]
        np.testing.assert_allclose(px, camera.K[:2, 2], atol=1e-6)
        assert np.isclose(np.linalg.norm(camera.centre_m[:2]), 3.0)
        assert camera.cam_from_world.R[1, 2] < 0  # upright: image y points down the world


def test_every_board_is_seen_by_two_cameras_unless_views_go_missing() -> None:
    rig = ring_rig(4, arc_deg=100)
    truth = project_board(rig, BOARD, moving_board(rig, BOARD, 20))
    assert (np.isfinite(truth.clean_px[..., 0]).any(2).sum(0) >= 2).all()
    gone = project_board(rig, BOARD, truth.world_from_board, missing=0.5)
    assert np.isfinite(gone.clean_px).sum() < 0.8 * np.isfinite(truth.clean_px).sum()


def test_noise_and_outliers_are_as_asked_for() -> None:
    rig = ring_rig(4, arc_deg=100)
    truth = project_board(rig, BOARD, moving_board(rig, BOARD, 30), noise_px=0.3, outlier=0.05)
    error = (truth.observations - truth.clean_px)[np.isfinite(truth.clean_px).all(-1) & ~truth.outlier]
    assert abs(error.std() - 0.3) < 0.02
    assert abs(truth.outlier.sum() / np.isfinite(truth.clean_px[..., 0]).sum() - 0.05) < 0.01
    assert (np.abs((truth.observations - truth.clean_px)[truth.outlier]).max(1) > 3.5).all()


def test_one_seed_gives_one_problem() -> None:
    rig = ring_rig(3, arc_deg=60, seed=3)
    a, b = (project_board(rig, BOARD, moving_board(rig, BOARD, 5, seed=7), seed=9) for _ in range(2))
    np.testing.assert_array_equal(a.observations, b.observations)
