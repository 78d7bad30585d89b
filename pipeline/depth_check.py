"""Joints against what a stereo pair measured: a joint lies inside a body, so no surface can be seen behind it along its line of
sight. A surface in front of it proves nothing, for things hide people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from calibration.camera import Camera
from calibration.rig import Rig
from pipeline.clip_rig import clip_rig
from pipeline.store import Ref
from pipeline.types import Array

# Points of a surface within this distance of a joint across its line of sight count, and at least so many must.
AROUND_M, LEAST_POINTS = 0.03, 5
# At the edge of a body most of them may lie on the wall behind it: the surface is the nearer part.
NEARER = 0.2
# Joints that the pair can judge, and the share of them in mid-air, that make a skeleton a ghost: a few may be at fault alone.
LEAST_JOINTS, SHARE = 4, 0.5
# What is nearer to the camera than this is no room.
NEAREST_M = 0.1


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

    def __init__(self, rig: Rig, folders: Mapping[tuple[str, str], Path]) -> None:
        """folders: of each pair (left, right) the folder of its clouds, files named by t_ns."""
        self._rig = rig
        self._clouds = {(pair, int(file.stem)): file for pair, folder in folders.items() for file in folder.glob("*.ply")}
        self._pairs = sorted(folders)
        self._surfaces: tuple[int, dict[tuple[str, str], Surface]] = (-1, {})

    def floating(self, t_ns: int, xyz_m: Array, allowed_m: float) -> Iterator[Floating]:
        """What each pair with a cloud at that instant says of joints (J, 3), which may be allowed_m in front of a surface."""
        for pair, surface in self._at(t_ns).items():
            behind_m = surface.behind_m(xyz_m)
            away = behind_m[np.isfinite(behind_m)]
            in_air = away[away < -allowed_m]
            yield Floating("-".join(pair), len(away), len(in_air), float(-np.median(in_air)) if len(in_air) else 0.0)

    def points_m(self, t_ns: int, camera: str) -> Array | None:
        """World points (N, 3) that the pairs of a camera measured at that instant; None where there are none.

        What a pair sees has holes that show from elsewhere, so other cameras are not told.
        """
        pairs = [pair for pair in self._pairs if camera in pair and (pair, t_ns) in self._clouds]
        return np.concatenate([_cloud(self._clouds[pair, t_ns]) for pair in pairs]) if pairs else None

    def _at(self, t_ns: int) -> dict[tuple[str, str], Surface]:
        """The surfaces of an instant, read once for all its people."""
        if self._surfaces[0] != t_ns:
            there = [pair for pair in self._pairs if (pair, t_ns) in self._clouds]
            self._surfaces = t_ns, {pair: self._read(pair, t_ns) for pair in there}
        return self._surfaces[1]

    def _read(self, pair: tuple[str, str], t_ns: int) -> Surface:
        return Surface(self._rig[pair[0]], _cloud(self._clouds[pair, t_ns]))


def depth_maps(ref: Ref) -> DepthMaps | None:
    """What the stereo pairs of a clip measured; None where nothing was rectified."""
    folders = {tuple(made.summary["pair"]): made.path / "clouds" for made in ref.all("rectify")}
    return DepthMaps(clip_rig(ref, {left: None for left, _ in folders}), folders) if folders else None


@lru_cache(maxsize=2)
def _cloud(path: Path) -> Array:
    """The points of a cloud (N, 3); both cameras of a pair ask for the same, one after the other."""
    import open3d  # 4 s

    return np.asarray(open3d.io.read_point_cloud(path).points)


class Surface:
    """World points (N, 3) that a camera sees, to be asked along its lines of sight."""

    def __init__(self, camera: Camera, points_m: Array) -> None:
        self._camera = camera
        seen_m = camera.cam_from_world.apply(points_m)
        self._seen_m = seen_m[seen_m[:, 2] > NEAREST_M]
        self._tree = cKDTree(self._seen_m[:, :2] / self._seen_m[:, 2:])

    def behind_m(self, xyz_m: Array) -> Array:
        """(J,) how far joints (J, 3) lie behind the points around them, in m along the camera's axis; negative in front, NaN
        for joints that are not known, not seen or without points around them."""
        out, joints_m = np.full(len(xyz_m), np.nan), self._camera.cam_from_world.apply(xyz_m)
        for j in np.flatnonzero(joints_m[:, 2] > NEAREST_M):  # False for NaN
            depth_m = joints_m[j, 2]
            near = self._tree.query_ball_point(joints_m[j, :2] / depth_m, AROUND_M / depth_m)
            if len(near) >= LEAST_POINTS:
                out[j] = depth_m - np.quantile(self._seen_m[near, 2], NEARER)
        return out
