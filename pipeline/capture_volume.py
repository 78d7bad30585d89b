"""Where a rig can measure, and how well: slices of predicted uncertainty through the space its cameras share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.rig import Rig

Array = NDArray[np.float64]
Sigma = Callable[[Array], Array]  # world points (N, 3) in metres to their worst-axis 1 sigma (N,) in metres

AROUND_M = 1.0  # what is filmed is taken to reach this far beyond where the cameras look or the board was
MARGIN_M = 0.5  # drawn around cameras and volume
HEAD_M = 2.2  # top of a standing person
LOOK_AHEAD_M = (1.0, 8.0)  # a camera's axis is followed this far for the place nearest to the others' axes
CELLS = 140  # along the longer side of a slice


@dataclass(frozen=True, eq=False)
class Slice:
    """Worst-axis 1 sigma in mm on a plane: sigma_mm (B, A) at the crossings of axes a_m (A,) and b_m (B,) in world metres.

    axes: which world axes a and b are (0 x, 1 y, 2 z); at_m: where the plane lies on the third. NaN: fewer than two cameras.
    """

    sigma_mm: Array
    a_m: Array
    b_m: Array
    axes: tuple[int, int]
    at_m: float


def volume(rig: Rig, boards_m: Array, floor_known: bool) -> tuple[Array, Array]:
    """Lowest and highest corner (3,), (3,) in world metres of what the rig is there to film.

    boards_m (N, 3): where the board was, or (0, 3); then it is where the cameras look. From the floor to head height where
    z = 0 is the floor.
    """
    places_m = boards_m if len(boards_m) else _looked_at_m(rig)
    low, high = places_m.min(0), places_m.max(0)
    low[:2], high[:2] = low[:2] - AROUND_M, high[:2] + AROUND_M
    if floor_known:
        low[2], high[2] = 0.0, max(HEAD_M, high[2])
    else:
        low[2], high[2] = low[2] - 0.5 * AROUND_M, high[2] + 0.5 * AROUND_M
    return low, high


def slices(rig: Rig, sigma_m: Sigma, low_m: Array, high_m: Array, height_m: float) -> tuple[Slice, Slice]:
    """A level slice at height_m and an upright one through the middle of the volume, both wide enough to show the cameras."""
    centres_m = np.stack([camera.centre_m for camera in rig.cameras])
    low = np.minimum(low_m, centres_m.min(0) - MARGIN_M)
    high = np.maximum(high_m, centres_m.max(0) + MARGIN_M)
    low[2] = min(low_m[2], centres_m[:, 2].min())  # nothing is filmed below the floor
    across = int(np.argmax((high - low)[:2]))
    middle_m = 0.5 * (low_m + high_m)
    level = _slice(sigma_m, low, high, (0, 1), height_m)
    return level, _slice(sigma_m, low, high, (across, 2), float(middle_m[1 - across]))


def median_sigma_mm(sigma_m: Sigma, low_m: Array, high_m: Array) -> float:
    """Median worst-axis 1 sigma in mm over the volume low_m..high_m; NaN where no two cameras share any of it."""
    sides = [np.linspace(low, high, 9) for low, high in zip(low_m, high_m, strict=True)]
    xyz_m = np.stack([side.ravel() for side in np.meshgrid(*sides)], axis=1)
    found_m = sigma_m(xyz_m)
    return float(1e3 * np.nanmedian(found_m)) if np.isfinite(found_m).any() else float("nan")


def _slice(sigma_m: Sigma, low: Array, high: Array, axes: tuple[int, int], at_m: float) -> Slice:
    step = float((high - low)[list(axes)].max()) / CELLS
    a_m, b_m = (np.arange(low[axis], high[axis] + step, step) for axis in axes)
    xyz_m = np.full((len(b_m), len(a_m), 3), at_m)
    xyz_m[..., axes[0]], xyz_m[..., axes[1]] = np.meshgrid(a_m, b_m)
    return Slice(1e3 * sigma_m(xyz_m.reshape(-1, 3)).reshape(len(b_m), len(a_m)), a_m, b_m, axes, at_m)


def _looked_at_m(rig: Rig) -> Array:
    """(C, 3) the place on each camera's axis that is nearest to all axes' common point, not too near and not too far."""
    axes = np.stack([camera.cam_from_world.R[2] for camera in rig.cameras])
    centres = np.stack([camera.centre_m for camera in rig.cameras])
    across = np.eye(3) - axes[:, :, None] * axes[:, None]
    # A grain of the cameras' own middle keeps parallel axes solvable.
    common = np.linalg.solve(across.sum(0) + 1e-3 * np.eye(3), np.einsum("cij,cj->i", across, centres) + 1e-3 * centres.mean(0))
    ahead = np.clip(np.einsum("ci,ci->c", axes, common - centres), *LOOK_AHEAD_M)
    return np.asarray(centres + ahead[:, None] * axes)
