"""Cameras and skeletons as Open3D geometry, and a window that steps through a clip."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibration.rig import Rig
from models.skeleton import COCO17, Topology
from pipeline.draw import limb_rgb
from pipeline.errors import StageError
from pipeline.types import Array, Skeletons3D

if TYPE_CHECKING:
    import open3d

# Depth at which a camera's picture is drawn.
FRUSTUM_M = 0.3
CAMERA_RGB, FLOOR_RGB = (0.0, 0.35, 0.8), (0.75, 0.75, 0.75)
FLOOR_M, KEY_RIGHT, KEY_LEFT = 4, 262, 263  # GLFW's codes of the arrow keys


def camera_lines(rig: Rig, depth_m: float = FRUSTUM_M) -> open3d.geometry.LineSet:
    """A pyramid for each camera: from its centre to the corners of its picture, depth_m in front of it."""
    edges = [(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (2, 3), (3, 4), (4, 1)]
    points, lines = [], []
    for k, camera in enumerate(rig.cameras):
        width, height = camera.size_wh
        corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], dtype=np.float64)
        rays = np.column_stack([(corners - camera.K[:2, 2]) / np.diag(camera.K)[:2], np.ones(4)]) * depth_m
        points.append(camera.cam_from_world.inverse().apply(np.concatenate([np.zeros((1, 3)), rays])))
        lines.append(np.array(edges) + 5 * k)
    return line_set(np.concatenate(points), np.concatenate(lines), np.tile(CAMERA_RGB, (8 * len(rig), 1)))


def skeleton_lines(people: Skeletons3D, topology: Topology = COCO17) -> open3d.geometry.LineSet:
    """The limbs of everybody whose ends are known, left and right in the colours of the overlays; smoothed joints where there
    are any."""
    joints_m = people.xyz_m if people.smooth_m is None else people.smooth_m
    limbs = np.array(topology.limbs)
    known = np.asarray(np.isfinite(joints_m).all(-1))
    person, limb = np.nonzero(known[:, limbs[:, 0]] & known[:, limbs[:, 1]])
    rgb = np.array([limb_rgb(topology, a, b) for a, b in topology.limbs]) / 255.0
    lines = limbs[limb] + person[:, None] * len(topology)
    return line_set(np.nan_to_num(joints_m.reshape(-1, 3)), lines, rgb[limb])


def floor_lines(half_m: int = FLOOR_M) -> open3d.geometry.LineSet:
    """A grid of metres at z = 0."""
    at, end = np.arange(-half_m, half_m + 1.0), np.full(2 * half_m + 1, float(half_m))
    ends = [np.column_stack([a, b, np.zeros(len(at))]) for a, b in ((at, -end), (at, end), (-end, at), (end, at))]
    points = np.concatenate([np.stack(ends[:2], 1).reshape(-1, 3), np.stack(ends[2:], 1).reshape(-1, 3)])
    return line_set(points, np.arange(len(points)).reshape(-1, 2), np.tile(FLOOR_RGB, (len(points) // 2, 1)))


def line_set(xyz_m: Array, lines: NDArray[np.int64], rgb: Array) -> open3d.geometry.LineSet:
    """Lines (L, 2) between points (N, 3) in their colours (L, 3) in 0..1."""
    import open3d  # 4 s

    made = open3d.geometry.LineSet()
    made.points = open3d.utility.Vector3dVector(np.asarray(xyz_m, dtype=np.float64).reshape(-1, 3))
    made.lines = open3d.utility.Vector2iVector(np.asarray(lines, dtype=np.int32).reshape(-1, 2))
    made.colors = open3d.utility.Vector3dVector(np.asarray(rgb, dtype=np.float64).reshape(-1, 3))
    return made


def has_display() -> bool:
    """Whether windows can be opened: on Linux, whether there is an X server or a Wayland compositor to ask."""
    return not sys.platform.startswith("linux") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def show(rig: Rig, instants: Sequence[Skeletons3D], title: str) -> None:
    """A window with cameras and floor; the arrow keys step through the instants. Raises StageError without a display."""
    import open3d

    window = open3d.visualization.VisualizerWithKeyCallback()
    # Without a display Open3D draws where nobody sees it, and waits for keys that never come.
    if not has_display() or not window.create_window(title):
        raise StageError("no window can be opened here; `posemill export SESSION OUT --format html` makes a page instead")
    shown, at = skeleton_lines(instants[0]), [0]
    for geometry in (camera_lines(rig), floor_lines(), shown):
        window.add_geometry(geometry)

    def step(by: int) -> Any:
        def turn(view: Any) -> bool:
            at[0] = int(np.clip(at[0] + by, 0, len(instants) - 1))
            new = skeleton_lines(instants[at[0]])
            shown.points, shown.lines, shown.colors = new.points, new.lines, new.colors
            view.update_geometry(shown)
            return False

        return turn

    window.register_key_callback(KEY_RIGHT, step(1))
    window.register_key_callback(KEY_LEFT, step(-1))
    window.run()
    window.destroy_window()
