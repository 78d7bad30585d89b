from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.board import Board, parse_board
from calibration.camera import Camera
from calibration.errors import CalibrationError
from calibration.intrinsics import calibrate_from_images, calibrate_intrinsics
from calibration.transforms import Rigid

CHESS = Board("chessboard", 7, 5, 0.04)
CHARUCO = Board("charuco", 8, 6, 0.04, 0.03, "DICT_4X4_50")
SIZE = (1280, 720)
BROWN = Camera("cam", SIZE, np.array([[900.0, 0, 650], [0, 905, 350], [0, 0, 1]]), np.array([-0.2, 0.05, 0.001, -0.001, 0]))


def _views(camera: Camera, board: Board, count: int, noise_px: float, seed: int = 0, tilt_rad: float = 0.5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    views = []
    for _ in range(count):
        middle = Rigid(np.eye(3), -board.corners_m.mean(0))
        turned = Rigid.from_rvec(rng.uniform(-tilt_rad, tilt_rad, 3), rng.uniform([-0.25, -0.12, 0.5], [0.25, 0.12, 0.9]))
        views.append(camera.project((turned @ middle).apply(board.corners_m)))
    return np.array(views) + rng.normal(0, noise_px, (count, len(board.corners_m), 2))


@pytest.mark.parametrize(("lens", "dist"), [("brown", BROWN.dist), ("fisheye", np.array([0.05, -0.01, 0.002, -0.001]))])
def test_a_lens_is_recovered_within_its_own_uncertainty(lens: str, dist: np.ndarray) -> None:
    truth = Camera("cam", SIZE, BROWN.K, dist, lens)
    camera, report = calibrate_intrinsics(_views(truth, CHESS, 20, 0.2), CHESS, SIZE, lens=lens)
    # 4 sigma of the stated uncertainty, and 0.3 % (fisheye states a lower bound).
    assert abs(camera.K[0, 0] - truth.K[0, 0]) < max(4 * report.fx_sigma_px, 0.003 * truth.K[0, 0])
    assert report.rms_px == pytest.approx(0.2 * np.sqrt(2), rel=0.1)
    assert report.views_used == tuple(range(20))


def test_noise_free_corners_give_the_lens_back() -> None:
    camera, report = calibrate_intrinsics(_views(BROWN, CHESS, 12, 0.0), CHESS, SIZE)
    # cv2.calibrateCamera takes float32 corners: about 1e-4 px.
    np.testing.assert_allclose(camera.K, BROWN.K, atol=0.05)
    assert report.rms_px < 1e-3


def test_misread_charuco_corners_do_not_bend_the_lens() -> None:
    views = _views(BROWN, CHARUCO, 25, 0.2)
    rng = np.random.default_rng(1)
    wrong = rng.random(views.shape[:2]) < 0.03
    views[wrong] += rng.uniform(8, 60, (wrong.sum(), 2))
    camera, report = calibrate_intrinsics(views, CHARUCO, SIZE)
    assert report.rms_px < 0.35
    assert abs(camera.K[0, 0] - BROWN.K[0, 0]) < 4 * report.fx_sigma_px + 0.5


def test_a_spoiled_chessboard_view_is_named() -> None:
    views = _views(BROWN, CHESS, 12, 0.2)
    views[5, 3] += 15
    _, report = calibrate_intrinsics(views, CHESS, SIZE)
    assert report.suspect_views == (5,)


def test_many_views_are_thinned_and_the_rest_marked_unused() -> None:
    _, report = calibrate_intrinsics(_views(BROWN, CHESS, 90, 0.2), CHESS, SIZE)
    assert len(report.views_used) == 60
    assert np.isfinite(report.per_view_px).sum() == 60


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_views_are_refused_by_camera_name(count: int) -> None:
    views = np.full((4, len(CHESS.corners_m), 2), np.nan)
    views[:count] = _views(BROWN, CHESS, 4, 0.2)[:count]
    with pytest.raises(CalibrationError, match=f"camera left: found the board in {count} view"):
        calibrate_intrinsics(views, CHESS, SIZE, name="left")


def test_views_at_one_tilt_are_refused() -> None:
    with pytest.raises(CalibrationError, match="tilted"):
        calibrate_intrinsics(_views(BROWN, CHESS, 8, 0.3, tilt_rad=0.0), CHESS, SIZE)


def test_corners_of_another_board_are_refused() -> None:
    with pytest.raises(CalibrationError, match="M=35"):
        calibrate_intrinsics(np.zeros((5, 28, 2)), CHESS, SIZE)


def test_images_of_two_sizes_are_refused() -> None:
    images = [np.zeros((480, 640, 3), np.uint8), np.zeros((720, 1280, 3), np.uint8)]
    with pytest.raises(CalibrationError, match="640x480, 1280x720"):
        calibrate_from_images(images, CHESS)


@pytest.mark.parametrize(
    ("camera", "standard_fx_px", "thorough_views"), [(1, 1671.5, 7), (2, 1675.7, 6), (3, 1678.8, 7), (4, 1690.9, 6)]
)
def test_the_photos_of_four_cameras_give_the_known_focal_lengths(
    shared_data: Path, camera: int, standard_fx_px: float, thorough_views: int
) -> None:
    folder = shared_data / "pose2sim_4cam" / "calib" / "intrinsics" / f"int_cam0{camera}_img"
    images = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in sorted(folder.glob("*.jpg"))]
    solved, report = calibrate_from_images(images, parse_board("chessboard:4x7:0.06"), name=f"cam_0{camera}")
    standard, thorough = report.figures
    assert (standard.detector, standard.views) == ("standard", 6)
    # The known figures carry one decimal; the last digit of cam_04 falls on the rounding edge.
    assert standard.fx_px == pytest.approx(standard_fx_px, abs=0.1)
    assert thorough.views == thorough_views
    assert thorough.rms_px < standard.rms_px
    # The four lenses are of one make: 1674 to 1682 px in the recording's own calibration.
    assert solved.K[0, 0] == pytest.approx(1678, abs=6)
