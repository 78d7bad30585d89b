from __future__ import annotations

import numpy as np

from calibration.board import Board
from calibration.planar import board_candidates, consistent_corners, filter_corners, place_boards
from calibration.synthetic import moving_board, project_board, ring_rig
from calibration.transforms import rotation_angle_rad

BOARD = Board("charuco", 9, 6, 0.06, 0.045, "DICT_4X4_50")
RIG = ring_rig(4, arc_deg=100)
POSES = moving_board(RIG, BOARD, 20)


def test_the_filter_drops_misread_corners_and_keeps_the_rest() -> None:
    truth = project_board(RIG, BOARD, POSES, noise_px=0.3, outlier=0.2)
    kept = np.isfinite(filter_corners(truth.observations, BOARD, RIG.cameras)).all(-1)
    good = np.isfinite(truth.clean_px).all(-1) & ~truth.outlier
    assert kept[good].mean() > 0.999
    assert kept[truth.outlier].mean() < 0.01


def test_too_few_corners_or_corners_on_one_line_give_no_consensus() -> None:
    plane = BOARD.corners_m[:, :2]
    flat = plane * 1000
    assert consistent_corners(plane, flat, 3.0).all()
    assert not consistent_corners(plane[:5], flat[:5], 3.0).any()
    assert not consistent_corners(plane[:8], flat[:8], 3.0).any()  # the first row
    assert not consistent_corners(plane, np.full_like(flat, np.nan), 3.0).any()


def test_the_true_pose_is_one_of_the_two_candidates() -> None:
    truth = project_board(RIG, BOARD, POSES, noise_px=0.1)
    for camera, views in zip(RIG.cameras, truth.observations, strict=True):
        for view, pose in zip(views, POSES, strict=True):
            candidates = board_candidates(camera, BOARD, view)
            if candidates:
                true = camera.cam_from_world @ pose
                assert min(rotation_angle_rad(c.cam_from_board.R, true.R) for c in candidates) < np.deg2rad(1.5)


def test_the_rig_decides_between_mirrored_poses() -> None:
    small = Board("charuco", 4, 3, 0.03, 0.022, "DICT_4X4_50")  # 6 corners, 90 mm at 3 m: single views are often mirrored
    poses = moving_board(RIG, small, 40)
    truth = project_board(RIG, small, poses, noise_px=0.3)
    placed = place_boards(RIG, truth.observations, small)
    single, together = [], []
    for frame, (pose, true) in enumerate(zip(placed, poses, strict=True)):
        assert pose is not None
        together.append(rotation_angle_rad(pose.R, true.R))
        first = next(i for i in range(4) if np.isfinite(truth.observations[i, frame]).all())
        best = board_candidates(RIG.cameras[first], small, truth.observations[first, frame])[0].cam_from_board
        single.append(rotation_angle_rad((RIG.cameras[first].cam_from_world.inverse() @ best).R, true.R))
    wrong_rad = np.deg2rad(20)
    assert np.sum(np.array(together) > wrong_rad) < 0.5 * np.sum(np.array(single) > wrong_rad)


def test_a_frame_without_a_board_has_no_pose() -> None:
    truth = project_board(RIG, BOARD, POSES[:3])
    gone = truth.observations.copy()
    gone[:, 1] = np.nan
    placed = place_boards(RIG, gone, BOARD)
    assert placed[1] is None
    assert placed[0] is not None
