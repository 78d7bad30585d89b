"""Cameras that film together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.camera import LENSES, Camera
from calibration.errors import CalibrationError

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rig:
    """C cameras in one world, which of them form stereo pairs (left, right), and the covariance of poses and lenses if known.

    covariance: (6C, 6C), per camera (rvec rad, t m) of cam_from_world. lens_covariance: per camera a matrix of side
    4 + LENSES[lens] over (fx, fy, cx, cy in px, dist in the order of Camera.dist). Raises CalibrationError on double or unknown
    names and on a covariance of another shape.
    """

    cameras: tuple[Camera, ...]
    stereo_pairs: tuple[tuple[str, str], ...] = ()
    covariance: Array | None = None
    lens_covariance: tuple[Array, ...] | None = None

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
        if self.lens_covariance is not None:
            object.__setattr__(self, "lens_covariance", _checked(self.lens_covariance, self.cameras))

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
        """The rig of the named cameras, in the given order, with their parts of the covariances; stereo pairs that lose a
        camera are dropped."""
        wanted = tuple(names)
        cameras = tuple(self[name] for name in wanted)
        pairs = tuple(pair for pair in self.stereo_pairs if set(pair) <= set(wanted))
        at = np.array([self.names.index(name) for name in wanted], dtype=np.intp)
        rows = (6 * at[:, None] + np.arange(6)).reshape(-1)
        poses = None if self.covariance is None else np.asarray(self.covariance)[np.ix_(rows, rows)]
        lenses = None if self.lens_covariance is None else tuple(self.lens_covariance[index] for index in at)
        return Rig(cameras, pairs, poses, lenses)


def _checked(lens_covariance: Iterable[Array], cameras: tuple[Camera, ...]) -> tuple[Array, ...]:
    blocks = tuple(np.array(block, dtype=np.float64) for block in lens_covariance)
    if len(blocks) != len(cameras):
        raise CalibrationError(f"rig: lens_covariance: expected {len(cameras)} matrices, one per camera, got {len(blocks)}")
    for camera, block in zip(cameras, blocks, strict=True):
        size = 4 + LENSES[camera.lens]
        if block.shape != (size, size):
            raise CalibrationError(
                f"rig: lens_covariance of camera {camera.name}: expected ({size}, {size}) over fx, fy, cx, cy and the "
                f"{LENSES[camera.lens]} coefficients of a {camera.lens} lens, got {block.shape}"
            )
    return blocks
