"""Two calibrated cameras and one point: how far what they see is from belonging together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.camera import Camera

Array = NDArray[np.float64]


def essential(a: Camera, b: Camera) -> Array:
    """E (3, 3) with x_b' E x_a = 0 for normalised homogeneous coordinates of one point (Hartley and Zisserman 2004, 9.12)."""
    b_from_a = b.cam_from_world @ a.cam_from_world.inverse()
    return np.cross(b_from_a.t, b_from_a.R.T).T


def sampson(E: Array, xy_a: Array, xy_b: Array) -> tuple[Array, Array]:
    """Signed Sampson distance (...) of normalised points (..., 2) of two cameras, broadcast against each other, and its
    derivative (..., 2) by the point in b, the denominator held (Hartley and Zisserman 2004, 11.9); NaN stays NaN."""
    line_b = xy_a @ E[:, :2].T + E[:, 2]
    line_a = xy_b @ E[:2] + E[2]
    error = (xy_b * line_b[..., :2]).sum(-1) + line_b[..., 2]
    norm = np.sqrt((line_a[..., :2] ** 2).sum(-1) + (line_b[..., :2] ** 2).sum(-1))
    return error / norm, np.broadcast_to(line_b[..., :2], (*norm.shape, 2)) / norm[..., None]
