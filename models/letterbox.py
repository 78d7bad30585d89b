"""Letterboxing, written here and only here: images as network input, and maps back in the images' own pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample

from models.hourglass import STEM_STRIDE

Array = NDArray[Any]
PADDING = 114  # grey of the training crops' border


@dataclass(frozen=True)
class Letterbox:
    """How images (H, W) become network input: resized to `resized_wh`, padded right and below to `padded_wh`."""

    size_wh: tuple[int, int]
    resized_wh: tuple[int, int]
    padded_wh: tuple[int, int]

    @staticmethod
    def fit(size_wh: tuple[int, int], long_side_px: int, stride_px: int) -> Letterbox:
        """Longer side to `long_side_px`, then each side up to the next multiple of the network's stride: no square."""
        scale = long_side_px / max(size_wh)
        resized = (max(round(size_wh[0] * scale), 1), max(round(size_wh[1] * scale), 1))
        padded = (-(-resized[0] // stride_px) * stride_px, -(-resized[1] // stride_px) * stride_px)
        return Letterbox(size_wh, resized, padded)

    def apply(self, image: Array) -> Array:
        """(H, W, 3) uint8 -> (padded H, padded W, 3) uint8."""
        shrinks = self.resized_wh[0] < self.size_wh[0]
        mode = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        out = np.full((self.padded_wh[1], self.padded_wh[0], 3), PADDING, np.uint8)
        out[: self.resized_wh[1], : self.resized_wh[0]] = cv2.resize(image, self.resized_wh, interpolation=mode)
        return out

    def image_from_map(self, xy: Array) -> Array:
        """Heatmap pixels (..., 2) to the image's own pixels, by x -> (x + .5) * s - .5 per axis."""
        stride = np.array(self.size_wh, np.float64) / np.array(self.resized_wh) * STEM_STRIDE
        return ((xy + 0.5) * stride - 0.5).astype(np.float32)


def resampled(maps: Tensor, source: Letterbox, target: Letterbox) -> Tensor:
    """Maps (B, C, h, w) of one letterbox on the map of another, of the same images; bilinear."""
    if source == target:
        return maps
    axes = []
    for axis, side in ((1, maps.shape[-2]), (0, maps.shape[-1])):
        share = (torch.arange(target.padded_wh[axis] // STEM_STRIDE) + 0.5) / target.resized_wh[axis]
        axes.append(2 * share * source.resized_wh[axis] / side - 1)  # grid_sample's -1..1 over the whole map
    y, x = torch.meshgrid(*axes, indexing="ij")
    grid = torch.stack([x, y], -1).expand(len(maps), -1, -1, -1)
    return grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)
