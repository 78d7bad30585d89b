"""Visibility joint by joint and vertex normals by np.cross, as the studio had them before they were made faster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.camera import Camera
from models.body import SEGMENTS
from models.skeleton import COCO17
from pipeline.visibility import _NEAREST_M, _OWN, _TOUCH_M, Surface

Array = NDArray[np.float64]


def seen(camera: Camera, joints_m: Array, surfaces: Sequence[Surface]) -> NDArray[np.bool_]:
    """(P, J) whether each COCO-17 joint (P, J, 3), world metres, has a free line of sight to the camera.

    Only occlusion counts; whether the joint lies inside the picture is another question.
    """
    free = np.ones(joints_m.shape[:2], dtype=bool)
    joints_cam = camera.cam_from_world.apply(joints_m)
    free &= joints_cam[..., 2] > 0
    for surface in surfaces:
        corners = camera.cam_from_world.apply(surface.xyz_m)
        flat = corners[:, :2] / np.maximum(corners[:, 2:], _NEAREST_M)
        faces = _between(surface.faces, corners, flat, joints_cam[free])
        low, high = _bounds(flat, faces)
        for person, joint in zip(*np.nonzero(free), strict=True):
            at = joints_cam[person, joint]
            hit = _crossed(flat, corners[:, 2], faces, low, high, at[:2] / at[2])
            own, thickness_m = _own(joint) if surface.owner == person else ([], 0.0)
            margin_m = np.where(np.isin(surface.part[faces[hit.face, 0]], own), thickness_m, _TOUCH_M)
            free[person, joint] = not (hit.depth_m < at[2] - margin_m).any()
    return free


@dataclass(frozen=True, eq=False)
class _Hits:
    face: NDArray[np.int64]
    depth_m: Array


def _between(faces: NDArray[np.int64], corners: Array, flat: Array, joints_cam: Array) -> NDArray[np.int64]:
    """The triangles (T, 3) that may lie before any of the joints (N, 3): in front of the camera, and where joints are."""
    if not len(joints_cam):
        return faces[:0]
    rays = joints_cam[:, :2] / joints_cam[:, 2:]
    # A triangle that reaches a ray has a corner on either side of it, so corners are sorted before triangles are.
    beyond = np.stack([flat < rays.min(0), flat > rays.max(0)], axis=-1).reshape(-1, 4)
    code = beyond @ np.array([1, 2, 4, 8], dtype=np.uint8)
    ahead = corners[:, 2] > _NEAREST_M
    a, b, c = faces.T
    return faces[((code[a] & code[b] & code[c]) == 0) & ahead[a] & ahead[b] & ahead[c]]


def _bounds(flat: Array, faces: NDArray[np.int64]) -> tuple[Array, Array]:
    a, b, c = flat[faces[:, 0]], flat[faces[:, 1]], flat[faces[:, 2]]
    return np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)


def _crossed(flat: Array, depth_m: Array, faces: NDArray[np.int64], low: Array, high: Array, ray: Array) -> _Hits:
    """Triangles that a ray (x/z, y/z) of the camera crosses, and how deep. 1/z is linear in the picture plane."""
    inside = (low[:, 0] <= ray[0]) & (ray[0] <= high[:, 0])
    face = np.flatnonzero(inside)
    face = face[(low[face, 1] <= ray[1]) & (ray[1] <= high[face, 1])]
    a, b, c = (flat[faces[face, k]] for k in range(3))
    area = _cross(b - a, c - a)
    safe = np.where(np.abs(area) > 1e-15, area, np.inf)
    share = np.stack([_cross(b - ray, c - ray), _cross(c - ray, a - ray), _cross(a - ray, b - ray)], axis=1) / safe[:, None]
    within = (share >= 0).all(1) & np.isfinite(safe)
    depth = 1 / (share[within] / depth_m[faces[face[within]]]).sum(1)
    return _Hits(face[within], depth)


def _cross(a: Array, b: Array) -> Array:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _own(joint: int) -> tuple[list[int], float]:
    side, _, name = COCO17.joints[joint].rpartition("_")
    segments, thickness_m = _OWN[name]
    return [SEGMENTS.index(segment.format(side=side)) for segment in segments], thickness_m


def vertex_normals(xyz_m: Array, faces: NDArray[np.int64]) -> Array:
    """Unit normals (N, 3), averaged over triangles by area."""
    a, b, c = (xyz_m[faces[:, k]] for k in range(3))
    across = np.cross(b - a, c - a)
    corner, weight = faces.ravel(), np.repeat(across, 3, axis=0)
    total = np.stack([np.bincount(corner, weight[:, axis], len(xyz_m)) for axis in range(3)], axis=1)
    return np.asarray(total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12))
