"""Backdrops of training views: a plain colour, or a strip of another photo in which nobody is labelled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.photos import Photo

Array = NDArray[Any]

LETTERBOX_GREY = 114  # the detector pads with it, so half of the plain backdrops have it
LEAST_SIDE_PX = 40  # a narrower strip shows nothing when it is enlarged


@dataclass(frozen=True)
class Backdrop:
    """What fills a view around its photo: image (h, w, 3) uint8, and the loss weight there."""

    image: Array
    weight: float


def plain_backdrop(rng: np.random.Generator, size_wh: tuple[int, int]) -> Backdrop:
    """One colour: certainly nobody."""
    colour = np.full(3, LETTERBOX_GREY) if rng.random() < 0.5 else rng.integers(0, 256, 3)
    return Backdrop(np.broadcast_to(colour.astype(np.uint8), (size_wh[1], size_wh[0], 3)).copy(), 1.0)


def photo_backdrop(rng: np.random.Generator, photo: Photo, weight: float, size_wh: tuple[int, int]) -> Backdrop | None:
    """A piece of a photo beside its people, scaled to cover the view; None when they leave no strip wide enough."""
    image = photo.image()
    left, top, right, bottom = _widest_strip(photo, image.shape[1], image.shape[0])
    if min(right - left, bottom - top) < LEAST_SIDE_PX:
        return None
    width = min(right - left, (bottom - top) * size_wh[0] / size_wh[1]) * rng.uniform(0.7, 1.0)
    height = width * size_wh[1] / size_wh[0]
    x, y = int(rng.uniform(left, right - width)), int(rng.uniform(top, bottom - height))
    piece = image[y : y + max(int(height), 1), x : x + max(int(width), 1)]
    mode = cv2.INTER_AREA if piece.shape[1] > size_wh[0] else cv2.INTER_LINEAR
    return Backdrop(cv2.resize(piece, size_wh, interpolation=mode), weight)


def _widest_strip(photo: Photo, width: int, height: int) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of the strip beside all known people whose shorter side is longest."""
    boxes = np.array([p.box for p in photo.people] + list(photo.ignore_boxes), np.float64).reshape(-1, 4)
    if not len(boxes):
        return (0, 0, width, height)
    margin = 0.1 * boxes[:, 2:].max()
    x0, y0 = np.maximum(boxes[:, :2].min(0) - margin, 0)
    x1, y1 = np.minimum((boxes[:, :2] + boxes[:, 2:]).max(0) + margin, (width, height))
    strips = [(0, 0, x0, height), (x1, 0, width, height), (0, 0, width, y0), (0, y1, width, height)]
    return max(strips, key=lambda s: min(s[2] - s[0], s[3] - s[1]))
