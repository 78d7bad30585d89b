"""Peaks of heatmaps: where they are, the tags there, and their place below the pixel. Only pixels that matter are touched."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def find_peaks(heatmaps: Array, threshold: float) -> list[tuple[Array, Array]]:
    """Per joint of (J, H, W) the flat pixels and values of its local maxima (3x3) above the threshold, by pixel."""
    found = []
    kernel, highest = np.ones((3, 3), np.uint8), np.empty(heatmaps.shape[1:], heatmaps.dtype)
    for heatmap in heatmaps:
        cv2.dilate(heatmap, kernel, dst=highest)
        # A pixel that reaches both its neighbourhood and the threshold: the two comparisons in one pass.
        pixel = np.flatnonzero(heatmap >= np.maximum(highest, threshold, out=highest))
        score = heatmap.reshape(-1)[pixel]
        above = score > threshold
        found.append((pixel[above], score[above]))
    return found


def tags_at(tags: Array, pixels: list[Array]) -> list[NDArray[np.float64]]:
    """Per joint of (J, H, W, K) the tags (N, K) at flat pixels (N,): one gather in place, whatever the maps' layout."""
    count = [len(pixel) for pixel in pixels]
    y, x = np.divmod(np.concatenate(pixels), tags.shape[2])
    tag = tags[np.repeat(np.arange(len(pixels)), count), y, x].astype(np.float64)
    tag = tag if np.isfinite(tag).all() else np.nan_to_num(tag)
    return np.split(tag, np.cumsum(count)[:-1])


def refine_peaks(heatmaps: Array, pixel: Array) -> NDArray[np.float32]:
    """Sub-pixel places (P, J, 2) of flat pixels (P, J), NaN for -1.

    Parabola through the logarithm of three neighbours per axis: exact for a Gaussian. At most half a pixel.
    """
    joints, height, width = heatmaps.shape
    y, x = np.divmod(np.maximum(pixel, 0), width)
    j = np.broadcast_to(np.arange(joints), pixel.shape)
    left, right = np.maximum(x - 1, 0), np.minimum(x + 1, width - 1)
    above, below = np.maximum(y - 1, 0), np.minimum(y + 1, height - 1)
    cross = heatmaps[j, np.stack([y, y, y, above, below]), np.stack([x, left, right, x, x])]
    middle, *sides = np.log(np.maximum(cross, 1e-6))
    xy = np.stack([x + _vertex(sides[0], middle, sides[1]), y + _vertex(sides[2], middle, sides[3])], -1).astype(np.float32)
    xy[pixel < 0] = np.nan
    return xy


def _vertex(before: Array, at: Array, after: Array) -> Array:
    """Offset of the top of the parabola through three values, in -0.5..0.5; 0 where the middle is no maximum."""
    curve = before + after - 2 * at
    offset = np.where(curve < -1e-9, (before - after) / np.where(curve < -1e-9, 2 * curve, -1.0), 0.0)
    is_top = (at >= before) & (at >= after)
    return np.where(is_top, np.clip(offset, -0.5, 0.5), 0.0)
