"""What the calibrate stage hands to its report: a rig with its evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from calibration.board_set import Target
from calibration.camera import Camera
from calibration.extrinsics import CalibrationReport
from calibration.intrinsics_report import IntrinsicsReport
from calibration.lens_gates import check_lens
from calibration.quality import Gate, check_cameras
from calibration.rig import Rig
from calibration.rolling_shutter import Readout
from calibration.uncertainty import joint_point_covariance, point_covariance, worst_sigma_m
from calibration.verify import distance_gates
from pipeline.config import CalibrateConfig
from pipeline.errors import InputError


@dataclass(frozen=True, eq=False)
class Lens:
    """Intrinsics of one camera and where they come from. report: None when imported; joint: solved with the rig's poses."""

    camera: Camera
    origin: str
    searched: int = 0
    report: IntrinsicsReport | None = None
    joint: bool = False


@dataclass(frozen=True, eq=False)
class BoardClip:
    """The board that was filmed, names of the views (F) it was looked for in, and the world chosen (`world_from_rig`)."""

    board: Target
    labels: tuple[str, ...]
    world: str


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A rig with its evidence: lenses by camera, the report of the poses when they were solved here and the clip they were
    solved from, how far imported poses were turned to fit lenses solved anew (`rigs.posed_like`), and the readouts of the
    cameras with a rolling shutter."""

    rig: Rig
    lenses: dict[str, Lens] = field(default_factory=dict)
    poses: CalibrationReport | None = None
    turned_deg: dict[str, float] = field(default_factory=dict)
    filmed: BoardClip | None = None
    readouts: dict[str, Readout] = field(default_factory=dict)

    @property
    def rms_px(self) -> dict[str, float]:
        """Per camera: of the poses' adjustment, else of the lens; imported cameras have none."""
        rms = {name: lens.report.rms_px for name, lens in self.lenses.items() if lens.report}
        if self.poses:
            rms |= {row.name: row.rms_px for row in self.poses.cameras}
        return {name: round(float(rms[name]), 4) for name in self.rig.names if name in rms}

    @property
    def sigma(self) -> dict[str, tuple[float, float]]:
        """Per camera: 1 sigma of its place in mm and of its direction in mrad, against the first one; none when imported."""
        if self.poses is None:
            return {}
        return dict(
            zip(self.rig.names, zip(self.poses.centre_sigma_mm, self.poses.rotation_sigma_mrad, strict=True), strict=True)
        )

    def point_sigma_m(self, xyz_m: NDArray[np.float64], noise_px: float) -> NDArray[np.float64]:
        """(N,) worst-axis 1 sigma in m of world points (N, 3) that every view finds to noise_px.

        A rig solved here adds its own share, that of its lenses too where they were solved with the poses.
        """
        if self.poses is None:
            return worst_sigma_m(point_covariance(self.rig, xyz_m, noise_px))
        return worst_sigma_m(joint_point_covariance(self.rig, xyz_m, self.poses.bundle.joint_covariance, noise_px))

    def gates(self, config: CalibrateConfig) -> tuple[Gate, ...]:
        """Every check this rig has to pass. Raises InputError for a measured distance between cameras it does not have."""
        gates = [*(self.poses.gates if self.poses else check_cameras(self.rig)), *self._distance_gates(config.distances_m)]
        gates += [check_lens(lens.camera, lens.report) for lens in self.lenses.values() if lens.report and not lens.joint]
        advice = "check the board's square size and flatness, sharpness and synchronisation, and film it again"
        limit_px, wanted = config.max_rms_px, f"at most {config.max_rms_px:g} px (calibrate.max_rms_px)"
        rms = (Gate(f"RMS of {name}", px <= limit_px, f"{px:.2f} px", wanted, advice) for name, px in self.rms_px.items())
        return (*gates, *rms)

    def _distance_gates(self, distances_m: Mapping[str, float]) -> Iterator[Gate]:
        pairs = {tuple(text.split("+")): metres for text, metres in distances_m.items()}
        for pair, metres in pairs.items():
            if len(pair) != 2 or not set(pair) <= set(self.rig.names) or not metres > 0:
                known = ", ".join(self.rig.names)
                raise InputError(
                    f"calibrate.distances_m: expected two cameras of {known} and metres, as left+right: 0.12, got "
                    f"{'+'.join(pair)}: {metres}"
                )
        return distance_gates(self.rig, {(pair[0], pair[1]): metres for pair, metres in pairs.items()})
