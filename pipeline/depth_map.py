"""Depth maps and masks of people from their joints: every limb a capsule, every head a ball, seen by a camera through a crop.

A condition for ControlNet's depth models, and what an inpainting may paint anew. Bodies are thicker than bones: radii are those
of an adult's limbs (half the mean widths of Drillis and Contini 1966), clothes included.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import minimum_filter

from calibration.camera import Camera
from models.skeleton import COCO17, Topology
from pipeline.conditions import Crop
from pipeline.types import Array

# From, to, radius at both ends in m. Beyond an ankle or wrist the last part goes on by a share of its length: foot and hand.
CAPSULES = (
    ("left_shoulder", "right_shoulder", 0.09, 0.09), ("left_hip", "right_hip", 0.12, 0.12),
    ("left_shoulder", "left_hip", 0.11, 0.12), ("right_shoulder", "right_hip", 0.11, 0.12),
    ("left_shoulder", "right_hip", 0.11, 0.11), ("right_shoulder", "left_hip", 0.11, 0.11),
    ("left_shoulder", "left_elbow", 0.065, 0.055), ("right_shoulder", "right_elbow", 0.065, 0.055),
    ("left_elbow", "left_wrist", 0.055, 0.045), ("right_elbow", "right_wrist", 0.055, 0.045),
    ("left_hip", "left_knee", 0.10, 0.075), ("right_hip", "right_knee", 0.10, 0.075),
    ("left_knee", "left_ankle", 0.075, 0.06), ("right_knee", "right_ankle", 0.075, 0.06),
)  # fmt: skip
BEYOND = {"wrist": 0.6, "ankle": 0.3}
HEAD = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
HEAD_M = 0.13
NEAREST_M = 0.1  # what is nearer to the camera is no scene
STEP = 0.4  # balls of a capsule stand this share of their radius apart


def depth_map(xyz_m: Array, camera: Camera, crop: Crop, background_m: Array | None = None) -> NDArray[np.uint8]:
    """Joints (P, J, 3) in the world, NaN where missing -> RGB uint8 (S, S, 3): nearest 255, twice as far 128, nothing 0.

    That is disparity, which ControlNet's depth models are trained on. background_m: depth (S, S) of the scene in m, infinite
    where it is not known, as a stereo pair measures it. Cost: one small window per ball, about 200 a person.
    """
    return as_disparity(body_depth_m(xyz_m, camera, crop), background_m)


def as_disparity(body_m: Array, background_m: Array | None = None) -> NDArray[np.uint8]:
    """Depths (S, S) in m of people and of what stands around them, infinite where nothing is, as an image (S, S, 3).

    The nearest person is 255, and so is whatever stands before all people: noise near the camera must not darken them.
    """
    scene_m = body_m if background_m is None else np.minimum(body_m, background_m)
    people = np.isfinite(body_m).any()
    nearest_m = float((body_m if people else scene_m).min(initial=np.inf))
    disparity = np.minimum(nearest_m / scene_m, 1.0) if np.isfinite(nearest_m) else np.zeros(scene_m.shape)
    return np.repeat(np.round(255 * disparity).astype(np.uint8)[..., None], 3, axis=2)


def person_mask(body_m: Array, margin: float = 0.04) -> NDArray[np.bool_]:
    """Where people may be (S, S): their depth widened by a share of the image's side, for hair, clothes and shadow edges."""
    radius_px = max(1, round(margin * len(body_m)))
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_px + 1, 2 * radius_px + 1))
    return np.asarray(cv2.dilate(np.isfinite(body_m).astype(np.uint8), disk), bool)


def body_depth_m(xyz_m: Array, camera: Camera, crop: Crop, topology: Topology = COCO17) -> Array:
    """Depth (S, S) along the camera's axis of the bodies of joints (P, J, 3); infinite where nobody is."""
    depth_m = np.full((crop.size_px, crop.size_px), np.inf)
    for joints_m in np.asarray(xyz_m, np.float64):
        centres_m, radii_m = _balls(joints_m, topology)
        seen_m = camera.cam_from_world.apply(centres_m)
        xy_px = crop.to_crop(camera.project(centres_m))
        px_per_m = float(camera.K[0, 0]) * crop.size_px / crop.side_px / np.maximum(seen_m[:, 2], 1e-9)
        for at_px, z_m, radius_m, scale in zip(xy_px, seen_m[:, 2], radii_m, px_per_m, strict=True):
            if np.isfinite(at_px).all() and z_m > radius_m:
                _draw_ball(depth_m, at_px, float(z_m), float(radius_m), float(scale))
    return depth_m


def seen_depth_m(points_m: Array, camera: Camera, crop: Crop) -> Array:
    """Depth (S, S) along the camera's axis of world points (N, 3), the nearest in each pixel; infinite where none is.

    Single pixels that no point falls into take the depth of their nearest neighbour: a cloud is thinner than an image.
    """
    size, flat_m = crop.size_px, np.full(crop.size_px**2, np.inf)
    z_m = camera.cam_from_world.apply(np.asarray(points_m, np.float64))[..., 2]
    xy_px = crop.to_crop(camera.project(points_m))
    column, row = np.round(np.nan_to_num(xy_px, nan=-1.0)).astype(int).T
    inside = (z_m > NEAREST_M) & (column >= 0) & (column < size) & (row >= 0) & (row < size)
    np.minimum.at(flat_m, row[inside] * size + column[inside], z_m[inside])
    depth_m = flat_m.reshape(size, size)
    around_m = minimum_filter(depth_m, 3)
    return np.where(np.isfinite(depth_m), depth_m, around_m)


def _balls(joints_m: Array, topology: Topology) -> tuple[Array, Array]:
    """Centres (N, 3) and radii (N,) of the balls that a person (J, 3) is made of."""
    at = {name: joints_m[topology.index(name)] for name in topology.joints}
    head = np.array([at[name] for name in HEAD])
    head = head[np.isfinite(head).all(1)]
    centres = [head.mean(0, keepdims=True)] if len(head) else []
    radii = [np.full(len(centres), HEAD_M)]
    for start, end, first_m, last_m in CAPSULES:
        a, b = at[start], at[end]
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            continue
        reach = 1 + BEYOND.get(end.split("_")[-1], 0.0)
        count = 2 + int(np.linalg.norm(b - a) * reach / (STEP * min(first_m, last_m)))
        along = np.linspace(0, reach, count)
        centres.append(a + along[:, None] * (b - a))
        radii.append(first_m + np.minimum(along, 1) * (last_m - first_m))
    return np.concatenate([np.zeros((0, 3)), *centres]), np.concatenate(radii)


def _draw_ball(depth_m: Array, at_px: Array, z_m: float, radius_m: float, px_per_m: float) -> None:
    """The nearer half of a ball: z - sqrt(r^2 - d^2), d the distance from its axis at its own depth."""
    size, reach_px = len(depth_m), radius_m * px_per_m
    left, top = np.clip(np.floor(at_px - reach_px).astype(int), 0, size)
    right, bottom = np.clip(np.ceil(at_px + reach_px).astype(int) + 1, 0, size)
    if left >= right or top >= bottom:
        return
    x, y = np.arange(left, right) - at_px[0], np.arange(top, bottom) - at_px[1]
    inside = radius_m**2 - (x[None] ** 2 + y[:, None] ** 2) / px_per_m**2
    front_m = np.where(inside >= 0, z_m - np.sqrt(np.maximum(inside, 0)), np.inf)
    window = depth_m[top:bottom, left:right]
    np.minimum(window, front_m, out=window)
