"""Checks of solved lenses: whether their views determine them, and whether a rig's disagreement has bent them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from calibration.camera import Camera
from calibration.intrinsics_report import IntrinsicsReport
from calibration.quality import CameraStatistics, Gate

# A principal point this uncertain (1 sigma, as an angle) turns the whole camera by as much: the accuracy asked of a rig's
# rotations is 1 degree.
MAX_CENTRE_SIGMA_DEG = 1.0
# Corners that each camera's own lens fits this many times better than the rig does: what is left is not corner noise but
# cameras that saw the board at different times, and lenses solved together with the poses bend to hide it. Four software-
# synchronised webcams: 0.15 to 0.27 px alone, 0.78 px together, lenses bent by 6 % in focal length and the rig by 4 degrees.
MAX_RMS_RATIO = 2.0


def check_lens(camera: Camera, report: IntrinsicsReport) -> Gate:
    """Gate on a lens solved from one camera's own views: is its principal point known well enough to say where it looks?"""
    sigma_px = float(np.hypot(*report.centre_sigma_px))
    sigma_deg = float(np.degrees(np.arctan(sigma_px / camera.K[0, 0])))
    shown = f"; {report.coverage}" if report.coverage else ""
    where = "; ".join(report.coverage.advice) if report.coverage and report.coverage.advice else "film more tilted views"
    return Gate(
        f"lens of {camera.name}",
        bool(sigma_deg <= MAX_CENTRE_SIGMA_DEG),
        f"principal point +- {sigma_px:.0f} px ({sigma_deg:.2f} degrees){shown}",
        f"at most {MAX_CENTRE_SIGMA_DEG:g} degrees",
        f"{where}; or film each camera's lens by itself, close to the board",
    )


def bent_lenses(reports: Sequence[IntrinsicsReport], statistics: Sequence[CameraStatistics]) -> tuple[str, ...]:
    """Names of cameras whose corners the rig misses by MAX_RMS_RATIO times what the camera's own lens leaves.

    reports of lenses solved from each camera's own views, statistics of the rig whose lenses were solved with the poses. Such
    lenses are to be solved alone and held.
    """
    pairs = zip(reports, statistics, strict=True)
    return tuple(row.name for report, row in pairs if row.rms_px > MAX_RMS_RATIO * report.rms_px)
