"""Corners of a moving board in frames that are read row by row, moved to where they stood at the middle of their frame.

Row y is read (y - (H - 1) / 2) / H * readout after the middle of its frame; a negative readout reads from the bottom up (a
camera hung upside down). Neighbouring frames of the same recording say how each corner moves, so that nothing has to be
assumed of the board. A readout nobody knows is found from what it leaves bent: within one frame a rigid board is sheared
along its motion (Meingast, Geyer and Sastry 2005, "Geometric models of rolling-shutter cameras").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.board_set import Target
from calibration.bundle import BundleReport, refine
from calibration.camera import Camera
from calibration.errors import CalibrationError
from calibration.lens_solve import linearise_view
from calibration.rig import Rig
from calibration.transforms import Rigid

Array = NDArray[np.float64]

# Readouts of whole frames are 5 to 35 ms; a step this small changes a corner by less than its noise.
STEP_S = 1e-4
# A readout less certain than this says nothing: the board hardly moved, or never in this camera's view.
MAX_SIGMA_S = 2e-3
# Readouts and poses improve each other until no readout moves by more than this.
DONE_S, MAX_ROUNDS = 2e-5, 8


@dataclass(frozen=True, eq=False)
class RollingCorners:
    """Corners of one camera in frames before, at and after F instants: xy_px (3, F, M, 2), NaN unseen; t_s (3, F) the times
    of these frames, NaN where there is none; height_px of the image."""

    xy_px: Array
    t_s: Array
    height_px: int

    def at_mid_frame(self, readout_s: float) -> Array:
        """Corners (F, M, 2) px at the middle of the second frame: through three sightings a parabola, through two a line.

        A corner seen in that frame alone has no known motion and is left out (NaN), unless readout_s is 0.
        """
        if readout_s == 0:
            return self.xy_px[1].copy()
        times = (self.t_s - self.t_s[1])[..., None] + row_delay_s(self.xy_px[..., 1], self.height_px, readout_s)
        seen = np.isfinite(times)
        out = np.full(self.xy_px.shape[1:], np.nan)
        for chosen in ((1, 2), (0, 1), (0, 1, 2)):  # the parabola, last, replaces the lines
            full = seen[list(chosen)].all(0)
            out[full] = _interpolated(self.xy_px[list(chosen)][:, full], times[list(chosen)][:, full])
        return out

    def by_readout(self, readout_s: float) -> Array:
        """Derivative (F, M, 2) px/s of `at_mid_frame` by the readout."""
        later, earlier = (self.at_mid_frame(readout_s + sign * STEP_S) for sign in (1, -1))
        return (later - earlier) / (2 * STEP_S)


@dataclass(frozen=True)
class Readout:
    """Seconds from the first row to the last, and 1 sigma of that; 0 where it was given."""

    seconds: float
    sigma_s: float = 0.0


def row_delay_s(y_px: Array, height_px: int, readout_s: float) -> Array:
    """When rows y are read, in seconds after the middle of their frame."""
    return (y_px - (height_px - 1) / 2) / height_px * readout_s


def _interpolated(xy_px: Array, times_s: Array) -> Array:
    """Values (N, 2) at time 0 of the polynomials through xy_px (k, N, 2) at times_s (k, N), after Lagrange."""
    total = np.zeros(xy_px.shape[1:])
    for i in range(len(xy_px)):
        others = [j for j in range(len(xy_px)) if j != i]
        weight = np.prod([times_s[j] / (times_s[j] - times_s[i]) for j in others], axis=0)
        total += weight[:, None] * xy_px[i]
    return total


def solve_readouts(
    rig: Rig, board: Target, filmed: Sequence[RollingCorners], given: Sequence[float | None]
) -> tuple[Readout, ...]:
    """Readouts per camera: those given in s as they are, the others (None) so that the rig leaves the least residuals.

    Readouts and poses are improved in turn from the rig that was solved without them. Raises CalibrationError naming the
    camera whose views do not determine its readout.
    """
    readouts = tuple(Readout(0.0 if seconds is None else seconds) for seconds in given)
    wanted = [camera for camera, seconds in enumerate(given) if seconds is None]
    for _ in range(MAX_ROUNDS if wanted else 0):
        corners = np.stack([c.at_mid_frame(r.seconds) for c, r in zip(filmed, readouts, strict=True)])
        rig, bundle = refine(rig, corners, board)
        before, readouts = readouts, _improved(rig, board, bundle, filmed, readouts, wanted)
        if max(abs(new.seconds - old.seconds) for new, old in zip(readouts, before, strict=True)) < DONE_S:
            break
    return readouts


def _improved(
    rig: Rig,
    board: Target,
    bundle: BundleReport,
    filmed: Sequence[RollingCorners],
    readouts: tuple[Readout, ...],
    wanted: list[int],
) -> tuple[Readout, ...]:
    """One Gauss-Newton step of the wanted readouts together, every instant's board pose free: a wrong readout has bent it."""
    slopes = np.stack([filmed[camera].by_readout(readouts[camera].seconds) for camera in wanted])
    normal, right = np.zeros((len(wanted), len(wanted))), np.zeros(len(wanted))
    for frame, pose in enumerate(bundle.world_from_board):
        if pose is not None:
            moved, missed = _without_pose(rig, board, bundle, frame, slopes, wanted)
            normal += moved.T @ moved
            right += moved.T @ missed
    sigma_s = bundle.sigma_px * np.sqrt(np.diag(np.linalg.pinv(normal)))
    for camera, sigma in zip(wanted, np.where(np.diag(normal) > 0, sigma_s, np.inf), strict=True):
        _require_certain(rig.names[camera], float(sigma))
    step_s = np.linalg.solve(normal, right)
    found = {c: Readout(readouts[c].seconds + float(d), float(s)) for c, d, s in zip(wanted, step_s, sigma_s, strict=True)}
    return tuple(found.get(camera, readout) for camera, readout in enumerate(readouts))


def _without_pose(
    rig: Rig, board: Target, bundle: BundleReport, frame: int, slopes: Array, wanted: list[int]
) -> tuple[Array, Array]:
    """Slopes (n, wanted) and residuals (n,) of all corners of one instant, both freed of what moving the board can do."""
    pose = bundle.world_from_board[frame]
    by_pose, by_readout, residual = [np.zeros((0, 6))], [np.zeros((0, len(wanted)))], [np.zeros(0)]
    for number, camera in enumerate(rig.cameras):
        keep = bundle.used[number, frame]
        moving = [(slot, slopes[slot, frame, keep]) for slot, each in enumerate(wanted) if each == number]
        if pose is None or not keep.any() or not all(np.isfinite(slope).all() for _, slope in moving):
            continue
        # The board's pose moves all cameras' corners at once: its derivative goes through the world, not through one camera.
        by_pose.append(_by_board(camera, pose, board.corners_m[keep]))
        columns = np.zeros((2 * int(keep.sum()), len(wanted)))
        for slot, slope in moving:
            columns[:, slot] = slope.ravel()
        by_readout.append(columns)
        residual.append(bundle.residual_xy_px[number, frame, keep].ravel())
    basis = np.linalg.qr(np.concatenate(by_pose))[0]
    moved, missed = np.concatenate(by_readout), np.concatenate(residual)
    return moved - basis @ (basis.T @ moved), missed - basis @ (basis.T @ missed)


def _by_board(camera: Camera, world_from_board: Rigid, corners_m: Array) -> Array:
    """Derivative (2 n, 6) of a camera's pixels by a small turn and shift of the board in the world."""
    world_m = world_from_board.apply(corners_m)
    by_camera = linearise_view(camera.with_pose(Rigid.identity()), camera.cam_from_world, world_m)[2]
    by_point = by_camera[:, 3:] @ camera.cam_from_world.R  # d px / d t_cam is d px / d X_cam
    turn = np.cross(np.repeat(world_m - world_m.mean(0), 2, axis=0), by_point)
    return np.concatenate([turn, by_point], axis=1)


def _require_certain(name: str, sigma_s: float) -> None:
    if not sigma_s <= MAX_SIGMA_S:
        raise CalibrationError(
            f"camera {name}: its views do not determine the readout (1 sigma {1e3 * sigma_s:.1f} ms, {1e3 * MAX_SIGMA_S:g} ms "
            "at most is of use); move the board fast across its image while filming, or give the readout in ms"
        )
