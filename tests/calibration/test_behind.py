"""Cameras on opposite sides of one thin sheet: rendered, found, posed and joined to a rig."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from calibration.board import Board, find_corners, parse_board
from calibration.camera import Camera
from calibration.extrinsics import calibrate_rig
from calibration.planar import board_candidates, consistent_corners
from calibration.rig import Rig
from calibration.transforms import Rigid, look_at, rotation_angle_rad
from tests.calibration.test_sheet import painted

SIZE_WH = (960, 720)
K = np.array([[900.0, 0, 481.0], [0, 905.0, 357.0], [0, 0, 1]])
SPECS = ("charuco:5x7:0.04:0.03:DICT_4X4_50", "aprilgrid:4x5:0.06:0.045:DICT_APRILTAG_36H11")
FINER = 3


def _rig() -> Rig:
    """Two cameras 1.8 m apart that look at each other, a little above and beside each other, the sheet between them."""
    poses = (look_at([0.9, 0.1, 1.1], [0, 0, 1.0]), look_at([-0.9, 0.05, 0.9], [0, 0, 1.0]))
    return Rig(tuple(Camera(f"cam{n}", SIZE_WH, K, np.zeros(5), "brown", pose) for n, pose in enumerate(poses, 1)))


def _poses(board: Board, count: int) -> list[Rigid]:
    """world_from_board: facing cam1, hence seen through the sheet by cam2, tilted up to about 30 degrees."""
    rng, facing = np.random.default_rng(3), np.array([[0, 0, -1.0], [1, 0, 0], [0, -1, 0]])
    poses = []
    for _ in range(count):
        R = facing @ Rigid.from_rvec(rng.uniform(-0.5, 0.5, 3), np.zeros(3)).R
        poses.append(Rigid(R, rng.uniform(-0.07, 0.07, 3) + [0, 0, 1] - R @ board.corners_m.mean(0)))
    return poses


def _seen(board: Board, camera: Camera, pose: Rigid, rng: np.random.Generator) -> np.ndarray:
    """What a camera sees of the printed pattern from whichever side it stands on, with the noise of a sensor."""
    sheet, corners_px = painted(board, 2000, 0.02)
    m_from_px, _ = cv2.findHomography(corners_px, board.corners_m[:, :2])
    cam = camera.cam_from_world @ pose
    px_from_m = camera.K @ np.column_stack([cam.R[:, 0], cam.R[:, 1], cam.t])
    finer = np.array([[FINER, 0, (FINER - 1) / 2], [0, FINER, (FINER - 1) / 2], [0, 0, 1]])
    big = (FINER * SIZE_WH[0], FINER * SIZE_WH[1])
    image = cv2.resize(
        cv2.warpPerspective(sheet, finer @ px_from_m @ m_from_px, big, borderValue=128), SIZE_WH, interpolation=cv2.INTER_AREA
    )
    return np.clip(cv2.GaussianBlur(image, (0, 0), 0.8) + rng.normal(0, 2, image.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module", params=SPECS)
def filmed(request: pytest.FixtureRequest) -> tuple[Board, Rig, list[Rigid], np.ndarray]:
    board, rig, rng = parse_board(request.param), _rig(), np.random.default_rng(0)
    poses = _poses(board, 10)
    return board, rig, poses, np.array([[find_corners(board, _seen(board, c, p, rng)) for p in poses] for c in rig.cameras])


def test_corners_seen_through_the_sheet_are_where_they_project(filmed: tuple[Board, Rig, list[Rigid], np.ndarray]) -> None:
    board, rig, poses, corners = filmed
    for camera, views in zip(rig.cameras, corners, strict=True):
        true = np.array([camera.project(pose.apply(board.corners_m)) for pose in poses])
        assert np.isfinite(views).all(-1).mean() > 0.95
        assert np.nanmax(np.abs(views - true)) < 0.3  # sigma of the refinement at this noise is about 0.05 px
    assert all((rig["cam2"].cam_from_world @ pose).R[2, 2] < 0 for pose in poses)  # z of the board comes towards cam2


def test_a_planar_pose_from_behind_is_the_true_one(filmed: tuple[Board, Rig, list[Rigid], np.ndarray]) -> None:
    board, rig, poses, corners = filmed
    camera = rig["cam2"]
    for view, pose in zip(corners[1], poses, strict=True):
        assert consistent_corners(board.corners_m[:, :2], view, 1.5).sum() > 0.9 * np.isfinite(view[:, 0]).sum()
        best, true = board_candidates(camera, board, view)[0].cam_from_board, camera.cam_from_world @ pose
        assert rotation_angle_rad(best.R, true.R) < np.deg2rad(1.5)
        assert np.linalg.norm(best.t - true.t) < 0.01


@pytest.mark.parametrize("known", [True, False])
def test_cameras_on_both_sides_of_a_sheet_make_a_rig(filmed: tuple[Board, Rig, list[Rigid], np.ndarray], known: bool) -> None:
    board, rig, _, corners = filmed
    solved, report = calibrate_rig(corners, board, [SIZE_WH] * 2, rig.names, rig.cameras if known else None)
    assert not report.failed
    ours = solved["cam2"].cam_from_world @ solved["cam1"].cam_from_world.inverse()
    true = rig["cam2"].cam_from_world @ rig["cam1"].cam_from_world.inverse()
    turned_mrad = 1e3 * rotation_angle_rad(ours.R, true.R)
    moved_mm = 1e3 * np.linalg.norm(ours.inverse().t - true.inverse().t)
    # cam1 is the gauge: the stated uncertainty of cam2 is that of the pair.
    assert turned_mrad < 4 * report.rotation_sigma_mrad[1]
    assert moved_mm < 4 * report.centre_sigma_mm[1]
    assert report.centre_sigma_mm[1] < (1.0 if known else 15.0)
