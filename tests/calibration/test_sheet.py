from __future__ import annotations

import cv2
import numpy as np
import pytest

from calibration.board import Board, parse_board
from calibration.markers import charuco_pattern
from calibration.sheet import dark_rectangles_m, printed_size_m, quiet_zone_m, resized

# First code of Kalibr's tag family 36h11, and how Kalibr prints one: bit 35 is the cell at the top left, a zero bit is dark.
KALIBR_TAG_0 = 0xD5D628584


def painted(board: Board, px_per_m: float, ground_m: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """The sheet as pixels and where the board's corners are in it; edges must lie on whole pixels."""
    rectangles = dark_rectangles_m(board)
    low, high = rectangles[:, :2].min(0) - ground_m, (rectangles[:, :2] + rectangles[:, 2:]).max(0) + ground_m
    image = np.full(np.rint((high - low) * px_per_m).astype(int)[::-1], 255, np.uint8)
    for x, y, width, height in rectangles:
        (left, top), (right, bottom) = np.rint((np.array([[x, y], [x + width, y + height]]) - low) * px_per_m).astype(int)
        assert (image[top:bottom, left:right] == 255).all()  # no two rectangles overlap
        image[top:bottom, left:right] = 0
    return image, (board.corners_m[:, :2] - low) * px_per_m - 0.5


@pytest.mark.parametrize(
    "spec", ["5x7:0.04:0.03:DICT_4X4_50", "6x6:0.04:0.03:DICT_4X4_50", "5x6:0.04:0.03:DICT_4X4_1000:legacy"]
)
def test_a_charuco_sheet_is_the_picture_that_opencv_draws(spec: str) -> None:
    board = parse_board(f"charuco:{spec}:first=3")
    expected = charuco_pattern(board).generateImage((board.cols * 80, board.rows * 80))
    np.testing.assert_array_equal(painted(board, 2000)[0], expected)


def test_an_inverted_sheet_is_the_negative_on_dark_ground() -> None:
    for spec in ("chessboard:4x7:0.06", "charuco:5x7:0.04:0.03:DICT_4X4_50", "aprilgrid:3x2:0.07:0.05:DICT_APRILTAG_36h11"):
        board = parse_board(spec)
        plain, _ = painted(board, 2000, quiet_zone_m(board))
        np.testing.assert_array_equal(painted(parse_board(f"{spec}:inverted"), 2000)[0], 255 - plain)


def test_an_aprilgrid_sheet_stands_as_kalibr_prints_it() -> None:
    image, _ = painted(parse_board("aprilgrid:2x2:0.07:0.05:DICT_APRILTAG_36h11"), 2000)
    cell, gap = 10, 40
    bottom_left = image[gap + 140 : gap + 240, gap : gap + 100][cell // 2 :: cell, cell // 2 :: cell]
    code = [(KALIBR_TAG_0 >> bit) & 1 for bit in range(35, -1, -1)]
    np.testing.assert_array_equal(bottom_left[2:-2, 2:-2] == 255, np.reshape(code, (6, 6)) == 1)
    assert not bottom_left[[0, 1, -2, -1]].any()
    corners, between = [0, 140, 280], [40, 180]
    assert not image[np.ix_(corners, corners)].any()  # a black square at every corner of a tag
    assert (image[np.ix_(corners, between)] == 255).all()


def test_the_first_inner_square_of_a_chessboard_is_dark() -> None:
    image, corners_px = painted(Board("chessboard", 4, 7, 0.06), 500)
    x, y = np.rint(corners_px[0] + 15).astype(int)
    assert image[y, x] == 0
    assert image[y, x + 30] == 255
    assert printed_size_m(Board("chessboard", 4, 7, 0.06)) == pytest.approx((0.3, 0.48))


def test_a_resized_board_keeps_its_shape() -> None:
    board = resized(parse_board("charuco:5x7:0.04:0.03:DICT_4X4_50:first=9"), 0.0397)
    assert board.spec == "charuco:5x7:0.0397:0.029775:DICT_4X4_50:first=9"
    assert cv2.norm(np.subtract(printed_size_m(board), (5 * 0.0397, 7 * 0.0397))) < 1e-9
