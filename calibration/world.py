"""The world a rig stands in: z up, metres."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calibration.errors import CalibrationError
from calibration.rig import Rig
from calibration.transforms import Rigid

Array = NDArray[np.float64]

# Optical axes closer to parallel than this have no useful nearest point.
MIN_AXIS_SPREAD = 1e-3


def world_from_rig(rig: Rig, world_from_board: Sequence[Rigid | None], world: str = "cameras") -> Rigid:
    """new_from_old world of a rig whose world is arbitrary. CalibrationError on an unknown `world`.

    "cameras": up is the mean of the cameras' -y axes (the cameras stand or hang upright; a camera turned by 90 degrees
    spoils this, use a board then), the origin is the point nearest to all optical axes (the mean board position where the
    axes are parallel), x is the horizontal part of the right-hand axis of the alphabetically first camera. The floor is at
    an unknown height. "board:<frame>": the board lies on the floor at that frame: z is its normal towards the cameras, the
    origin its first corner's sheet corner (the frame of `Board`), x runs along its rows.
    """
    if world == "cameras":
        return _upright(rig, world_from_board)
    kind, _, frame = world.partition(":")
    if kind != "board" or not frame.isdigit():
        raise CalibrationError(f"world: expected cameras or board:<frame>, got {world!r}")
    pose = world_from_board[int(frame)] if int(frame) < len(world_from_board) else None
    if pose is None:
        known = [index for index, board in enumerate(world_from_board) if board is not None]
        raise CalibrationError(
            f"world: the board is not seen by two cameras at frame {frame}; it is at {known[:10]}{'...' * (len(known) > 10)}"
        )
    board_from_world = pose.inverse()
    height_m = np.mean([board_from_world.apply(camera.centre_m)[2] for camera in rig.cameras])
    # The board's z runs into the sheet: half a turn about its rows makes it point up.
    return board_from_world if height_m > 0 else Rigid(np.diag([1.0, -1.0, -1.0]), np.zeros(3)) @ board_from_world


def _upright(rig: Rig, world_from_board: Sequence[Rigid | None]) -> Rigid:
    up = -np.sum([camera.cam_from_world.R[1] for camera in rig.cameras], axis=0)
    if np.linalg.norm(up) < 0.1 * len(rig):
        raise CalibrationError("world: the cameras' up directions cancel out; lay the board on the floor and use board:<frame>")
    up /= np.linalg.norm(up)
    first = rig[min(rig.names)]
    right = first.cam_from_world.R[0] - up * (up @ first.cam_from_world.R[0])
    if np.linalg.norm(right) < 1e-3:
        raise CalibrationError(f"world: camera {first.name} lies on its side; lay the board on the floor and use board:<frame>")
    right /= np.linalg.norm(right)
    R = np.stack([right, np.cross(up, right), up])
    return Rigid(R, -R @ _origin_m(rig, world_from_board))


def _origin_m(rig: Rig, world_from_board: Sequence[Rigid | None]) -> Array:
    """Least-squares intersection of the optical axes, each with projector I - z z^T."""
    planes = [np.eye(3) - np.outer(camera.cam_from_world.R[2], camera.cam_from_world.R[2]) for camera in rig.cameras]
    normal = np.sum(planes, axis=0)
    if np.linalg.eigvalsh(normal)[0] < MIN_AXIS_SPREAD * len(rig):
        return np.mean([pose.t for pose in world_from_board if pose is not None], axis=0)
    return np.linalg.solve(normal, np.sum([P @ c.centre_m for P, c in zip(planes, rig.cameras, strict=True)], axis=0))
