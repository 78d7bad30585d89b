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
from calibration.bundle_blocks import initial_state, linearise
from calibration.errors import CalibrationError
from calibration.rig import Rig

Array = NDArray[np.float64]

# Readouts of whole frames are 5 to 35 ms; a step this small changes a corner by less than its noise.
STEP_S = 1e-4
# A readout less certain than this says nothing: the board hardly moved, or never in this camera's view.
MAX_SIGMA_S = 2e-3
# Readouts and poses improve each other until no readout moves by more than this share of its sigma.
DONE_SIGMAS, MAX_ROUNDS = 0.1, 12


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
    rig: Rig, board: Target, filmed: Sequence[RollingCorners], start: Sequence[Readout], wanted: Sequence[int]
) -> tuple[Readout, ...]:
    """Readouts per camera, from those of `start`: of the cameras `wanted` (indices) such that the rig leaves least residuals.

    Readouts and poses are improved in turn. Lenses are held: one that was solved from bent corners bends the readouts, so
    solve it anew with what is found, and ask again. Raises CalibrationError naming the camera whose views do not determine its
    readout, and when the readouts do not settle.
    """
    readouts = tuple(start)
    for _ in range(MAX_ROUNDS):
        corners = np.stack([c.at_mid_frame(r.seconds) for c, r in zip(filmed, readouts, strict=True)])
        rig, bundle = refine(rig, corners, board)
        before, readouts = readouts, _improved(rig, board, bundle, filmed, readouts, wanted)
        moved = max(abs(readouts[c].seconds - before[c].seconds) / readouts[c].sigma_s for c in wanted)
        if moved <= DONE_SIGMAS:
            return readouts
    raise CalibrationError(
        f"readouts of {', '.join(rig.names[camera] for camera in wanted)}: still moving by {moved:.1f} sigma after "
        f"{MAX_ROUNDS} rounds; check that the recordings start together, or give the readouts in ms"
    )


def _improved(
    rig: Rig,
    board: Target,
    bundle: BundleReport,
    filmed: Sequence[RollingCorners],
    readouts: tuple[Readout, ...],
    wanted: Sequence[int],
) -> tuple[Readout, ...]:
    """One Gauss-Newton step of the wanted readouts together, every instant's board pose free: a wrong readout has bent it."""
    normal, right = _normal_equations(rig, board, bundle, filmed, readouts)
    normal, right = normal[np.ix_(wanted, wanted)], right[wanted]
    sigma_s = np.where(np.diag(normal) > 0, bundle.sigma_px * np.sqrt(np.diag(np.linalg.pinv(normal))), np.inf)
    for camera, sigma in zip(wanted, sigma_s, strict=True):
        _require_certain(rig.names[camera], float(sigma))
    step_s = np.linalg.solve(normal, right)
    found = {c: Readout(readouts[c].seconds + float(d), float(s)) for c, d, s in zip(wanted, step_s, sigma_s, strict=True)}
    return tuple(found.get(camera, readout) for camera, readout in enumerate(readouts))


def _normal_equations(
    rig: Rig, board: Target, bundle: BundleReport, filmed: Sequence[RollingCorners], readouts: tuple[Readout, ...]
) -> tuple[Array, Array]:
    """Information (C, C) and gradient (C,) of all readouts, freed of what moving each instant's board can do."""
    view, state = initial_state(rig, bundle.xy_px, board, bundle.world_from_board)
    residual, jacobian = linearise(view, state, False)
    slope = np.stack([corners.by_readout(readout.seconds) for corners, readout in zip(filmed, readouts, strict=True)])
    slope = slope[view.camera, view.frame_id]
    keep = bundle.used[view.camera, view.frame_id] & np.isfinite(slope[..., 0])
    by_readout = slope[..., None] * np.eye(len(rig))[view.camera][:, None, None]  # (V, M, 2, C)
    normal, right = np.zeros((len(rig), len(rig))), np.zeros(len(rig))
    for frame in range(len(view.frames)):
        rows = np.flatnonzero(view.frame == frame)
        seen = keep[rows]
        moved, missed = by_readout[rows][seen].reshape(-1, len(rig)), residual[rows][seen].ravel()
        basis = np.linalg.qr(jacobian[rows][seen][..., 6:12].reshape(-1, 6))[0]  # by the board's pose
        moved = moved - basis @ (basis.T @ moved)
        normal += moved.T @ moved
        right += moved.T @ missed
    return normal, right


def _require_certain(name: str, sigma_s: float) -> None:
    if not sigma_s <= MAX_SIGMA_S:
        raise CalibrationError(
            f"camera {name}: its views do not determine the readout (1 sigma {1e3 * sigma_s:.1f} ms, {1e3 * MAX_SIGMA_S:g} ms "
            "at most is of use); move the board fast across its image while filming, or give the readout in ms"
        )
