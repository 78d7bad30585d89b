"""A chessboard drawn as the cameras of a small rig without distortion see it."""

import cv2
import numpy as np

from calibration.board import Board
from calibration.rig import Rig
from calibration.synthetic import ring_rig
from calibration.transforms import Rigid

BOARD = Board("chessboard", 7, 6, 0.06)
SIZE = (320, 240)


def rendered(rig: Rig, name: str, pose: Rigid, board: Board = BOARD) -> np.ndarray:
    """What a camera of the rig (no distortion) sees of the board, four times supersampled."""
    camera, scale = rig[name], 20
    squares = np.indices((board.rows + 1, board.cols + 1)).sum(0) % 2 * 235 + 10
    sheet = np.pad(np.kron(squares, np.ones((scale, scale))), scale, constant_values=245).astype(np.uint8)
    step = board.square_m / scale  # sheet px to board metres; the first inner corner lies two squares from the sheet's corner
    m_from_px = np.array([[step, 0, -2 * board.square_m + step / 2], [0, step, -2 * board.square_m + step / 2], [0, 0, 1]])
    cam = camera.cam_from_world @ pose
    px_from_m = camera.K @ np.column_stack([cam.R[:, 0], cam.R[:, 1], cam.t])
    finer = np.array([[4, 0, 1.5], [0, 4, 1.5], [0, 0, 1]])
    big = tuple(4 * side for side in camera.size_wh)
    image = cv2.warpPerspective(sheet, finer @ px_from_m @ m_from_px, big, borderValue=128)
    return cv2.cvtColor(cv2.resize(image, camera.size_wh, interpolation=cv2.INTER_AREA), cv2.COLOR_GRAY2RGB)


def small_rig(cameras: int = 3) -> Rig:
    rig = ring_rig(cameras, radius_m=1.6, size_wh=SIZE, focal_px=330, arc_deg=50, height_m=1.0)
    return Rig(tuple(type(c)(c.name, c.size_wh, c.K, np.zeros(5), "brown", c.cam_from_world) for c in rig.cameras))
