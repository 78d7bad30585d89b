"""Rigs, moving boards and their corners with known truth, for tests, benchmarks and the virtual studio."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.board import Board
from calibration.camera import Camera
from calibration.rig import Rig
from calibration.rolling_shutter import row_delay_s
from calibration.transforms import Rigid, look_at

Array = NDArray[np.float64]

# A board seen more obliquely than this (cosine of the angle to its normal) is not found by any detector.
MIN_FACING = 0.35
BORDER_PX = 5.0
# Board tilt, 1 sigma per axis: what a person waving a board does.
TILT_RAD = 0.35


@dataclass(frozen=True, eq=False)
class BoardTruth:
    """Corners as a detector would report them, and the truth behind them.

    observations (C, F, M, 2) px with noise and outliers, NaN unseen; clean_px the same without either; outlier (C, F, M);
    world_from_board (F).
    """

    observations: Array
    clean_px: Array
    outlier: NDArray[np.bool_]
    world_from_board: tuple[Rigid, ...]


def ring_rig(
    n_cameras: int = 4,
    radius_m: float = 3.0,
    height_m: float = 1.5,
    target_m: tuple[float, float, float] = (0.0, 0.0, 0.9),
    size_wh: tuple[int, int] = (1920, 1080),
    focal_px: float = 1400.0,
    arc_deg: float = 360.0,
    seed: int = 0,
) -> Rig:
    """n_cameras on an arc around target_m, all looking at it; lenses and heights differ a little by seed.

    arc_deg below 360 spreads the cameras from one end to the other. Names are cam1, cam2, ...
    """
    rng = np.random.default_rng(seed)
    steps = n_cameras if arc_deg >= 360 else max(1, n_cameras - 1)
    cameras = []
    for index in range(n_cameras):
        angle = np.deg2rad(arc_deg) * (index / steps - 0.5 * (arc_deg < 360))
        eye_m = np.array([radius_m * np.cos(angle), radius_m * np.sin(angle), height_m + rng.uniform(-0.2, 0.2)])
        focal = focal_px * rng.uniform(0.97, 1.03)
        cx, cy = (0.5 * (side - 1) + rng.uniform(-0.008, 0.008) * side for side in size_wh)
        K = np.array([[focal, 0.0, cx], [0.0, focal, cy], [0.0, 0.0, 1.0]])
        dist = np.array([rng.uniform(-0.16, -0.08), rng.uniform(0.02, 0.06), 0.0, 0.0, 0.0])
        cameras.append(Camera(f"cam{index + 1}", size_wh, K, dist, "brown", look_at(eye_m, target_m)))
    return Rig(tuple(cameras))


def moving_board(
    rig: Rig,
    board: Board,
    n_frames: int,
    facing: list[tuple[str, ...]] | None = None,
    low_m: tuple[float, float, float] = (-0.5, -0.6, 0.5),
    high_m: tuple[float, float, float] = (0.6, 0.6, 1.5),
    seed: int = 0,
) -> tuple[Rigid, ...]:
    """world_from_board (F) of a board carried through the box low_m..high_m, tilted at random.

    It faces the mean of the cameras named in facing[frame % len(facing)] (default: all of them), and a pose is drawn again
    until two of these, or the only one, see it.
    """
    rng = np.random.default_rng(seed)
    groups = facing or [rig.names]
    poses = []
    for frame in range(n_frames):
        group = rig.subset(groups[frame % len(groups)])
        for _ in range(500):
            pose = _random_pose(group, board, np.asarray(low_m), np.asarray(high_m), rng)
            if sum(camera_sees(camera, board, pose) for camera in group.cameras) >= min(2, len(group)):
                break
        poses.append(pose)
    return tuple(poses)


def _random_pose(group: Rig, board: Board, low_m: Array, high_m: Array, rng: np.random.Generator) -> Rigid:
    middle_m = rng.uniform(low_m, high_m)
    towards_m = np.mean([camera.centre_m for camera in group.cameras], axis=0)
    # A camera at the board looking at the others has z towards them; half a turn about x lets z run into the sheet.
    facing = look_at(middle_m, towards_m).R.T @ np.diag([1.0, -1.0, -1.0])
    R = facing @ Rigid.from_rvec(rng.normal(0, TILT_RAD, 3), np.zeros(3)).R
    return Rigid(R, middle_m - R @ board.corners_m.mean(0))


def camera_sees(camera: Camera, board: Board, world_from_board: Rigid) -> bool:
    """True if the printed side faces the camera and all corners fall inside its image."""
    world_m = world_from_board.apply(board.corners_m)
    line = world_m.mean(0) - camera.centre_m
    # z of the board points into the sheet: along the line of sight when the printed side is seen.
    if world_from_board.R[:, 2] @ line / np.linalg.norm(line) < MIN_FACING:
        return False
    px = camera.project(world_m)
    return bool(np.isfinite(px).all() and (px > BORDER_PX).all() and (px < np.subtract(camera.size_wh, BORDER_PX)).all())


def project_board(
    rig: Rig,
    board: Board,
    world_from_board: tuple[Rigid, ...],
    noise_px: float = 0.3,
    outlier: float = 0.0,
    missing: float = 0.0,
    seed: int = 0,
) -> BoardTruth:
    """What each camera sees of each board pose: Gaussian noise per coordinate, a fraction of corners 5 to 60 px off, and a
    fraction of whole views missing."""
    rng = np.random.default_rng(seed)
    clean = np.full((len(rig), len(world_from_board), len(board.corners_m), 2), np.nan)
    for index, camera in enumerate(rig.cameras):
        for frame, pose in enumerate(world_from_board):
            if rng.random() >= missing and camera_sees(camera, board, pose):
                clean[index, frame] = camera.project(pose.apply(board.corners_m))
    noisy = clean + rng.normal(0, noise_px, clean.shape)
    wrong = np.isfinite(clean).all(-1) & (rng.random(clean.shape[:3]) < outlier)
    noisy[wrong] += rng.uniform(5, 60, (wrong.sum(), 2)) * rng.choice([-1, 1], (wrong.sum(), 2))
    return BoardTruth(noisy, clean, wrong, tuple(world_from_board))


def project_rolling(camera: Camera, board: Board, pose_at: Callable[[float], Rigid], t_s: float, readout_s: float) -> Array:
    """Corners (M, 2) px of a board moving by pose_at (world_from_board at a time in s) in a frame whose middle is at t_s.

    Each corner is seen when its own row is read: rows and times are brought together by iteration.
    """
    times_s = np.full(len(board.corners_m), t_s)
    for _ in range(4):
        where_m = [pose_at(float(at)).apply(corner[None])[0] for at, corner in zip(times_s, board.corners_m, strict=True)]
        xy_px = camera.project(np.array(where_m))
        times_s = t_s + row_delay_s(xy_px[:, 1], camera.size_wh[1], readout_s)
    return xy_px
