"""Where in its picture each camera has seen the board, and where to film it next."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from calibration.board_set import Target, find_views
from pipeline.probe import Image

ROWS, COLUMNS = 6, 8
# Pixels: the board is looked for in a picture of this size; its corners need not be exact.
SEARCH_SIDE_PX = 960
# Looks with corners in a cell after which it is full.
FULL = 3
# The picture in thirds, as one would say it to somebody.
_PLACES = np.array(
    [
        ["the top left", "the top", "the top right"],
        ["the left", "the middle", "the right"],
        ["the bottom left", "the bottom", "the bottom right"],
    ]
)


class Coverage:
    """How often the board's corners were seen in each cell of a camera's picture."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self.seen = np.zeros((ROWS, COLUMNS), np.int64)

    def look(self, image: Image) -> bool:
        """Look for the board in an RGB image (H, W, 3) and count the cells its corners are in; whether it was seen."""
        scale = min(1.0, SEARCH_SIDE_PX / max(image.shape[:2]))
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
        views = find_views(self._target, small.astype(np.uint8, copy=False))
        corners = views.reshape(-1, 2)[np.isfinite(views).all(-1).reshape(-1)]
        cells = np.zeros_like(self.seen, bool)
        share = (corners + 0.5) / (small.shape[1], small.shape[0])
        columns, rows = (np.clip(share * (COLUMNS, ROWS), 0, (COLUMNS - 1, ROWS - 1))).astype(int).T
        cells[rows, columns] = True
        self.seen += cells
        return len(corners) > 0

    @property
    def share(self) -> float:
        """Share of the picture in which the board was seen often enough."""
        return float((self.seen >= FULL).mean())

    def drawn(self, image: Image) -> Image:
        """The image with covered cells in green, the fuller the stronger."""
        height, width = image.shape[:2]
        heat = cv2.resize(np.minimum(self.seen / FULL, 1).astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST)
        green = np.zeros_like(image)
        green[..., 1] = 255
        weight = 0.35 * heat[..., None]
        return (image * (1 - weight) + green * weight).astype(np.uint8)

    def emptiest(self) -> tuple[str, float]:
        """The third of the picture, across and down, in which the board was seen least, and how full it is, 0 to 1."""
        full = np.minimum(self.seen / FULL, 1)
        thirds = cv2.resize(full, (_PLACES.shape[1], _PLACES.shape[0]), interpolation=cv2.INTER_AREA)
        at = np.unravel_index(int(thirds.argmin()), thirds.shape)
        return str(_PLACES[at]), float(thirds[at])


def where_next(cameras: Mapping[str, Coverage]) -> str:
    """One sentence: the camera and the part of its picture where the board should be filmed next; "" without cameras."""
    if not cameras:
        return ""
    unseen = [camera for camera, coverage in cameras.items() if not coverage.seen.any()]
    if unseen:
        return f"{unseen[0]} has not seen the board yet: film it there next"
    camera = min(cameras, key=lambda name: (cameras[name].emptiest()[1], cameras[name].share))
    place, full = cameras[camera].emptiest()
    if full > 0.5:
        return "the board has been seen all over every picture; tilt it, bring it near and far, then stop"
    return f"film the board at {place} of {camera} next"
