"""What a finished rig is worth: reprojection statistics, comparison with a known rig, and gates that refuse wrong ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.board_set import Target
from calibration.camera import Camera
from calibration.errors import CalibrationError
from calibration.rig import Rig
from calibration.transforms import Rigid, rotation_angle_rad

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Focal length over the longer image side: 0.3 is a 118 degree lens, 6 one of 9.5 degrees.
FOCAL_RANGE = (0.3, 6.0)
# Corners are found to 0.1-0.5 px; hand-held boards and software-synchronised cameras reach 2 px at 1920 px width.
MAX_RMS_AT_1920_PX = 3.0
# At least this share of a camera's corners has to agree with the rig (the rest are outliers).
MIN_USED_SHARE = 0.5
MIN_SHARED_VIEWS = 3


@dataclass(frozen=True)
class CameraStatistics:
    """Reprojection of one camera: views, corners seen, corners used; RMS over used, median and 95 % over all corners, px."""

    name: str
    views: int
    corners: int
    used: int
    rms_px: float
    median_px: float
    p95_px: float


@dataclass(frozen=True)
class RigError:
    """Distance of one camera from its truth after the rigs are laid onto each other."""

    name: str
    rotation_deg: float
    centre_mm: float


@dataclass(frozen=True)
class Gate:
    """One check of a rig: what it is called, whether it passed, what was found and expected, what to do if it failed."""

    name: str
    passed: bool
    found: str
    expected: str
    advice: str

    def __str__(self) -> str:
        return f"{self.name}: found {self.found}, expected {self.expected}" + ("" if self.passed else f"; {self.advice}")


def reprojection_px(rig: Rig, observations: Array, board: Target, world_from_board: Sequence[Rigid | None]) -> Array:
    """Length of the reprojection error (C, F, M) px; NaN where unseen, unposed or behind the camera."""
    error = np.full(observations.shape[:3], np.nan)
    for frame, pose in enumerate(world_from_board):
        if pose is not None:
            world_m = pose.apply(board.corners_m)
            for index, camera in enumerate(rig.cameras):
                error[index, frame] = np.linalg.norm(camera.project(world_m) - observations[index, frame], axis=1)
    return error


def camera_statistics(
    names: Sequence[str], residual_px: Array, used: NDArray[np.bool_] | None = None
) -> tuple[CameraStatistics, ...]:
    """Statistics per camera of error lengths (C, F, M) px, NaN unseen; `used` marks the corners the adjustment kept."""
    keep = np.isfinite(residual_px) if used is None else used
    rows = []
    for name, error, chosen in zip(names, residual_px, keep, strict=True):
        seen = error[np.isfinite(error)]
        rms = float(np.sqrt(np.mean(error[chosen] ** 2))) if chosen.any() else float("nan")
        median, p95 = np.percentile(seen, [50, 95]) if seen.size else (float("nan"), float("nan"))
        views = int(np.isfinite(error).any(1).sum())
        rows.append(CameraStatistics(name, views, seen.size, int(chosen.sum()), rms, float(median), float(p95)))
    return tuple(rows)


def compare_rigs(rig: Rig, truth: Rig) -> tuple[RigError, ...]:
    """Rotation (deg) and centre (mm) error of each camera that both rigs know, after the best rigid motion of the world.

    Scale is kept: a rig of the wrong size shows as centre errors. The motion minimises centre distances, and camera axes
    count as points at the rig's own size, so two cameras or cameras on a line are aligned as well.
    """
    names = [name for name in rig.names if name in truth.names]
    if not names:
        raise CalibrationError(f"compare_rigs: no common camera; {', '.join(rig.names)} and {', '.join(truth.names)}")
    truth_from_world = _truth_from_world([rig[name] for name in names], [truth[name] for name in names])
    errors = []
    for name in names:
        moved = rig[name].cam_from_world @ truth_from_world.inverse()
        angle = rotation_angle_rad(moved.R, truth[name].cam_from_world.R)
        distance_m = np.linalg.norm(moved.inverse().t - truth[name].centre_m)
        errors.append(RigError(name, float(np.degrees(angle)), float(1e3 * distance_m)))
    return tuple(errors)


def _truth_from_world(ours: list[Camera], theirs: list[Camera]) -> Rigid:
    a = np.stack([camera.centre_m for camera in ours])
    b = np.stack([camera.centre_m for camera in theirs])
    a0, b0 = a.mean(0), b.mean(0)
    size = max(float(np.linalg.norm(b - b0, axis=1).mean()), 1e-3)
    spread = (b - b0).T @ (a - a0) / size**2
    spread += np.sum([y.cam_from_world.R.T @ x.cam_from_world.R for x, y in zip(ours, theirs, strict=True)], axis=0)
    u, _, vt = np.linalg.svd(spread)
    R = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    return Rigid(R, b0 - R @ a0)


def check_image_size(camera: Camera, size_wh: tuple[int, int]) -> None:
    """CalibrationError when images of size_wh are not the ones `camera` was calibrated on; nothing is scaled silently."""
    if tuple(size_wh) == camera.size_wh:
        return
    width, height = size_wh
    cal_width, cal_height = camera.size_wh
    if width * cal_height == height * cal_width:
        choice = (
            f"the shape agrees: state that images are resized by {width / cal_width:g}, or re-calibrate at {width}x{height}"
        )
    elif width <= cal_width and height <= cal_height:
        choice = (
            f"if the recorder cropped it, state the crop: left edge (principal point unchanged), or centred (principal point "
            f"shifted by -{(cal_width - width) / 2:g} px in x and -{(cal_height - height) / 2:g} px in y); otherwise "
            f"re-calibrate at {width}x{height}"
        )
    else:
        choice = f"record at {cal_width}x{cal_height}, or re-calibrate at {width}x{height}"
    raise CalibrationError(
        f"camera {camera.name}: its images are {width}x{height} but it was calibrated at {cal_width}x{cal_height}; {choice}"
    )


def check_cameras(rig: Rig) -> tuple[Gate, ...]:
    """Gates on the rig alone: plausible focal lengths, square pixels, principal points inside, cameras that differ."""
    low, high = FOCAL_RANGE
    gates = []
    for camera in rig.cameras:
        ratio = float(camera.K[0, 0]) / max(camera.size_wh)
        gates.append(
            Gate(
                f"focal length of {camera.name}",
                low <= ratio <= high,
                f"{camera.K[0, 0]:.0f} px at {max(camera.size_wh)} px",
                f"{low} to {high} times the longer side",
                "film this camera's intrinsics again with the board tilted, and check the board's size",
            )
        )
        inside = 0 < camera.K[0, 2] < camera.size_wh[0] and 0 < camera.K[1, 2] < camera.size_wh[1]
        gates.append(
            Gate(
                f"principal point of {camera.name}",
                bool(inside),
                f"({camera.K[0, 2]:.0f}, {camera.K[1, 2]:.0f}) px",
                f"inside {camera.size_wh[0]}x{camera.size_wh[1]}",
                "film this camera's intrinsics again, with the board in all corners of the image",
            )
        )
    return (*gates, *_distinct_cameras(rig))


def _distinct_cameras(rig: Rig) -> list[Gate]:
    gates = []
    for index, first in enumerate(rig.cameras):
        for second in rig.cameras[index + 1 :]:
            apart_m = float(np.linalg.norm(first.centre_m - second.centre_m))
            turned = rotation_angle_rad(first.cam_from_world.R, second.cam_from_world.R)
            if apart_m < 1e-3 and turned < 1e-3:
                advice = "the two were given the same recording or the same block; check the session's camera list"
                found = f"{1e3 * apart_m:.2f} mm apart"
                gates.append(Gate(f"{first.name} and {second.name}", False, found, "two different poses", advice))
    return gates


def check_reprojection(
    rig: Rig, statistics: Sequence[CameraStatistics], board: Target, world_from_board: Sequence[Rigid | None], seen: Mask
) -> tuple[Gate, ...]:
    """Gates on a solved rig: RMS, share of corners that agree, boards in front of the cameras that see them.

    seen (C, F) bool: which camera sees the board when.
    """
    gates: list[Gate] = []
    for camera, row, visible in zip(rig.cameras, statistics, seen, strict=True):
        behind = boards_behind(camera, board, world_from_board, visible)
        gates += _camera_gates(camera, row, behind)
    return tuple(gates)


def _camera_gates(camera: Camera, row: CameraStatistics, behind: int) -> list[Gate]:
    limit_px = MAX_RMS_AT_1920_PX * max(camera.size_wh) / 1920.0
    share = row.used / max(row.corners, 1)
    sync = "check that the recordings are synchronised, the board is rigid and its square size right"
    mirror = "its image is mirrored or its pose wrong; film the board again"
    film = "film the board in this camera and a neighbour"
    checks = (
        ("reprojection", row.rms_px <= limit_px, f"{row.rms_px:.2f} px RMS", f"at most {limit_px:.1f} px", sync),
        ("agreement", share >= MIN_USED_SHARE, f"{share:.0%} of {row.corners} corners", f"at least {MIN_USED_SHARE:.0%}", sync),
        ("depth", behind == 0, f"{behind} boards behind it", "none", mirror),
        ("views", row.views >= MIN_SHARED_VIEWS, f"{row.views} shared views", f"at least {MIN_SHARED_VIEWS}", film),
    )
    return [Gate(f"{what} of {camera.name}", bool(ok), found, wanted, advice) for what, ok, found, wanted, advice in checks]


def boards_behind(camera: Camera, board: Target, world_from_board: Sequence[Rigid | None], seen: Mask) -> int:
    """How many boards (world_from_board per frame, where seen (F,)) reach behind the camera that is said to see them."""
    poses = [pose for pose, visible in zip(world_from_board, seen, strict=True) if pose is not None and visible]
    return sum(bool((camera.cam_from_world.apply(pose.apply(board.corners_m))[:, 2] <= 0).any()) for pose in poses)


def failures(gates: Sequence[Gate]) -> tuple[Gate, ...]:
    """The gates that did not pass."""
    return tuple(gate for gate in gates if not gate.passed)


def require(gates: Sequence[Gate]) -> None:
    """CalibrationError listing every gate that failed."""
    failed = failures(gates)
    if failed:
        raise CalibrationError("the rig is not usable: " + " | ".join(str(gate) for gate in failed))
