"""Calibration targets: what is printed, and where its corners are in an image."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.errors import CalibrationError
from calibration.markers import SUBPIX_STOP, dictionary_of, find_aprilgrid, find_charuco, tag_corners_m

Array = NDArray[np.float64]
Image = NDArray[np.uint8]

KINDS = ("chessboard", "charuco", "aprilgrid")
STANDARD_FLAGS = cv2.CALIB_CB_ADAPTIVE_THRESH | cv2.CALIB_CB_NORMALIZE_IMAGE
# Half the search window of OpenCV's calibration samples, at any image size.
SAMPLE_WINDOW_PX = 11
# Half the search window per pixel of the shorter image side: 11 px at 1080 lines, the window OpenCV's samples use there.
WINDOW_PER_SIDE = 0.01
# No window may reach a neighbouring corner.
WINDOW_PER_SPACING = 0.4
SIZE, FIRST = re.compile(r"(\d{1,3})[xX](\d{1,3})"), re.compile(r"first=\d{1,9}")
MOST = 999  # squares of a side; what three digits can write
EXAMPLES = "chessboard:4x7:0.06, charuco:5x7:0.04:0.03:DICT_4X4_50, charuco:4x5:0.054:0.0405:DICT_4X4_1000:inverted"


@dataclass(frozen=True)
class Board:
    """A flat printed target; its frame has x along a row, y down the columns and z into the sheet, in metres.

    kind chessboard: cols x rows INNER corners, the first one at the origin. kind charuco: cols x rows SQUARES (OpenCV's
    convention for each), the origin at the sheet's outer corner. kind aprilgrid: cols x rows tags of marker_m at a pitch of
    square_m, ids row by row from the bottom left (Kalibr), four corners per tag. legacy: ChArUco layout of OpenCV before
    4.6 (matters for an even number of rows). inverted: black and white are exchanged. first_id: the first marker's id, so that
    two sheets of one dictionary are told apart. Raises CalibrationError.
    """

    kind: str
    cols: int
    rows: int
    square_m: float
    marker_m: float | None = None
    dictionary: str | None = None
    legacy: bool = False
    inverted: bool = False
    first_id: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise CalibrationError(f"board: kind: expected one of {', '.join(KINDS)}, got {self.kind!r}")
        least = 1 if self.kind == "aprilgrid" else 2
        if not (least <= self.cols <= MOST and least <= self.rows <= MOST):
            raise CalibrationError(f"board: expected {least}x{least} to {MOST}x{MOST}, got {self.cols}x{self.rows}")
        if not 0 < self.square_m < 10:
            raise CalibrationError(f"board: square_m is a length in metres, expected between 0 and 10, got {self.square_m}")
        if self.kind != "chessboard":
            self._check_markers()

    def _check_markers(self) -> None:
        if self.marker_m is None or not 0 < self.marker_m < self.square_m:
            raise CalibrationError(
                f"board: marker_m: expected between 0 and the square's {self.square_m} m, got {self.marker_m}; "
                f"write the marker's side after the square's, as in {EXAMPLES.split(', ')[1]}"
            )
        if self.dictionary is None or not self.dictionary.startswith("DICT_") or not hasattr(cv2.aruco, self.dictionary):
            raise CalibrationError(f"board: dictionary: expected a name of OpenCV such as DICT_4X4_50, got {self.dictionary!r}")
        known = len(dictionary_of(self).bytesList)
        if self.first_id < 0 or self.marker_ids.stop > known:
            raise CalibrationError(
                f"board: {self.cols}x{self.rows} needs {len(self.marker_ids)} markers from id {self.first_id} on, "
                f"{self.dictionary} has {known}; take a larger dictionary or a smaller first="
            )

    @property
    def marker_ids(self) -> range:
        """Ids of the markers on the sheet; none on a chessboard."""
        squares = self.cols * self.rows
        return range(self.first_id, self.first_id + {"chessboard": 0, "charuco": squares // 2, "aprilgrid": squares}[self.kind])

    @cached_property
    def corners_m(self) -> Array:
        """Corners (M, 3) in the board frame, metres, z = 0, in the order of `find_corners`."""
        if self.kind == "aprilgrid":
            return tag_corners_m(self)
        first, shrink = (0, 0) if self.kind == "chessboard" else (1, 1)
        x, y = np.meshgrid(np.arange(self.cols - shrink) + first, np.arange(self.rows - shrink) + first)
        grid = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1).astype(np.float64)
        return grid * self.square_m

    @property
    def spec(self) -> str:
        """The text that `parse_board` turns back into this board."""
        parts = [self.kind, f"{self.cols}x{self.rows}", f"{self.square_m:g}"]
        if self.kind != "chessboard":
            parts += [f"{self.marker_m:g}", str(self.dictionary)]
        first = [f"first={self.first_id}"] if self.first_id else []
        return ":".join(parts + ["legacy"] * self.legacy + ["inverted"] * self.inverted + first)


def parse_board(spec: str) -> Board:
    """`kind:COLSxROWS:square_m[:marker_m:DICTIONARY][:legacy][:inverted][:first=ID]` to a Board.

    Raises CalibrationError that shows examples.
    """
    words = [word.strip() for word in spec.strip().split(":")]
    flags = {word for word in words if word in ("legacy", "inverted")}
    first = [int(word[6:]) for word in words if FIRST.fullmatch(word)]
    words = [word for word in words if word not in flags and not FIRST.fullmatch(word)]
    size = SIZE.fullmatch(words[1]) if len(words) > 1 else None
    wanted = 3 if words[0] == "chessboard" else 5
    if size is None or len(words) != wanted:
        raise CalibrationError(f"board: cannot read {spec[:200]!r}; expected for example {EXAMPLES}")
    try:
        lengths_m = [float(word) for word in words[2:4]]
    except ValueError:
        raise CalibrationError(f"board: lengths in {spec[:200]!r} must be numbers in metres; for example {EXAMPLES}") from None
    return Board(
        kind=words[0],
        cols=int(size[1]),
        rows=int(size[2]),
        square_m=lengths_m[0],
        marker_m=lengths_m[1] if wanted == 5 else None,
        dictionary=words[4].upper() if wanted == 5 else None,
        legacy="legacy" in flags,
        inverted="inverted" in flags,
        first_id=first[0] if first else 0,
    )


def find_corners(board: Board, image: Image) -> Array:
    """Corners (M, 2) px of `board` in an RGB (H, W, 3) or grey (H, W) uint8 image; NaN where not seen, all NaN: not found.

    Chessboard: `cv2.findChessboardCorners`, then `cv2.cornerSubPix` with half a window of 1 % of the shorter image side. It is
    all or nothing: OpenCV finds parts of one (`findChessboardCornersSBWithMeta` with CALIB_CB_LARGER), but a part does not say
    which of the corners it holds unless dots are printed into the board. For the same reason its back is read as a front.
    ChArUco and AprilGrid: partial views, refined by OpenCV with a window from the marker size; seen from behind (through thin
    or transparent sheets), too: each corner keeps its number and `corners_m`.
    """
    grey = _grey(board, image)
    if board.kind == "charuco":
        return find_charuco(board, grey)
    if board.kind == "aprilgrid":
        return find_aprilgrid(board, grey)
    found, corners = cv2.findChessboardCorners(grey, (board.cols, board.rows), flags=STANDARD_FLAGS)
    if not found:
        return np.full((board.cols * board.rows, 2), np.nan)
    return _turn_by_colour(board, grey, _refine(grey, corners, _window_px(board, grey, corners)))


def find_corners_as_sampled(board: Board, image: Image) -> Array:
    """As `find_corners`, by the recipe of OpenCV's calibration samples: half a window of 11 px whatever the image's size.

    For comparing figures with other tools. On small images the window reaches past the squares: in left02 of OpenCV's own
    chessboard set it draws five corners of the last row up to 6.4 px away, onto the outer corners of the printed squares.
    """
    if board.kind != "chessboard":
        return find_corners(board, image)
    grey = _grey(board, image)
    found, corners = cv2.findChessboardCorners(grey, (board.cols, board.rows), flags=STANDARD_FLAGS)
    if not found:
        return np.full((board.cols * board.rows, 2), np.nan)
    return _turn_by_colour(board, grey, _refine(grey, corners, SAMPLE_WINDOW_PX))


def find_corners_thorough(board: Board, image: Image) -> Array:
    """As `find_corners`, slower and with fewer misses: chessboards are also sought with `findChessboardCornersSB`.

    SB (Duda and Frese 2018) finds boards that reach the image border or stand in strong blur; it misses others that the
    quad finder sees, so both are asked and the quad finder goes first. Corners are then refined in a window of a fifth of
    the local square, which holds on to corners that start several pixels off.
    """
    grey = _grey(board, image)
    if board.kind != "chessboard":
        return find_corners(board, image)
    size = (board.cols, board.rows)
    found, corners = cv2.findChessboardCorners(grey, size, flags=STANDARD_FLAGS)
    if not found:
        flags = cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_EXHAUSTIVE | cv2.CALIB_CB_ACCURACY
        found, corners = cv2.findChessboardCornersSB(grey, size, flags=flags)
    if not found:
        return np.full((board.cols * board.rows, 2), np.nan)
    window_px = max(3, round(0.2 * _spacing_px(board, corners)))
    return _turn_by_colour(board, grey, _refine(grey, corners, window_px))


def _grey(board: Board, image: Image) -> Image:
    if image.dtype != np.uint8 or image.ndim not in (2, 3):
        raise CalibrationError(f"board: expected an image (H, W, 3) or (H, W) of uint8, got {image.shape} {image.dtype}")
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.ascontiguousarray(255 - grey if board.inverted else grey)


def _spacing_px(board: Board, corners: NDArray[Any]) -> float:
    """The shortest distance between neighbouring corners."""
    grid = corners.reshape(board.rows, board.cols, 2)
    across, down = (np.linalg.norm(np.diff(grid, axis=axis), axis=-1).min() for axis in (1, 0))
    return float(min(across, down))


def _window_px(board: Board, grey: Image, corners: NDArray[Any]) -> int:
    wanted = round(WINDOW_PER_SIDE * min(grey.shape))
    return max(2, min(wanted, int(WINDOW_PER_SPACING * _spacing_px(board, corners))))


def _refine(grey: Image, corners: NDArray[Any], window_px: int) -> Array:
    refined = cv2.cornerSubPix(grey, corners.copy(), (window_px, window_px), (-1, -1), SUBPIX_STOP)
    return refined.reshape(-1, 2).astype(np.float64)


def _turn_by_colour(board: Board, grey: Image, xy_px: Array) -> Array:
    """Start at the corner whose inner square is dark, so that all cameras number a board of odd cols + rows alike.

    With cols + rows even the board looks the same after half a turn and the numbering stays OpenCV's.
    """
    if (board.cols + board.rows) % 2 == 0:
        return xy_px
    grid = xy_px.reshape(board.rows, board.cols, 2)
    first, last = grid[:2, :2].mean((0, 1)), grid[-2:, -2:].mean((0, 1))
    bright = [cv2.getRectSubPix(grey, (3, 3), (float(p[0]), float(p[1]))).mean() for p in (first, last)]
    return xy_px if bright[0] <= bright[1] else xy_px[::-1].copy()
