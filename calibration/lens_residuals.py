"""What a lens leaves unexplained: residual vectors of the board corners it was solved from."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.board_set import Target
from calibration.camera import Camera
from calibration.planar import board_candidates, corners_seen, straighten
from calibration.transforms import Rigid

Array = NDArray[np.float64]


def lens_residuals_px(camera: Camera, board: Target, xy_px: Array) -> Array:
    """Projected minus seen (F, M, 2) px of corners (F, M, 2) px, every view with its own best board pose; NaN unseen.

    The camera's own pose plays no part. Views of too few corners to place the board are NaN as well.
    """
    still = camera.with_pose(Rigid.identity())
    out = np.full(xy_px.shape, np.nan)
    for view in np.flatnonzero(corners_seen(xy_px).any(1)):
        pose = _board_pose(still, board, xy_px[view])
        if pose is not None:
            out[view] = still.project(pose.apply(board.corners_m)) - xy_px[view]
    return out


def _board_pose(camera: Camera, board: Target, xy_px: Array) -> Rigid | None:
    """cam_from_board of corners (M, 2) px: the better planar solution, refined by least squares (Levenberg-Marquardt)."""
    candidates = board_candidates(camera, board, xy_px)
    if not candidates:
        return None
    seen, start = corners_seen(xy_px), candidates[0].cam_from_board
    focal = float(np.sqrt(camera.K[0, 0] * camera.K[1, 1]))
    flat, intrinsic = straighten(camera, xy_px[seen]), np.diag([focal, focal, 1.0])
    points_m = np.ascontiguousarray(board.corners_m[seen])
    rvec, t = cv2.solvePnPRefineLM(points_m, flat, intrinsic, np.zeros(5), start.rvec[:, None], start.t[:, None].copy())
    return Rigid.from_rvec(rvec.ravel(), t.ravel())
