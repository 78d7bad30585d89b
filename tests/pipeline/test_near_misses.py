import cv2
import numpy as np
import pytest

from calibration.board import Board, find_corners, parse_board
from pipeline.boards import no_board
from pipeline.near_misses import near_miss
from tests.calibration.test_sheet import painted

BOARD = parse_board("charuco:5x7:0.04:0.03:DICT_4X4_50")
PX_PER_M = 8000
EMPTY = np.full((720, 1280), 150, np.uint8)


def _filmed(board: Board, cell_px: float, blur_cells: float = 0.1) -> np.ndarray:
    """A grey 1280x720 picture of the board, turned by 10 degrees, with the noise of a sensor."""
    sheet, _ = painted(board, PX_PER_M, 0.03)
    scale = cell_px / (0.005 * PX_PER_M)  # a 4x4 marker of 30 mm has cells of 5 mm
    turn = cv2.getRotationMatrix2D((0, 0), 10, scale)
    turn[:, 2] = 100, 250
    small = cv2.warpAffine(cv2.GaussianBlur(sheet, (0, 0), 0.4 / scale), turn, (1280, 720), borderValue=150)
    noise = np.random.default_rng(0).normal(0, 2, small.shape)
    return np.clip(cv2.GaussianBlur(small, (0, 0), blur_cells * cell_px) * 0.7 + 30 + noise, 0, 255).astype(np.uint8)


def _told(board: Board, *images: np.ndarray) -> str:
    assert all(np.isnan(find_corners(board, image)).all() for image in images)
    return str(no_board(board, images, "camera cam1", len(images)))


def test_a_board_that_is_too_small_is_told_with_its_size() -> None:
    told = _told(BOARD, EMPTY, _filmed(BOARD, 1.5))
    assert "nearly found in image 2:" in told
    assert "the board is too small in the image (a cell needs 2 px)" in told
    assert near_miss(BOARD, _filmed(BOARD, 1.5)).cell_px == pytest.approx(1.5, abs=0.2)


def test_a_blurred_board_is_told_as_blurred() -> None:
    told = _told(BOARD, EMPTY, _filmed(BOARD, 6, 0.6), EMPTY)
    assert "nearly found in image 2:" in told
    assert "blurred over half a marker cell" in told


def test_sharpness_falls_with_blur_and_not_with_size() -> None:
    sharp, soft = ([near_miss(BOARD, _filmed(BOARD, cell, blur)).sharpness for cell in (3, 6, 10)] for blur in (0.25, 0.5))
    assert min(sharp) > 0.35 > max(soft)


def test_markers_with_other_ids_are_seen_as_shapes_that_are_sharp() -> None:
    other = parse_board("charuco:5x7:0.04:0.03:DICT_4X4_50:first=20")
    assert near_miss(other, _filmed(BOARD, 6)).shapes > 13  # of 17
    assert "17 markers of DICT_4X4_1000 are there (ids 0 to 16)" in _told(other, _filmed(BOARD, 6))


def test_a_few_markers_without_corners_are_counted() -> None:
    image, dictionary = EMPTY + 90, cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    for tag, left in ((0, 100), (16, 900)):
        image[300:360, left : left + 60] = cv2.aruco.generateImageMarker(dictionary, tag, 60)
    told = _told(BOARD, EMPTY, image)
    assert "nearly found in image 2: 2 of its 17 markers were read (9.8 px per marker cell)" in told
    assert "show more of the board" in told
    assert "2 of its 17 markers were read from behind the sheet" in _told(BOARD, np.ascontiguousarray(image[:, ::-1]))


def test_a_part_of_a_chessboard_is_told() -> None:
    board = parse_board("chessboard:9x12:0.03")
    image = painted(board, 1000, 0.05)[0]
    told = _told(board, EMPTY, np.ascontiguousarray(image[:260, :260]))
    assert "inner corners of a chessboard are seen in image 2: all 9x12 must be in view" in told


def test_a_picture_without_a_board_is_no_near_miss() -> None:
    assert near_miss(BOARD, EMPTY).shapes == 0
    assert "no board of a neighbouring size or kind is there either" in _told(BOARD, EMPTY)
