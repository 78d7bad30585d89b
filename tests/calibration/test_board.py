from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.board import Board, find_corners, find_corners_thorough, parse_board
from calibration.errors import CalibrationError
from calibration.markers import is_seen_from_behind
from tests.calibration.test_sheet import painted

BOTH_SIDES = (
    "charuco:5x7:0.04:0.03:DICT_4X4_50",
    "charuco:5x6:0.04:0.03:DICT_4X4_1000:legacy:inverted",
    "charuco:6x6:0.04:0.03:DICT_ARUCO_ORIGINAL",
    "aprilgrid:4x3:0.07:0.05:DICT_APRILTAG_36H11:first=9",
)
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
     "charuco:5x7:0.04", "charuco:5x7:0.04:0.05:DICT_4X4_50", "charuco:5x7:0.04:0.03:DICT_9X9_1", "chessboard:4x1:0.06",
     f"chessboard:{'1' * 5000}x7:0.06", "charuco:9223372036854775808x7:0.04:0.03:DICT_4X4_50",
     f"charuco:5x7:0.04:0.03:DICT_4X4_50:first={'9' * 5000}"],
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


@pytest.mark.parametrize("spec", BOTH_SIDES)
def test_a_board_is_read_alike_from_the_front_and_through_its_sheet(spec: str) -> None:
    board = parse_board(spec)
    image, expected = painted(board, 2000, 0.05)
    # 0.1 px: what OpenCV's refinement leaves on blurred edges of this size.
    blurred = cv2.GaussianBlur(image, (0, 0), 1.0)
    np.testing.assert_allclose(find_corners(board, blurred), expected, atol=0.1)
    behind = find_corners(board, np.ascontiguousarray(blurred[:, ::-1]))
    behind[:, 0] = image.shape[1] - 1 - behind[:, 0]
    np.testing.assert_allclose(behind, expected, atol=0.1)


def test_a_few_markers_that_look_mirrored_make_no_board_from_behind() -> None:
    board = parse_board("charuco:5x7:0.04:0.03:DICT_4X4_50")
    image, expected = painted(board, 2000, 0.05)
    image[:, 330:] = 255  # the first three columns of squares are left
    mirrored = np.ascontiguousarray(image[:, ::-1])
    mirrored[:500] = 255  # and of these only the last rows: too few corners to prove a mirrored view
    assert np.isnan(find_corners(board, mirrored)).all()
    noisy = expected.copy()
    noisy[:, 0] *= -1
    assert is_seen_from_behind(board.corners_m[:, :2], noisy, board.square_m)
    assert not is_seen_from_behind(board.corners_m[:, :2], expected, board.square_m)
    noisy[3] += 40  # half a square off
    assert not is_seen_from_behind(board.corners_m[:, :2], noisy, board.square_m)


def test_two_sheets_of_one_dictionary_are_told_apart() -> None:
    first, second = (parse_board(f"charuco:5x7:0.04:0.03:DICT_4X4_50{word}") for word in ("", ":first=17"))
    (left, at_left), (right, at_right) = (painted(board, 2000, 0.02) for board in (first, second))
    both = np.concatenate([left, right], axis=1)
    np.testing.assert_allclose(find_corners(first, both), at_left, atol=0.1)
    np.testing.assert_allclose(find_corners(second, both), at_right + [left.shape[1], 0], atol=0.1)
    with pytest.raises(CalibrationError, match="needs 17 markers from id 34 on, DICT_4X4_50 has 50"):
        parse_board("charuco:5x7:0.04:0.03:DICT_4X4_50:first=34")


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
