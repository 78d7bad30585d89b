from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.board import Board, find_corners, find_corners_thorough, parse_board
from calibration.errors import CalibrationError

CHARUCO = Board("charuco", 5, 7, 0.04, 0.03, "DICT_4X4_50")


def _chessboard_image(cols: int, rows: int, square: int = 40) -> np.ndarray:
    """Inner corners cols x rows, top left square dark, a white margin of one square; corner (0, 0) at (2 sq - .5)."""
    y, x = np.indices((rows + 1, cols + 1))
    cells = np.pad(((x + y) % 2 * 255).astype(np.uint8), 1, constant_values=255)
    return np.kron(cells, np.ones((square, square), np.uint8))


def _charuco_image(board: Board, px_per_square: int = 60, legacy: bool = False) -> np.ndarray:
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, str(board.dictionary)))
    pattern = cv2.aruco.CharucoBoard((board.cols, board.rows), board.square_m, board.marker_m, dictionary)
    pattern.setLegacyPattern(legacy)
    sheet = pattern.generateImage((board.cols * px_per_square, board.rows * px_per_square))
    return np.pad(sheet, px_per_square, constant_values=255)


def test_a_board_written_as_text_reads_back_the_same() -> None:
    texts = (
        "chessboard:4x7:0.06",
        "charuco:5x7:0.04:0.03:DICT_4X4_50",
        "charuco:4x6:0.054:0.0405:DICT_4X4_1000:legacy:inverted",
    )
    for text in texts:
        assert parse_board(text).spec == text
        assert parse_board(parse_board(text).spec) == parse_board(text)


@pytest.mark.parametrize(
    "text",
    ["", "chessboard", "chessboard:4x7", "chessboard:4by7:0.06", "circles:4x7:0.06", "chessboard:4x7:six", "chessboard:4x7:0",
     "charuco:5x7:0.04", "charuco:5x7:0.04:0.05:DICT_4X4_50", "charuco:5x7:0.04:0.03:DICT_9X9_1", "chessboard:4x1:0.06"],
)  # fmt: skip
def test_a_board_text_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(CalibrationError, match="board"):
        parse_board(text)


def test_corner_counts_follow_the_convention_of_each_kind() -> None:
    assert len(Board("chessboard", 4, 7, 0.06).corners_m) == 28
    assert len(CHARUCO.corners_m) == 4 * 6
    np.testing.assert_allclose(CHARUCO.corners_m[0], [0.04, 0.04, 0])
    np.testing.assert_allclose(CHARUCO.corners_m[1], [0.08, 0.04, 0])


def test_chessboard_corners_are_found_where_they_were_drawn() -> None:
    board = Board("chessboard", 4, 7, 0.06)
    expected = board.corners_m[:, :2] / 0.06 * 40 + 79.5
    for find in (find_corners, find_corners_thorough):
        np.testing.assert_allclose(find(board, _chessboard_image(4, 7)), expected, atol=0.05)


def test_a_chessboard_turned_by_half_a_turn_keeps_its_numbering() -> None:
    board, upright = Board("chessboard", 4, 7, 0.06), _chessboard_image(4, 7)
    height, width = upright.shape
    turned = find_corners(board, np.ascontiguousarray(upright[::-1, ::-1]))
    np.testing.assert_allclose(np.array([width, height]) - 1 - turned, find_corners(board, upright), atol=0.05)


def test_charuco_corners_are_found_where_they_were_drawn() -> None:
    image = _charuco_image(CHARUCO)
    # 0.25 px: on drawn (unblurred) edges OpenCV's refinement rests up to 0.19 px beside the true corner.
    expected = CHARUCO.corners_m[:, :2] / CHARUCO.square_m * 60 + 59.5
    np.testing.assert_allclose(find_corners(CHARUCO, image), expected, atol=0.25)
    assert np.isnan(find_corners(Board("charuco", 5, 7, 0.04, 0.03, "DICT_4X4_50", inverted=True), image)).all()
    inverted = Board("charuco", 5, 7, 0.04, 0.03, "DICT_4X4_50", inverted=True)
    np.testing.assert_allclose(find_corners(inverted, 255 - image), expected, atol=0.25)


def test_a_covered_charuco_board_gives_the_corners_that_are_left() -> None:
    image = _charuco_image(CHARUCO)
    image[: image.shape[0] // 2] = 255
    found = np.isfinite(find_corners(CHARUCO, image)).all(1)
    assert 4 <= found.sum() < len(found)
    assert not found[:8].any()


def test_the_old_layout_of_an_even_board_needs_its_flag() -> None:
    board = Board("charuco", 5, 6, 0.04, 0.03, "DICT_4X4_50", legacy=True)
    image = _charuco_image(board, legacy=True)
    assert np.isfinite(find_corners(board, image)).all()
    assert not np.isfinite(find_corners(Board("charuco", 5, 6, 0.04, 0.03, "DICT_4X4_50"), image)).all()


def test_aprilgrid_tags_are_found_where_they_were_drawn() -> None:
    board = Board("aprilgrid", 3, 2, 0.1, 0.08, "DICT_APRILTAG_36h11")
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_APRILTAG_36h11)
    sheet = np.full((360, 460), 255, np.uint8)
    for tag in range(6):
        x, y = 80 + 110 * (tag % 3), 60 + 110 * (1 - tag // 3)
        sheet[y : y + 80, x : x + 80] = cv2.aruco.generateImageMarker(dictionary, tag, 80, borderBits=2)
    pitch_board = Board("aprilgrid", 3, 2, 0.110, 0.080, "DICT_APRILTAG_36h11")
    expected = pitch_board.corners_m[:, :2] * 1000 + [79.5, 59.5]
    np.testing.assert_allclose(find_corners(board, sheet), expected, atol=1.0)


def test_an_empty_image_has_no_corner() -> None:
    grey = np.full((480, 640), 128, np.uint8)
    assert np.isnan(find_corners(Board("chessboard", 4, 7, 0.06), grey)).all()
    assert np.isnan(find_corners(CHARUCO, np.stack([grey] * 3, axis=-1))).all()
    with pytest.raises(CalibrationError, match="uint8"):
        find_corners(CHARUCO, grey.astype(np.float32))  # type: ignore[arg-type]


def test_the_inverted_board_of_the_webcams_is_read_as_a_flat_grid(shared_data: Path) -> None:
    board = parse_board("charuco:4x5:0.054:0.0405:DICT_4X4_1000:inverted")
    video = cv2.VideoCapture(str(shared_data / "webcams_charuco" / "cam_2.mp4"))
    video.set(cv2.CAP_PROP_POS_FRAMES, 80)
    image = cv2.cvtColor(video.read()[1], cv2.COLOR_BGR2RGB)
    xy_px = find_corners(board, image)
    assert np.isfinite(xy_px).all()
    # One homography maps the sheet onto the picture, up to lens distortion over its small area.
    model, _ = cv2.findHomography(board.corners_m[:, :2], xy_px)
    fitted = cv2.perspectiveTransform(board.corners_m[:, None, :2], model)[:, 0]
    assert np.linalg.norm(fitted - xy_px, axis=1).max() < 1.5
    assert np.isnan(find_corners(parse_board("charuco:4x5:0.054:0.0405:DICT_4X4_1000"), image)).all()
