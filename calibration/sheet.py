"""What of a calibration target is dark: rectangles in metres, for printing it at its true size."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.board import Board
from calibration.markers import TAG_BORDER_CELLS, charuco_pattern, dictionary_of, kalibr_turned, tag_corners_m

Array = NDArray[np.float64]

# Edges nearer than this (m) are one edge: far below what a printer resolves, far above rounding.
SAME_EDGE_M = 1e-9


def dark_rectangles_m(board: Board) -> Array:
    """Dark rectangles (n, 4) of x, y, width, height in the board frame (y down), metres; they touch but never overlap.

    Chessboard: the inner square at the first corner is dark. ChArUco: OpenCV's layout, old or new. AprilGrid: as Kalibr
    prints it (kalibr_create_target_pdf), tags with a border of two cells and a black square at each of their corners. An
    inverted board is the rest of its sheet, `quiet_zone_m` included.
    """
    dark = _DARK[board.kind](board)
    if not board.inverted:
        return _painted(dark, np.zeros((0, 4)), inside=True)
    x_m, y_m, width_m, height_m = _bounds(dark)
    zone_m = quiet_zone_m(board)
    sheet = np.array([[x_m - zone_m, y_m - zone_m, width_m + 2 * zone_m, height_m + 2 * zone_m]])
    return _painted(dark, sheet, inside=False)


def printed_size_m(board: Board) -> tuple[float, float]:
    """Width and height of all that is dark."""
    _, _, width_m, height_m = _bounds(dark_rectangles_m(board))
    return width_m, height_m


def quiet_zone_m(board: Board) -> float:
    """How far around the pattern a sheet must keep the colour of its ground.

    Half a square around a chessboard, as much as around a marker in its square (ChArUco) or between tags (AprilGrid).
    """
    gap_m = board.square_m - float(board.marker_m or 0.0)
    return gap_m if board.kind == "aprilgrid" else 0.5 * gap_m


def resized(board: Board, square_m: float) -> Board:
    """The board printed at another scale: its square is square_m, its markers grow or shrink with it (to 0.1 um)."""
    marker_m = None if board.marker_m is None else round(board.marker_m * square_m / board.square_m, 7)
    return replace(board, square_m=round(square_m, 7), marker_m=marker_m)


def _bounds(rectangles: Array) -> tuple[float, float, float, float]:
    low = rectangles[:, :2].min(0)
    high = (rectangles[:, :2] + rectangles[:, 2:]).max(0)
    return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])


def _chessboard(board: Board) -> Array:
    col, row = np.meshgrid(np.arange(-1, board.cols), np.arange(-1, board.rows))
    dark = (col + row) % 2 == 0
    return _squares(np.stack([col[dark], row[dark]], axis=1) * board.square_m, board.square_m)


def _charuco(board: Board) -> Array:
    pattern = charuco_pattern(board)
    quads_m = np.asarray(pattern.getObjPoints())[..., :2]
    light = {(int(x), int(y)) for x, y in np.floor(quads_m.mean(1) / board.square_m)}
    squares = [(col, row) for row in range(board.rows) for col in range(board.cols) if (col, row) not in light]
    parts = [_squares(np.array(squares) * board.square_m, board.square_m)]
    for tag, quad in zip(np.ravel(pattern.getIds()), quads_m, strict=True):
        parts.append(_cells(_marker(board, int(tag), 1), quad.min(0), float(board.marker_m or 0.0)))
    return np.concatenate(parts)


def _aprilgrid(board: Board) -> Array:
    tag_m, gap_m = float(board.marker_m or 0.0), quiet_zone_m(board)  # Kalibr's corner squares fill the gap
    parts = []
    for number, quad in enumerate(tag_corners_m(board).reshape(-1, 4, 3)[..., :2]):
        cells = kalibr_turned(board, _marker(board, board.first_id + number, TAG_BORDER_CELLS))
        parts.append(_cells(cells, quad.min(0), tag_m))
        parts.append(_squares(quad + np.array([[-gap_m, -gap_m], [0, -gap_m], [0, 0], [-gap_m, 0]]), gap_m))
    return np.concatenate(parts)


_DARK = {"chessboard": _chessboard, "charuco": _charuco, "aprilgrid": _aprilgrid}


def _marker(board: Board, tag: int, border: int) -> NDArray[np.bool_]:
    """Dark cells of one marker, its border included."""
    dictionary = dictionary_of(board)
    bits = cv2.aruco.Dictionary.getBitsFromByteList(dictionary.bytesList[tag : tag + 1], dictionary.markerSize)
    return np.pad(np.asarray(bits) == 0, border, constant_values=True)


def _cells(dark: NDArray[np.bool_], corner_m: Array, side_m: float) -> Array:
    cell_m = side_m / len(dark)
    row, col = np.nonzero(dark)
    return _squares(corner_m + np.stack([col, row], axis=1) * cell_m, cell_m)


def _squares(corners_m: Array, side_m: float) -> Array:
    return np.column_stack([corners_m, np.full((len(corners_m), 2), side_m)])


def _painted(dark: Array, sheet: Array, inside: bool) -> Array:
    """Rectangles covering what `dark` covers (inside) or what it leaves of `sheet`, each as wide as it can be."""
    every = np.concatenate([dark, sheet])
    x_m, y_m = (_edges(np.concatenate([every[:, axis], every[:, axis] + every[:, axis + 2]])) for axis in (0, 1))
    covered = np.zeros((len(y_m) - 1, len(x_m) - 1), dtype=bool)
    for left, top, width, height in dark:
        columns = slice(_index(x_m, left), _index(x_m, left + width))
        covered[_index(y_m, top) : _index(y_m, top + height), columns] = True
    steps = np.diff(np.pad(covered if inside else ~covered, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    (row, start), (_, stop) = np.nonzero(steps == 1), np.nonzero(steps == -1)
    return np.column_stack([x_m[start], y_m[row], x_m[stop] - x_m[start], y_m[row + 1] - y_m[row]])


def _edges(values_m: Array) -> Array:
    ordered = np.sort(values_m)
    return ordered[np.concatenate([[True], np.diff(ordered) > SAME_EDGE_M])]


def _index(edges_m: Array, value_m: float) -> int:
    return int(np.argmin(np.abs(edges_m - value_m)))
