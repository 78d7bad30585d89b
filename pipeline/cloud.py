"""Point clouds for Open3D."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    import open3d


def open3d_cloud(xyz_m: ArrayLike, rgb: ArrayLike | None = None) -> open3d.geometry.PointCloud:
    """Points (N, 3) in metres and, if given, their uint8 RGB (N, 3) as an Open3D point cloud. Raises ValueError on shapes."""
    import open3d  # 4 s

    points = np.asarray(xyz_m, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"open3d_cloud: expected points (N, 3), got {points.shape}")
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points))
    if rgb is not None:
        colours = np.asarray(rgb, dtype=np.float64) / 255.0
        if colours.shape != points.shape:
            raise ValueError(f"open3d_cloud: expected a colour per point {points.shape}, got {colours.shape}")
        cloud.colors = open3d.utility.Vector3dVector(colours)
    return cloud
