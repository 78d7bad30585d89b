"""What a generator is told to draw: OpenPose-coloured pose maps, and the square around the people they are drawn in."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.transforms import scale_px
from models.skeleton import COCO17, Topology
from pipeline.types import Array

# OpenPose's 18 keypoints in their own order, by COCO name; the neck is the middle of the shoulders.
OPENPOSE18 = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist", "right_hip",
    "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye", "left_eye", "right_ear", "left_ear",
)  # fmt: skip

# Limbs and colours as ControlNet's annotator draws them (`annotator/openpose/util.py`, draw_bodypose): 17 limbs, 18 colours.
LIMBS18 = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0), (0, 14),
    (14, 16), (0, 15), (15, 17),
)  # fmt: skip
COLOURS18 = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85),
    (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255),
    (255, 0, 170), (255, 0, 85),
)  # fmt: skip
LIMB_SHADE = 0.6  # limbs are drawn at 0.6 of their colour, joints at full colour
RADIUS_AT_512 = 4.0  # half the width of a limb and radius of a joint, in px of a 512 px image
MIN_RADIUS_PX = 1.0  # thinner than this a limb breaks up
JOINT_LIFT_M = 0.05  # a joint is drawn over its own limbs, as if it stood this much nearer

_SUBPIXEL_BITS = 4  # OpenCV draws at 1/16 px


@dataclass(frozen=True)
class Crop:
    """A square of an image, resized: its first pixel's centre x0_px, y0_px and its side_px in the source, size_px after."""

    x0_px: float
    y0_px: float
    side_px: float
    size_px: int

    def to_crop(self, xy_px: Array) -> Array:
        """Source pixels (..., 2) to pixels of the resized square (..., 2)."""
        return scale_px(np.asarray(xy_px) - (self.x0_px, self.y0_px), self.size_px / self.side_px)

    def to_source(self, xy_px: Array) -> Array:
        """Pixels of the resized square (..., 2) back to source pixels (..., 2)."""
        return scale_px(xy_px, self.side_px / self.size_px) + (self.x0_px, self.y0_px)

    def cut(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The square (size_px, size_px, 3) of an RGB image (H, W, 3); beyond the border the border pixels go on."""
        scale = self.side_px / self.size_px
        # a pixel of the square looks at the source position of its own centre (the rule of scale_px)
        source_from_crop = np.array([[scale, 0, scale * 0.5 - 0.5 + self.x0_px], [0, scale, scale * 0.5 - 0.5 + self.y0_px]])
        kind = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        if scale > 1:  # shrinking: blur first by as much, so that fine texture does not alias
            sigma_px = min(0.4 * scale, max(image.shape[:2]))  # as wide as the image there is nothing left of it to blur
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px), np.uint8)
        size = (self.size_px, self.size_px)
        return np.asarray(cv2.warpAffine(image, source_from_crop, size, flags=kind, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def square_around(xy_px: Array, size_px: int, margin: float = 0.2) -> Crop | None:
    """The square around all joints (..., 2) that are not NaN, widened by `margin` of their extent all around; or None."""
    points = np.asarray(xy_px, dtype=np.float64).reshape(-1, 2)
    points = points[np.isfinite(points).all(1)]
    if len(points) == 0:
        return None
    low, high = points.min(0), points.max(0)
    side = max(float((high - low).max()) * (1 + 2 * margin), 8.0)  # 8 px: a single joint still gives a square
    x0, y0 = (low + high) / 2 - side / 2 + 0.5
    return Crop(float(x0), float(y0), side, size_px)


def pose_map(
    xy_px: Array, size_wh: tuple[int, int], depth_m: Array | None = None, topology: Topology = COCO17
) -> NDArray[np.uint8]:
    """Joints (P, J, 2) in px, NaN where missing -> RGB uint8 (H, W, 3) on black, as ControlNet's OpenPose models expect it.

    depth_m (P, J), distance along the camera's axis: what is nearer is drawn over what is farther, over all people. Without it
    people are drawn in order, limbs first, as the annotator does.
    """
    canvas = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    radius_px = max(MIN_RADIUS_PX, RADIUS_AT_512 * max(size_wh) / 512)
    joints, depths = _openpose18(xy_px, depth_m, topology)
    for person, part in _drawing_order(joints, depths):
        if part < len(LIMBS18):
            start, end = LIMBS18[part]
            _draw_limb(canvas, joints[person, start], joints[person, end], radius_px, COLOURS18[part])
        else:
            _draw_joint(canvas, joints[person, part - len(LIMBS18)], radius_px, COLOURS18[part - len(LIMBS18)])
    return canvas


def _openpose18(xy_px: Array, depth_m: Array | None, topology: Topology) -> tuple[Array, Array]:
    """(P, 18, 2) px and (P, 18) m in OpenPose's order; without depths they are the person's number, the last on top."""
    xy = np.asarray(xy_px, dtype=np.float64)
    people = len(xy)
    depth = np.repeat(-np.arange(people, dtype=np.float64)[:, None], len(topology), 1) if depth_m is None else depth_m
    values = np.concatenate([xy, np.asarray(depth, dtype=np.float64)[..., None]], -1)
    neck = values[:, [topology.index("left_shoulder"), topology.index("right_shoulder")]].mean(1)
    columns = [neck if name == "neck" else values[:, topology.index(name)] for name in OPENPOSE18]
    joined = np.stack(columns, 1) if people else np.zeros((0, len(OPENPOSE18), 3))
    return joined[..., :2], joined[..., 2]


def _drawing_order(joints: Array, depths: Array) -> list[tuple[int, int]]:
    """(person, part) from far to near; parts 0..16 are limbs, 17..34 joints. Parts with a missing end are left out."""
    parts = []
    for person in range(len(joints)):
        there = np.isfinite(joints[person]).all(1)
        for part, (start, end) in enumerate(LIMBS18):
            if there[start] and there[end]:
                parts.append((-depths[person, [start, end]].mean(), person, part))
        for joint in np.flatnonzero(there):
            parts.append((-depths[person, joint] + JOINT_LIFT_M, person, len(LIMBS18) + int(joint)))
    return [(person, part) for _, person, part in sorted(parts)]


def _draw_limb(canvas: NDArray[np.uint8], a_px: Array, b_px: Array, radius_px: float, colour: tuple[int, int, int]) -> None:
    """An ellipse whose long axis is the limb."""
    turn = np.linspace(0, 2 * np.pi, 37)[:-1, None]
    along = (b_px - a_px) / 2
    across = np.array([-along[1], along[0]]) / max(float(np.hypot(*along)), 1e-9) * radius_px
    outline = (a_px + b_px) / 2 + np.cos(turn) * along + np.sin(turn) * across
    shade = [int(c * LIMB_SHADE) for c in colour]
    cv2.fillConvexPoly(canvas, _subpixels(outline), shade, cv2.LINE_AA, _SUBPIXEL_BITS)


def _draw_joint(canvas: NDArray[np.uint8], at_px: Array, radius_px: float, colour: tuple[int, int, int]) -> None:
    x, y = (int(v) for v in _subpixels(at_px))
    cv2.circle(canvas, (x, y), int(round(radius_px * 2**_SUBPIXEL_BITS)), colour, -1, cv2.LINE_AA, _SUBPIXEL_BITS)


def _subpixels(xy_px: Array) -> NDArray[np.int32]:
    # points far outside would overflow OpenCV's fixed point
    return np.round(np.clip(xy_px, -4096, 16384) * 2**_SUBPIXEL_BITS).astype(np.int32)
