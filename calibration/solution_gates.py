"""Gates on an adjustment that has just ended: what it used, what its views determine, and what it says of others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.board_set import Target
from calibration.bundle import BundleReport, LensPrior, refine
from calibration.planar import MIN_CORNERS, corners_seen
from calibration.quality import Gate, camera_statistics, check_reprojection
from calibration.rig import Rig
from calibration.verify import verify_rig

Array = NDArray[np.float64]

# A camera less certain than this (of the distance to the boards; radians) is not determined by the views.
MAX_SIGMA = 0.01


def solution_gates(rig: Rig, board: Target, bundle: BundleReport) -> tuple[Gate, ...]:
    """Gates on the adjustment itself: reprojection of what it used, and whether the views determine every camera."""
    statistics = camera_statistics(rig.names, bundle.residual_px, bundle.used)
    seen = np.asarray(np.any(np.isfinite(bundle.residual_px), axis=2), dtype=np.bool_)
    poses = [pose for pose in bundle.world_from_board if pose is not None]
    distance_m = np.median([np.linalg.norm(camera.centre_m - pose.t) for camera in rig.cameras for pose in poses])
    variance = np.diag(bundle.pose_covariance).reshape(len(rig), 6)
    sigma_m, sigma_rad = np.sqrt(variance[:, 3:].sum(1)), np.sqrt(variance[:, :3].sum(1))
    certain = [
        Gate(
            f"certainty of {name}",
            bool(metres <= MAX_SIGMA * distance_m and rad <= MAX_SIGMA),
            f"1 sigma of {1e3 * metres:.1f} mm and {1e3 * rad:.1f} mrad",
            f"at most {1e3 * MAX_SIGMA * distance_m:.0f} mm and {1e3 * MAX_SIGMA:.0f} mrad",
            "film more views of the board with this camera and its neighbours: tilted, near and far, all over the image",
        )
        for name, metres, rad in zip(rig.names, sigma_m, sigma_rad, strict=True)
    ]
    return (*check_reprojection(rig, statistics, board, bundle.world_from_board, seen), *certain)


def unseen_gates(
    rig: Rig, observations: Array, clean: Array, board: Target, bundle: BundleReport, prior: LensPrior | None
) -> tuple[Gate, ...]:
    """`verify_rig` on every second shared instant, of the rig solved once more from the others."""
    instants = np.flatnonzero((corners_seen(clean).sum(2) >= MIN_CORNERS).sum(0) >= 2)
    held = np.zeros(clean.shape[1], dtype=bool)
    held[instants[1::2]] = True
    seen = np.any(corners_seen(clean), axis=2)
    if not (seen[:, held].any(1) & seen[:, ~held].any(1)).all():
        return verify_rig(rig, observations, board)  # too few instants to spare any
    rest = np.where(held[None, :, None, None], np.nan, clean)
    probe, solved = refine(rig, rest, board, bundle.world_from_board, prior)
    return verify_rig(probe, observations[:, held], board, np.nanmedian(solved.residual_px, axis=(1, 2)))
