"""Why a board that may be in the picture was not found: markers read, shapes that look like markers, their size and blur."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.board import Board
from calibration.markers import TAG_BORDER_CELLS, dictionary_of, marker_detector

Image = NDArray[np.uint8]
Quads = NDArray[np.float32]

# Shapes as wide as their median to within this factor are one board's markers.
ALIKE = 1.5
# Fewer square shapes than this are in any room.
MIN_SHAPES = 4
# Pixels per marker cell that a patch is brought to before its sharpness is taken.
PATCH_CELL_PX = 4
# A marker has a dark frame and something light in it: shares of the frame and of the inside, and contrast in grey levels.
DARK_FRAME, LIGHT_INSIDE, LEAST_CONTRAST = 0.7, 0.05, 8.0
# Rendered boards of 1.5 to 10 px a cell, blurred by 0.1 to 1 cell: at 1.5 px no marker was read, at 2 px 15 of 17; at a
# sharpness of 0.25 (blur of half a cell) 4 of 17 at most, from 0.4 on 7 and more.
LEAST_CELL_PX = 2.0
LEAST_SHARPNESS = 0.35
# A grid this large is no accident (of 100 everyday photos none holds one, 26 hold 3x3); the search grows it to all that is
# visible.
LEAST_PART = (4, 4)


@dataclass(frozen=True)
class NearMiss:
    """One picture: how many of the board's markers were read (and from behind), and what square shapes are left unread.

    cell_px is the median size of one marker cell in all of these; sharpness the variance of their Laplacian at 4 px a cell
    over the variance of their brightness.
    """

    markers: int
    behind: int
    shapes: int
    cell_px: float
    sharpness: float


def near_miss(board: Board, image: Image) -> NearMiss:
    """Look at one grey or RGB picture (full size) for a ChArUco board or an AprilGrid that was not found in it.

    Where nothing is there it is looked at once more at twice its size: OpenCV passes over the smallest shapes.
    """
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)
    grey = np.ascontiguousarray(255 - grey) if board.inverted else grey
    miss = _look(board, grey, marker_detector(board))
    if miss.markers or miss.behind or miss.shapes:
        return miss
    twice = cv2.resize(grey, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC).astype(np.uint8, copy=False)
    finer = _look(board, twice, _eager_detector(board))
    # What could be read only there was not read: it counts as shapes.
    return NearMiss(0, 0, max(finer.shapes, finer.markers, finer.behind), 0.5 * finer.cell_px, finer.sharpness)


def _eager_detector(board: Board) -> cv2.aruco.ArucoDetector:
    """The board's detector, down to shapes a third as large as it takes by default (a share of the image's size)."""
    usual = marker_detector(board)
    parameters = usual.getDetectorParameters()
    parameters.minMarkerPerimeterRate /= 3
    return cv2.aruco.ArucoDetector(usual.getDictionaries(), parameters)


def _look(board: Board, grey: Image, detector: cv2.aruco.ArucoDetector) -> NearMiss:
    quads, ids, rejected, side = detector.detectMarkersMultiDict(grey)
    front, behind = (0, 0) if ids is None or side is None else (int(np.sum(side == 0)), int(np.sum(side == 1)))
    border = TAG_BORDER_CELLS if board.kind == "aprilgrid" else 1
    cells = dictionary_of(board).markerSize + 2 * border
    unread = [np.asarray(quad, dtype=np.float32).reshape(4, 2) for quad in rejected]
    framed = [quad for quad in unread if _is_framed(_patch(grey, quad, cells), border)]
    shapes = _alike(np.array(framed, dtype=np.float32).reshape(-1, 4, 2))
    shapes = shapes if len(shapes) >= MIN_SHAPES else shapes[:0]
    measured = np.array([quad.reshape(4, 2) for quad in quads] + list(shapes), dtype=np.float32).reshape(-1, 4, 2)
    if not len(measured):
        return NearMiss(0, 0, 0, float("nan"), float("nan"))
    sharpness = float(np.median([_sharpness(grey, quad, cells) for quad in measured]))
    return NearMiss(front, behind, len(shapes), float(np.median(_sides_px(measured))) / cells, sharpness)


def _sides_px(quads: Quads) -> NDArray[np.float32]:
    return np.linalg.norm(quads - np.roll(quads, 1, axis=1), axis=-1).mean(1)


def _alike(quads: Quads) -> Quads:
    """The largest group of shapes of about one size, each place once."""
    if not len(quads):
        return quads
    sides = _sides_px(quads)
    groups = [(sides < side * ALIKE) & (sides > side / ALIKE) for side in sides]
    group = quads[max(groups, key=np.sum)]
    centres = group.mean(1)
    kept: list[int] = []
    for index, centre in enumerate(centres):
        if all(np.linalg.norm(centre - centres[other]) > 0.5 * _sides_px(group[[other]])[0] for other in kept):
            kept.append(index)
    return group[kept]


def _sharpness(grey: Image, quad: Quads, cells: int) -> float:
    values = _patch(grey, quad, cells).astype(np.float64)
    return float(cv2.Laplacian(values, cv2.CV_64F).var() / max(values.var(), 1.0))


def _is_framed(patch: Image, border: int) -> bool:
    if patch.std() < LEAST_CONTRAST:
        return False
    _, light = cv2.threshold(patch, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    inside = np.zeros(patch.shape, dtype=bool)
    edge = border * PATCH_CELL_PX
    inside[edge:-edge, edge:-edge] = True
    return bool(1 - light[~inside].mean() >= DARK_FRAME and light[inside].mean() >= LIGHT_INSIDE)


def _patch(grey: Image, quad: Quads, cells: int) -> Image:
    side = cells * PATCH_CELL_PX
    square = np.array([[0, 0], [side - 1, 0], [side - 1, side - 1], [0, side - 1]], dtype=np.float32)
    turned = cv2.getPerspectiveTransform(quad, square)
    return cv2.warpPerspective(grey, turned, (side, side), flags=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def explain(board: Board, images: Sequence[Image], labels: Sequence[str]) -> str:
    """Where the board was nearly found and why it was not; empty where nothing like it is in the images."""
    if board.kind == "chessboard":
        return _explain_part(board, images, labels)
    looked = [(near_miss(board, image), label) for image, label in zip(images, labels, strict=True)]
    near = [(miss, label) for miss, label in looked if miss.markers + miss.behind or miss.shapes]
    if not near:
        return ""
    best, where = max(near, key=lambda found: (found[0].markers + found[0].behind, found[0].shapes))
    others = f" (and something like it in {len(near) - 1} more of {len(images)} images)" if len(near) > 1 else ""
    return f"it was nearly found in {where}{others}: {_seen(board, best)}; {_reason(best)}"


def _seen(board: Board, miss: NearMiss) -> str:
    read = max(miss.markers, miss.behind)
    side = " from behind the sheet" if miss.behind > miss.markers else ""
    told = [f"{read} of its {len(board.marker_ids)} markers were read{side}"] if read else []
    if miss.shapes:
        told.append(f"{miss.shapes} square shapes like markers could not be read")
    return " and ".join(told) + f" ({miss.cell_px:.1f} px per marker cell)"


def _reason(miss: NearMiss) -> str:
    if miss.cell_px < LEAST_CELL_PX:
        return f"the board is too small in the image (a cell needs {LEAST_CELL_PX:g} px): bring it nearer or use a larger one"
    if miss.sharpness < LEAST_SHARPNESS:
        return "it is blurred over half a marker cell or more: move it slower, light it better or focus"
    if not miss.shapes:
        return "too few for its corners: show more of the board, without shadows and reflections"
    return "they are sharp and large enough, so the dictionary, first= or the kind of the board differs, or its prints are worn"


def _explain_part(board: Board, images: Sequence[Image], labels: Sequence[str]) -> str:
    """A chessboard is all or nothing: a part of it says that it reaches out of the image or is covered."""
    flags = cv2.CALIB_CB_NORMALIZE_IMAGE | cv2.CALIB_CB_LARGER
    for image, label in zip(images, labels, strict=True):
        found, _, meta = cv2.findChessboardCornersSBWithMeta(255 - image if board.inverted else image, LEAST_PART, flags)
        if found:
            rows, cols = meta.shape[:2]
            return (
                f"{cols}x{rows} inner corners of a chessboard are seen in {label}: all {board.cols}x{board.rows} must be in "
                "view with a margin, uncovered; or the board has another size"
            )
    return ""
