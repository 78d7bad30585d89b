"""Square markers of ChArUco boards and AprilGrids: their patterns, and their corners in an image, from either side."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from calibration.board import Board

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
Tags = NDArray[np.intp]

TAG_BORDER_CELLS = 2  # Kalibr prints its tags with a border of two cells
# Corners of a marker (clockwise from its top left) as they come where it is seen from behind, in the order of its front.
FROM_BEHIND = [1, 0, 3, 2]
# Half a turn: OpenCV's AprilTags stand on their heads compared with Kalibr's (and AprilTag's own) prints.
HALF_TURN = [2, 3, 0, 1]
# A view from behind has to prove itself: this many corners on one mirrored homography, none off by more than this share of
# a square (lens distortion bends less than that across a board).
MIN_CORNERS_BEHIND = 6
MAX_MISS_SQUARES = 0.2
# Half the window that a tag's corner is refined in, per gap between tags and per tag side: within its border and no other tag.
WINDOW_PER_GAP = 0.5
WINDOW_PER_TAG = 0.15
# OpenCV's own stop rule for cornerSubPix in its calibration samples.
SUBPIX_STOP = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 30, 0.001)


def dictionary_of(board: Board) -> cv2.aruco.Dictionary:
    """OpenCV's predefined dictionary of the board's markers."""
    return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, str(board.dictionary)))


def charuco_pattern(board: Board) -> cv2.aruco.CharucoBoard:
    """OpenCV's description of a ChArUco board, old or new layout, its markers counted from `first_id`."""
    size, lengths_m = (board.cols, board.rows), (board.square_m, float(board.marker_m or 0.0))
    pattern = cv2.aruco.CharucoBoard(size, *lengths_m, dictionary_of(board), np.array(board.marker_ids))
    pattern.setLegacyPattern(board.legacy)
    return pattern


def kalibr_turned(board: Board, values: NDArray[Any]) -> NDArray[Any]:
    """The cells (n, n) or corners (4, 2) of one tag, from OpenCV's orientation to the printed one and back."""
    if not str(board.dictionary).startswith("DICT_APRILTAG"):
        return values
    return values[HALF_TURN] if values.shape == (4, 2) else np.rot90(values, 2)


def tag_corners_m(board: Board) -> Array:
    """Corners (4 per tag, 3) of an AprilGrid in the board frame: tag by tag, clockwise from its top left, metres."""
    tag, pitch = float(board.marker_m or 0.0), board.square_m
    col, row = np.meshgrid(np.arange(board.cols), np.arange(board.rows))
    # Rows count from the bottom of the sheet, y points down it.
    left, top = col.ravel() * pitch, (board.rows - 1 - row.ravel()) * pitch
    x = left[:, None] + np.array([0, tag, tag, 0])
    y = top[:, None] + np.array([0, 0, tag, tag])
    return np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)


def find_charuco(board: Board, grey: Image) -> Array:
    """Inner corners (M, 2) px of a ChArUco board in a grey image, NaN unseen, from the front or from behind the sheet."""
    return _from_either_side(board, grey, _charuco_corners)


def find_aprilgrid(board: Board, grey: Image) -> Array:
    """Tag corners (M, 2) px of an AprilGrid in a grey image, NaN unseen, from the front or from behind the sheet."""
    return _from_either_side(board, grey, _aprilgrid_corners)


def _from_either_side(board: Board, grey: Image, corners_of: Any) -> Array:
    """The side that shows more of the board's markers; a few may pass for others when they are seen mirrored."""
    front, behind = _markers(board, grey)
    xy_px = corners_of(board, grey, *front)
    if len(behind[1]) <= len(front[1]):
        return xy_px
    mirrored = corners_of(board, grey, [quad[FROM_BEHIND] for quad in behind[0]], behind[1])
    return mirrored if is_seen_from_behind(board.corners_m[:, :2], mirrored, board.square_m) else xy_px


def is_seen_from_behind(plane_m: Array, xy_px: Array, square_m: float) -> bool:
    """Whether corners (M, 2) px, NaN unseen, are a mirrored view of the board plane (M, 2): one homography explains them."""
    seen = np.isfinite(xy_px).all(1)
    if seen.sum() < MIN_CORNERS_BEHIND or np.linalg.matrix_rank(plane_m[seen] - plane_m[seen].mean(0), tol=1e-9) < 2:
        return False
    m_from_px, _ = cv2.findHomography(xy_px[seen], plane_m[seen])
    if m_from_px is None:
        return False
    miss_m = np.linalg.norm(cv2.perspectiveTransform(xy_px[seen][None], m_from_px)[0] - plane_m[seen], axis=1)
    middle = xy_px[seen].mean(0)
    corner, right, below = cv2.perspectiveTransform(np.array([[middle, middle + [1, 0], middle + [0, 1]]]), m_from_px)[0]
    mirrored = np.linalg.det(np.stack([right - corner, below - corner])) < 0
    return bool(mirrored and miss_m.max() < MAX_MISS_SQUARES * square_m)


def _markers(board: Board, grey: Image) -> tuple[tuple[list[Array], Tags], tuple[list[Array], Tags]]:
    """Quads (4, 2) px and numbers of the board's own markers, as printed and as mirrored: one search for both."""
    quads, ids, _, mirrored = marker_detector(board).detectMarkersMultiDict(grey)
    tags = np.zeros(0, dtype=np.intp) if ids is None else board.first_id + np.asarray(ids, dtype=np.intp).ravel()
    side = np.zeros(len(tags), dtype=np.intp) if mirrored is None else np.asarray(mirrored, dtype=np.intp).ravel()
    chosen = [np.flatnonzero(side == which) for which in (0, 1)]
    front, behind = (([quads[int(i)].reshape(4, 2).astype(np.float64) for i in places], tags[places]) for places in chosen)
    return front, behind


@lru_cache(maxsize=16)
def marker_detector(board: Board) -> cv2.aruco.ArucoDetector:
    """OpenCV's detector of the board's own markers and of the same mirrored, in this order; ids count from 0.

    The rest of the dictionary is left out: a code within correction of one marker is not within that of another, so nothing
    else is found with it, and comparing with 1000 codes takes longer than finding the quads.
    """
    parameters = cv2.aruco.DetectorParameters()
    if board.kind == "aprilgrid":
        parameters.markerBorderBits = TAG_BORDER_CELLS
    whole = dictionary_of(board)
    codes = whole.bytesList[board.first_id : board.marker_ids.stop]
    own = cv2.aruco.Dictionary(codes, whole.markerSize, whole.maxCorrectionBits)
    return cv2.aruco.ArucoDetector([own, _mirrored(own)], parameters)


def _mirrored(dictionary: cv2.aruco.Dictionary) -> cv2.aruco.Dictionary:
    """The markers as they look from behind the sheet: an image is searched once for both, which flipping it would double."""
    size, out = dictionary.markerSize, []
    for code in dictionary.bytesList:
        bits = np.asarray(cv2.aruco.Dictionary.getBitsFromByteList(code[None], size))
        out.append(cv2.aruco.Dictionary.getByteListFromBits(np.ascontiguousarray(bits[:, ::-1])))
    return cv2.aruco.Dictionary(np.concatenate(out), size, dictionary.maxCorrectionBits)


@lru_cache(maxsize=16)
def _charuco_detector(board: Board) -> cv2.aruco.CharucoDetector:
    return cv2.aruco.CharucoDetector(charuco_pattern(board))


def _charuco_corners(board: Board, grey: Image, quads: Sequence[Array], tags: Tags) -> Array:
    xy_px = np.full(((board.cols - 1) * (board.rows - 1), 2), np.nan)
    if not len(tags):  # OpenCV would search again
        return xy_px
    given = [np.asarray(quad, dtype=np.float32).reshape(1, 4, 2) for quad in quads]
    corners, ids, _, _ = _charuco_detector(board).detectBoard(
        grey, markerCorners=given, markerIds=tags.astype(np.int32).reshape(-1, 1)
    )
    if ids is not None and len(ids):
        xy_px[np.asarray(ids, dtype=np.intp).ravel()] = corners.reshape(-1, 2)
    return xy_px


def _aprilgrid_corners(board: Board, grey: Image, quads: Sequence[Array], tags: Tags) -> Array:
    xy_px = np.full((board.cols * board.rows, 4, 2), np.nan)
    for quad, tag in zip(quads, tags, strict=True):
        xy_px[tag - board.first_id] = kalibr_turned(board, _refined(board, grey, quad))
    return xy_px.reshape(-1, 2)


def _refined(board: Board, grey: Image, quad: Array) -> Array:
    """Tag corners (4, 2) px to where the edges meet.

    OpenCV's own window is a share of a tag's cell; Kalibr's black corner squares draw its first guess further off than that.
    """
    side_px = float(np.linalg.norm(quad - np.roll(quad, 1, axis=0), axis=1).min())
    gap = board.square_m / float(board.marker_m or 1.0) - 1
    window_px = max(2, round(min(WINDOW_PER_GAP * gap, WINDOW_PER_TAG) * side_px))
    corners = np.ascontiguousarray(quad, dtype=np.float32).reshape(4, 1, 2)
    return cv2.cornerSubPix(grey, corners, (window_px, window_px), (-1, -1), SUBPIX_STOP).reshape(4, 2).astype(np.float64)
