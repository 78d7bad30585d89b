"""Joints against what a stereo pair measured: a joint lies inside a body, so no surface can be seen behind it along its line of
sight. A surface in front of it proves nothing, for things hide people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from calibration.camera import Camera
from calibration.rig import Rig
from pipeline.types import Array, Artefact

# Points of a surface within this distance of a joint across its line of sight count, and at least so many must.
AROUND_M, LEAST_POINTS = 0.03, 5
# At the edge of a body most of them may lie on the wall behind it: the surface is the nearer part.
NEARER = 0.2
# Joints that the pair can judge, and the share of them in mid-air, that make a skeleton a ghost: a few may be at fault alone.
LEAST_JOINTS, SHARE = 4, 0.5


@dataclass(frozen=True)
class Floating:
    """What a pair says of a skeleton: joints judged, those in front of any surface by more than allowed, and by how much in
    the median, in m."""

    pair: str
    judged: int
    floating: int
    median_m: float

    @property
    def ghost(self) -> bool:
        """Whether the skeleton stands where the pair sees through."""
        return self.judged >= LEAST_JOINTS and self.floating > SHARE * self.judged


class DepthMaps:
    """The point clouds of a clip's stereo pairs by instant."""

    def __init__(self, rig: Rig, pairs: Iterable[tuple[str, Path]]) -> None:
        """pairs: name `left-right` of a pair, and the folder of its clouds, files named by t_ns."""
        self._rig = rig
        self._clouds = {(name, int(file.stem)): file for name, folder in pairs for file in sorted(folder.glob("*.ply"))}
        self._names = sorted({name for name, _ in self._clouds})

    @classmethod
    def of(cls, rig: Rig, rectified: Iterable[Artefact]) -> DepthMaps:
        """Of the artefacts of the rectify stage."""
        return cls(rig, ((artefact.summary["pair"], artefact.path / "clouds") for artefact in rectified))

    def floating(self, t_ns: int, xyz_m: Array, allowed_m: float) -> Iterator[Floating]:
        """What each pair with a cloud at that instant says of joints (J, 3), which may be allowed_m in front of a surface."""
        for name in self._names:
            if (name, t_ns) in self._clouds:
                behind = behind_m(self._rig[name.split("-")[0]], self._points(name, t_ns), xyz_m)
                away = behind[np.isfinite(behind)]
                in_air = away[away < -allowed_m]
                yield Floating(name, len(away), len(in_air), float(-np.median(in_air)) if len(in_air) else 0.0)

    def _points(self, name: str, t_ns: int) -> Array:
        import open3d  # 4 s

        return np.asarray(open3d.io.read_point_cloud(self._clouds[name, t_ns]).points)


def behind_m(camera: Camera, points_m: Array, xyz_m: Array) -> Array:
    """(J,) how far joints (J, 3) lie behind the surface points (N, 3) that a camera sees around them, in m along its axis;
    negative in front, NaN for joints that are not known, not seen or without a surface."""
    out = np.full(len(xyz_m), np.nan)
    seen, joints = camera.cam_from_world.apply(points_m), camera.cam_from_world.apply(xyz_m)
    seen = seen[seen[:, 2] > 0.1]
    if not len(seen):
        return out
    tree = cKDTree(seen[:, :2] / seen[:, 2:])
    for j in np.flatnonzero(np.isfinite(joints).all(-1) & (joints[:, 2] > 0.1)):
        near = tree.query_ball_point(joints[j, :2] / joints[j, 2], AROUND_M / joints[j, 2])
        if len(near) >= LEAST_POINTS:
            out[j] = joints[j, 2] - np.quantile(seen[near, 2], NEARER)
    return out
