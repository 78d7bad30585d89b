"""One calibrated camera: intrinsics, lens and pose."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.errors import CalibrationError
from calibration.lens import distort, undistort_brown
from calibration.transforms import Rigid

Array = NDArray[np.float64]

# Number of distortion coefficients per lens, in OpenCV's order.
LENSES = {"brown": 5, "rational": 8, "fisheye": 4}


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera with a lens.

    name; size_wh (width, height) in px; K (3, 3) in px; dist (n,) OpenCV coefficients, n = 5 brown, 8 rational, 4 fisheye;
    cam_from_world in metres; readout_s from the first image row to the last, negative from the bottom up, 0 for a global
    shutter (it changes no projection: `calibration.rolling_shutter` does). Raises CalibrationError naming the camera and the
    field that is wrong.
    """

    name: str
    size_wh: tuple[int, int]
    K: Array
    dist: Array = field(default_factory=lambda: np.zeros(5))
    lens: str = "brown"
    cam_from_world: Rigid = field(default_factory=Rigid.identity)
    readout_s: float = 0.0

    def __post_init__(self) -> None:
        K, dist = np.array(self.K, dtype=np.float64), np.array(self.dist, dtype=np.float64).reshape(-1)
        if self.lens not in LENSES:
            raise CalibrationError(f"camera {self.name}: lens: expected one of {', '.join(LENSES)}, got {self.lens!r}")
        if self.lens == "brown" and dist.size == 4:
            dist = np.append(dist, 0.0)  # k3 = 0
        if K.shape != (3, 3) or dist.shape != (LENSES[self.lens],):
            raise CalibrationError(
                f"camera {self.name}: expected K (3, 3) and {LENSES[self.lens]} distortion coefficients for lens "
                f"{self.lens}, got {K.shape} and {dist.size}"
            )
        for label, values in (("K", K), ("dist", dist)):
            if not np.isfinite(values).all():
                raise CalibrationError(f"camera {self.name}: {label} holds NaN or infinity; calibrate this camera again")
        if not np.isfinite(self.readout_s):
            raise CalibrationError(f"camera {self.name}: readout_s: expected seconds, got {self.readout_s}")
        if K[0, 0] <= 0 or K[1, 1] <= 0:
            raise CalibrationError(f"camera {self.name}: focal lengths must be positive, got {K[0, 0]}, {K[1, 1]} px")
        width, height = (int(v) for v in self.size_wh)
        if width <= 0 or height <= 0:
            raise CalibrationError(f"camera {self.name}: size_wh must be positive, got {width}x{height}")
        object.__setattr__(self, "size_wh", (width, height))
        object.__setattr__(self, "K", K)
        object.__setattr__(self, "dist", dist)

    @property
    def centre_m(self) -> Array:
        """The optical centre (3,) in world metres."""
        return self.cam_from_world.inverse().t

    def with_pose(self, cam_from_world: Rigid) -> Camera:
        """The same camera standing elsewhere."""
        return replace(self, cam_from_world=cam_from_world)

    def project(self, xyz_m: ArrayLike) -> Array:
        """World points (N, 3) in metres to distorted pixels (N, 2); NaN for points at or behind the camera plane."""
        cam_m = self.cam_from_world.apply(np.asarray(xyz_m, dtype=np.float64).reshape(-1, 3))
        xy_px = np.full((len(cam_m), 2), np.nan)
        front = cam_m[:, 2] > 1e-9
        if front.any():
            xy_px[front] = self._distort(cam_m[front])
        return xy_px

    def _distort(self, cam_m: Array) -> Array:
        X, Y, Z = cam_m.T
        x, y = distort(X / Z, Y / Z, self.dist, self.lens)
        return np.stack([self.K[0, 0] * x + self.K[0, 2], self.K[1, 1] * y + self.K[1, 2]], axis=1)

    def undistort(self, xy_px: ArrayLike) -> Array:
        """Distorted pixels (N, 2) to normalised image coordinates (N, 2): x/z, y/z in the camera frame; NaN stays NaN."""
        px = np.asarray(xy_px, dtype=np.float64).reshape(-1, 2)
        out = np.full(px.shape, np.nan)
        seen = np.isfinite(px[:, 0]) & np.isfinite(px[:, 1])
        if self.lens == "brown" and self.K[0, 1] == 0.0:
            u, v = (px[:, 0] - self.K[0, 2]) / self.K[0, 0], (px[:, 1] - self.K[1, 2]) / self.K[1, 1]
            x, y, found = undistort_brown(u, v, self.dist)
            out[:, 0], out[:, 1] = x, y
            if found.all():
                return out
            out[~found] = np.nan
            seen &= ~found
        if seen.any():
            # 1e-12 and 50 steps: OpenCV's default of five steps leaves up to 0.1 px at the corners of a wide lens.
            stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-12)
            if self.lens == "fisheye":
                flat = cv2.fisheye.undistortPoints(px[seen][:, None], self.K, self.dist, criteria=stop)
            else:
                flat = cv2.undistortPoints(px[seen][:, None], self.K, self.dist, criteria=stop)
            out[seen] = flat.reshape(-1, 2)
        return out
