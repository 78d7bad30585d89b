"""A board waved before three cameras that read their rows one after the other, and how far off a rig of them is."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from calibration.board import Board
from calibration.bundle import refine
from calibration.quality import compare_rigs
from calibration.rig import Rig
from calibration.rolling_shutter import RollingCorners
from calibration.synthetic import camera_sees, project_rolling, ring_rig
from calibration.transforms import Rigid

BOARD = Board("charuco", 4, 5, 0.1, 0.075, "DICT_4X4_50")
FPS, FRAMES = 30.0, 50
READOUTS_S = (0.030, 0.012, -0.020)
NO_READOUTS = (0.0, 0.0, 0.0)
RIG = ring_rig(3, arc_deg=70.0)


def pose_at(t_s: float) -> Rigid:
    """A board waved before the cameras, at up to a metre per second."""
    angle = 2 * np.pi * t_s
    facing = np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # printed side towards +x, where cameras stand
    turn = Rigid.from_rvec([0.25 * np.sin(0.9 * angle), 0.5 * np.sin(0.37 * angle), 0.6 * np.sin(0.53 * angle)], np.zeros(3)).R
    middle = [0.4 * np.sin(0.31 * angle), 0.45 * np.sin(0.5 * angle), 0.9 + 0.35 * np.sin(0.43 * angle)]
    R = facing @ turn
    return Rigid(R, np.array(middle) - R @ BOARD.corners_m.mean(0))


@lru_cache
def waved(noise_px: float, slow: float = 1.0, seed: int = 0) -> list[RollingCorners]:
    """What the cameras see of it at FRAMES instants, that many times slower."""
    rng, times = np.random.default_rng(seed), np.arange(FRAMES) / FPS
    found = []
    for camera, readout_s in zip(RIG.cameras, READOUTS_S, strict=True):
        xy = np.full((FRAMES, len(BOARD.corners_m), 2), np.nan)
        for frame, at in enumerate(times):
            if camera_sees(camera, BOARD, pose_at(slow * at)):
                xy[frame] = project_rolling(camera, BOARD, lambda t: pose_at(slow * t), at, readout_s)
        xy += rng.normal(0, noise_px, xy.shape)
        blank, none = np.full((1, *xy.shape[1:]), np.nan), np.array([np.nan])
        before, after = np.concatenate([blank, xy[:-1]]), np.concatenate([xy[1:], blank])
        t_s = np.stack([np.r_[none, times[:-1]], times, np.r_[times[1:], none]])
        found.append(RollingCorners(np.stack([before, xy, after]), t_s, camera.size_wh[1]))
    return found


def solved(filmed: list[RollingCorners], readouts_s: tuple[float, ...]) -> Rig:
    """The rig of the corners at the middle of their frames, by these readouts; lenses are known."""
    corners = [each.at_mid_frame(readout) for each, readout in zip(filmed, readouts_s, strict=True)]
    return refine(RIG, np.stack(corners), BOARD)[0]


def worst_mm(rig: Rig) -> float:
    """Largest error of a camera's place against the first camera's frame."""
    return max(error.centre_mm for error in compare_rigs(rig, RIG))


def bent_px(filmed: list[RollingCorners], readouts_s: tuple[float, ...]) -> NDArray[np.float64]:
    """(C F M,) how far the corners at the middle of their frames are from where the board was then; NaN unseen."""
    off = []
    for camera, corners, readout_s in zip(RIG.cameras, filmed, readouts_s, strict=True):
        still = np.stack([camera.project(pose_at(t).apply(BOARD.corners_m)) for t in np.arange(FRAMES) / FPS])
        off.append(np.linalg.norm(corners.at_mid_frame(readout_s) - still, axis=-1).ravel())
    return np.concatenate(off)
