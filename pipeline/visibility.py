"""Which joints of virtual people a camera really sees: exact rays against every surface, not a sampled depth buffer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.camera import Camera
from models.body import SEGMENTS
from models.skeleton import COCO17

Array = NDArray[np.float64]

# Joints lie inside the body. A joint counts as seen when nothing lies in front of it but its own skin and clothes, no
# further in front than the body is thick there: joint -> (segments that are its own, thickness in metres).
_OWN: dict[str, tuple[tuple[str, ...], float]] = {
    "nose": (("head",), 0.03), "eye": (("head",), 0.03), "ear": (("head",), 0.035),
    "shoulder": (("chest", "neck", "{side}_upper_arm"), 0.13), "elbow": (("{side}_upper_arm", "{side}_forearm"), 0.08),
    "wrist": (("{side}_forearm",), 0.07), "hip": (("pelvis", "waist", "{side}_thigh"), 0.18),
    "knee": (("{side}_thigh", "{side}_shin"), 0.11), "ankle": (("{side}_shin", "{side}_foot"), 0.09),
}  # fmt: skip
# Another surface this close in front of a joint touches it rather than hides it.
_TOUCH_M = 0.005
# What is nearer to the camera than this, or behind it, hides nothing.
_NEAREST_M = 0.05


@dataclass(frozen=True, eq=False)
class Surface:
    """Triangles that can hide joints: xyz_m (N, 3) world, faces (T, 3); owner: person index, or -1 for things; part (N,)
    index into SEGMENTS, unused for things."""

    xyz_m: Array
    faces: NDArray[np.int64]
    owner: int
    part: NDArray[np.int64]


def seen(camera: Camera, joints_m: Array, surfaces: Sequence[Surface]) -> NDArray[np.bool_]:
    """(P, J) whether each COCO-17 joint (P, J, 3), world metres, has a free line of sight to the camera.

    Only occlusion counts; whether the joint lies inside the picture is another question.
    """
    joints_cam = camera.cam_from_world.apply(joints_m)
    free = np.asarray(joints_cam[..., 2] > 0)
    for surface in surfaces:
        person, joint = np.nonzero(free)
        if not len(person):
            break
        at = joints_cam[person, joint]
        hits = _crossed(camera.cam_from_world.apply(surface.xyz_m), surface.faces, at[:, :2] / at[:, 2:])
        mine = person[hits.ray] == surface.owner
        part = surface.part[surface.faces[hits.face, 0]]
        margin_m = np.where(mine, _MARGIN_M[joint[hits.ray], np.where(mine, part, 0)], _TOUCH_M)
        hidden = hits.ray[hits.depth_m < at[hits.ray, 2] - margin_m]
        free[person[hidden], joint[hidden]] = False
    return free


@dataclass(frozen=True, eq=False)
class _Hits:
    """Where rays cross triangles: indices of both (H,), and the depth z there."""

    ray: NDArray[np.int64]
    face: NDArray[np.int64]
    depth_m: Array


def _crossed(corners: Array, faces: NDArray[np.int64], rays: Array) -> _Hits:
    """Triangles before the camera that rays (N, 2: x/z, y/z) cross. 1/z is linear in the picture plane."""
    flat = corners[:, :2] / np.maximum(corners[:, 2:], _NEAREST_M)
    near = _near_rays(flat, corners[:, 2] > _NEAREST_M, faces, rays)
    a, b, c = (flat[faces[near, k]] for k in range(3))
    low, high = np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)
    x, y = rays[:, :1], rays[:, 1:]
    within = (low[:, 0] <= x) & (x <= high[:, 0]) & (low[:, 1] <= y) & (y <= high[:, 1])
    ray, at = np.nonzero(within)
    a, b, c, to = a[at], b[at], c[at], rays[ray]
    area = _cross(b - a, c - a)
    safe = np.where(np.abs(area) > 1e-15, area, np.inf)
    share = np.stack([_cross(b - to, c - to), _cross(c - to, a - to), _cross(a - to, b - to)], axis=1) / safe[:, None]
    crossed = (share >= 0).all(1) & np.isfinite(safe)
    face = near[at[crossed]]
    return _Hits(ray[crossed], face, 1 / (share[crossed] / corners[faces[face], 2]).sum(1))


def _near_rays(flat: Array, ahead: NDArray[np.bool_], faces: NDArray[np.int64], rays: Array) -> NDArray[np.int64]:
    """Indices of the triangles with a ray (N, 2) between their corners in x and another in y: few, as triangles are small."""
    near = np.arange(len(faces))
    corners = np.ascontiguousarray(faces.T)
    if not ahead.all():
        near = np.flatnonzero(ahead[corners].all(0))
    for axis in range(2):
        line = np.sort(rays[:, axis])
        # Small numbers: gathering them by triangle is most of the work.
        before, reached = (np.searchsorted(line, flat[:, axis], side).astype(np.int16) for side in ("left", "right"))
        a, b, c = corners[:, near]
        first = np.minimum(np.minimum(before[a], before[b]), before[c])
        near = near[first < np.maximum(np.maximum(reached[a], reached[b]), reached[c])]
    return near


def _cross(a: Array, b: Array) -> Array:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _margins_m() -> Array:
    """(J, S) how far in front of a joint each segment of the same person may lie without hiding it."""
    out = np.full((len(COCO17), len(SEGMENTS)), _TOUCH_M)
    for joint, label in enumerate(COCO17.joints):
        side, _, name = label.rpartition("_")
        segments, thickness_m = _OWN[name]
        out[joint, [SEGMENTS.index(segment.format(side=side)) for segment in segments]] = thickness_m
    return out


_MARGIN_M = _margins_m()
