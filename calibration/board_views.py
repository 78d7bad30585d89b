"""Which views of a board to solve a lens from, and what they show of the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.board_set import Target
from calibration.lens_solve import LensFit, board_normals, view_information
from calibration.planar import board_candidates

Array = NDArray[np.float64]

# The image is cut into so many cells a side for the share that corners cover.
CELLS = 12
# OpenCV's and Kalibr's guides ask for boards tilted by 20 to 45 degrees; below this the focal length hangs on the noise.
GOOD_TILT_DEG = 20.0
ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")


@dataclass(frozen=True)
class Coverage:
    """What the views used show: share of the image's CELLS x CELLS cells with a corner, ninths of the image without one,
    the smallest and largest angle between board and image plane (degrees), and what to film to improve."""

    share: float
    empty_ninths: tuple[str, ...]
    tilt_deg: tuple[float, float]
    advice: tuple[str, ...]

    def __str__(self) -> str:
        low, high = self.tilt_deg
        return f"corners in {self.share:.0%} of the image, boards tilted by {low:.0f} to {high:.0f} degrees"


def spread_views(views: Array, limit: int) -> list[int]:
    """At most `limit` of the views (F, M, 2) px with a corner, by farthest-point sampling of where and how large they are."""
    seen = np.flatnonzero(np.isfinite(views[..., 0]).any(1))
    if len(seen) <= limit:
        return [int(view) for view in seen]
    place = np.stack([np.r_[np.nanmean(views[v], 0), np.nanstd(views[v], 0)] for v in seen])
    corners = np.isfinite(views[seen, :, 0]).sum(1)
    chosen = [int(np.argmax(corners))]
    distance = np.linalg.norm(place - place[chosen[0]], axis=1)
    while len(chosen) < limit:
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.linalg.norm(place - place[chosen[-1]], axis=1))
    return sorted(int(view) for view in seen[chosen])


def best_views(views: Array, board: Target, fit: LensFit, limit: int) -> list[int]:
    """At most `limit` of the views (F, M, 2) px, those that together determine the lens best.

    A view counts by what it says about the lens once its own pose is eliminated, which is where in the image and how tilted
    the board is: each next view is the one that raises the determinant of the information most (greedy D-optimal design,
    Fedorov 1972). `fit` is a first solution from a few spread views.
    """
    seen = [int(view) for view in np.flatnonzero(np.isfinite(views[..., 0]).any(1))]
    if len(seen) <= limit:
        return seen
    rows = [_information(views[view], board, fit) for view in seen]
    free = np.diag(fit.information.sum(0)) > 0
    gains = np.array(rows)[:, free][:, :, free]
    scale = np.sqrt(np.maximum(np.diag(gains.sum(0)), 1e-300))
    gains = gains / np.outer(scale, scale)
    total, chosen = 1e-6 * np.eye(len(scale)), []
    left = np.ones(len(seen), dtype=bool)
    for _ in range(limit):
        volume = np.where(left, np.linalg.slogdet(total + gains)[1], -np.inf)
        chosen.append(int(np.argmax(volume)))
        left[chosen[-1]] = False
        total = total + gains[chosen[-1]]
    return sorted(seen[place] for place in chosen)


def _information(xy_px: Array, board: Target, fit: LensFit) -> Array:
    poses = board_candidates(fit.camera, board, xy_px)
    if not poses:
        return np.zeros_like(fit.information[0])
    seen = np.isfinite(xy_px[:, 0])
    return view_information(fit.camera, poses[0].cam_from_board, board.corners_m[seen])


def coverage(views: Array, used: Sequence[int], fit: LensFit) -> Coverage:
    """What the views `used` of corners (F, M, 2) px show, and what to film to improve."""
    xy = views[list(used)].reshape(-1, 2)
    place = (xy[np.isfinite(xy[:, 0])] + 0.5) / np.array(fit.camera.size_wh)
    share = float(len(np.unique(_cells(place, CELLS), axis=0)) / CELLS**2)
    full = {tuple(cell) for cell in _cells(place, 3).tolist()}
    empty = tuple(_ninth(row, column) for row in range(3) for column in range(3) if (column, row) not in full)
    tilts = np.degrees(np.arccos(np.clip(np.abs(board_normals(fit.cam_from_board)[:, 2]), 0.0, 1.0)))
    low, high = float(tilts.min()), float(tilts.max())
    advice = [f"no corner in the {', '.join(empty)} ninth of the image: hold the board there"] if empty else []
    if high < GOOD_TILT_DEG:
        advice.append(f"no board is tilted by more than {high:.0f} degrees: tilt it by 20 to 45 to all four sides")
    return Coverage(share, empty, (low, high), tuple(advice))


def _cells(place: Array, count: int) -> NDArray[np.int64]:
    return np.clip((place * count).astype(np.int64), 0, count - 1)


def _ninth(row: int, column: int) -> str:
    return "middle" if row == column == 1 else f"{ROWS[row]} {COLUMNS[column]}"
