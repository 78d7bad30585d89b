"""Views of a board that fill the image of a lens, for tests of lenses."""

from __future__ import annotations

import numpy as np

from calibration.board import Board
from calibration.camera import Camera
from calibration.transforms import Rigid


def filling_views(camera: Camera, board: Board, count: int, noise_px: float, seed: int) -> np.ndarray:
    """Corners (count, M, 2) px of boards all over the image, facing the camera within 0.6 rad per axis."""
    rng = np.random.default_rng(seed)
    middle = Rigid(np.eye(3), -board.corners_m.mean(0))
    size, views = np.array(camera.size_wh), []
    while len(views) < count:
        ray = np.append(camera.undistort(rng.uniform(0.05 * size, 0.95 * size)[None])[0], 1.0)
        if np.isfinite(ray).all():
            ray /= np.linalg.norm(ray)
            across = np.cross([0.0, 0.0, 1.0], ray)
            face = across / max(np.linalg.norm(across), 1e-9) * np.arccos(ray[2])
            turned = Rigid.from_rvec(face, np.zeros(3)).R @ Rigid.from_rvec(rng.uniform(-0.6, 0.6, 3), np.zeros(3)).R
            pose = Rigid(turned, ray * rng.uniform(0.25, 0.6) * camera.K[0, 0] / 480)
            xy_px = camera.project((pose @ middle).apply(board.corners_m))
            if np.isfinite(xy_px).all() and (xy_px > 3).all() and (xy_px < size - 3).all():
                views.append(xy_px + rng.normal(0, noise_px, xy_px.shape))
    return np.array(views)
