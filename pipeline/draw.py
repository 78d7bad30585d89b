"""Drawing people onto images, for eyes only: limbs coloured by side, so that a left-right swap is seen at a glance."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from models.skeleton import COCO17, Topology
from pipeline.types import Array

LEFT_RGB, RIGHT_RGB, MIDDLE_RGB = (255, 128, 0), (0, 170, 255), (120, 230, 120)  # the subject's own left and right


def draw_people(image: NDArray[np.uint8], xy_px: Array, topology: Topology = COCO17, width_px: int = 0) -> NDArray[np.uint8]:
    """A copy of an RGB image (H, W, 3) with people xy_px (P, J, 2) drawn; missing joints (NaN) and their limbs are left out.

    width_px: of the limbs; 0 takes a share of the image's size.
    """
    drawn = np.ascontiguousarray(image).copy()
    width = width_px or max(1, round(max(image.shape[:2]) / 250))
    for person in np.asarray(xy_px, dtype=np.float64):
        seen = np.isfinite(person).all(-1)
        ends = [_pixel(point) if known else (0, 0) for point, known in zip(person, seen, strict=True)]
        for a, b in topology.limbs:
            if seen[a] and seen[b]:
                cv2.line(drawn, ends[a], ends[b], limb_rgb(topology, a, b), width, cv2.LINE_AA)
        for joint in np.flatnonzero(seen).tolist():
            cv2.circle(drawn, ends[joint], width + 1, limb_rgb(topology, joint, joint), -1, cv2.LINE_AA)
    return drawn


def _pixel(point: Array) -> tuple[int, int]:
    x, y = np.clip(np.rint(point), -30_000, 30_000)  # OpenCV's drawing takes 16-bit coordinates
    return int(x), int(y)


def limb_rgb(topology: Topology, a: int, b: int) -> tuple[int, int, int]:
    """The colour of the limb between joints a and b: by the side of the body that both are on."""
    names = {topology.joints[a].split("_")[0], topology.joints[b].split("_")[0]}
    if names == {"left"}:
        return LEFT_RGB
    return RIGHT_RGB if names == {"right"} else MIDDLE_RGB
