"""Cameras that film together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.camera import Camera
from calibration.errors import CalibrationError


@dataclass(frozen=True, eq=False)
class Rig:
    """C cameras in one world, which of them form stereo pairs (left, right), and the covariance of their poses if known.

    covariance: (6C, 6C), per camera (rvec rad, t m) of cam_from_world. Raises CalibrationError on double or unknown names.
    """

    cameras: tuple[Camera, ...]
    stereo_pairs: tuple[tuple[str, str], ...] = ()
    covariance: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "cameras", tuple(self.cameras))
        object.__setattr__(self, "stereo_pairs", tuple((left, right) for left, right in self.stereo_pairs))
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise CalibrationError(f"rig: camera names must differ, found twice: {', '.join(twice)}")
        for name in (name for pair in self.stereo_pairs for name in pair):
            if name not in self.names:
                raise CalibrationError(f"rig: stereo pair names {name!r}; the cameras are {', '.join(self.names)}")
        size = 6 * len(self.cameras)
        if self.covariance is not None and np.shape(self.covariance) != (size, size):
            raise CalibrationError(f"rig: covariance: expected ({size}, {size}), got {np.shape(self.covariance)}")

    @property
    def names(self) -> tuple[str, ...]:
        """Camera names in rig order."""
        return tuple(camera.name for camera in self.cameras)

    def __len__(self) -> int:
        return len(self.cameras)

    def __getitem__(self, name: str) -> Camera:
        for camera in self.cameras:
            if camera.name == name:
                return camera
        raise CalibrationError(f"rig: no camera {name!r}; the cameras are {', '.join(self.names)}")

    def subset(self, names: Iterable[str]) -> Rig:
        """The rig of the named cameras, in the given order; stereo pairs that lose a camera are dropped."""
        wanted = tuple(names)
        pairs = tuple(pair for pair in self.stereo_pairs if set(pair) <= set(wanted))
        return Rig(tuple(self[name] for name in wanted), pairs)
