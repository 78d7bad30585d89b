"""Stereo pairs: rows made to agree, disparity, and points from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.camera import Camera
from calibration.errors import CalibrationError
from calibration.transforms import Rigid, rotation_angle_rad

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
Tables = tuple[NDArray[np.float32], NDArray[np.float32]]

# Cameras turned further than this from each other share too little for one rectified image plane.
WIDEST_TURN_RAD = np.deg2rad(60.0)


@dataclass(frozen=True, eq=False)
class Rectification:
    """A stereo pair on one image plane: rows of the two rectified images (size_wh px) agree.

    R1, R2 (3, 3) rectified_from_cam; P1, P2 (3, 4) px from rectified camera; Q (4, 4) takes (x, y, disparity, 1) px to
    homogeneous metres in the rectified left camera; valid_wh: size of the region that both images fill.
    """

    left: Camera
    right: Camera
    R1: Array
    R2: Array
    P1: Array
    P2: Array
    Q: Array
    valid_wh: tuple[int, int]

    @property
    def size_wh(self) -> tuple[int, int]:
        """Size of the rectified images: that of the cameras."""
        return self.left.size_wh

    @property
    def baseline_m(self) -> float:
        """Distance between the two optical centres in metres."""
        return float(np.linalg.norm(self.left.centre_m - self.right.centre_m))

    @cached_property
    def maps(self) -> tuple[Tables, Tables]:
        """Remap tables (map_x, map_y) of the left and the right image, each (H, W) float32 in distorted px."""
        return _tables(self.left, self.R1, self.P1), _tables(self.right, self.R2, self.P2)

    def apply(self, left: Image, right: Image) -> tuple[Image, Image]:
        """The rectified pair of two images (H, W[, 3]). Raises CalibrationError when an image and its camera differ in size."""
        for camera, image in ((self.left, left), (self.right, right)):
            width, height = camera.size_wh
            if image.shape[:2] != (height, width):
                raise CalibrationError(
                    f"camera {camera.name}: expected images of {width}x{height} as it was calibrated, "
                    f"got {image.shape[1]}x{image.shape[0]}; calibrate at this size or crop the footage back"
                )
        first, second = self.maps
        pair = (cv2.remap(left, *first, cv2.INTER_LINEAR), cv2.remap(right, *second, cv2.INTER_LINEAR))
        return np.asarray(pair[0], dtype=np.uint8), np.asarray(pair[1], dtype=np.uint8)

    def left_px(self, xy_px: ArrayLike) -> Array:
        """Pixels (N, 2) of the left camera in the rectified left image; NaN stays NaN."""
        return _rectified_px(self.left, self.R1, self.P1, xy_px)

    def right_px(self, xy_px: ArrayLike) -> Array:
        """Pixels (N, 2) of the right camera in the rectified right image; NaN stays NaN."""
        return _rectified_px(self.right, self.R2, self.P2, xy_px)


def rectify_pair(left: Camera, right: Camera, alpha: float = 0.0) -> Rectification:
    """Bouguet's rectification of two cameras side by side; alpha 0 keeps valid pixels only, 1 keeps every pixel.

    Raises CalibrationError when sizes or lens kinds differ, when the cameras share a centre, stand one above the other, are
    named the wrong way round, or look more than 60 degrees apart.
    """
    right_from_left = right.cam_from_world @ left.cam_from_world.inverse()
    _check_pair(left, right, right_from_left)
    if left.lens == "fisheye":
        R1, R2, P1, P2, Q = cv2.fisheye.stereoRectify(
            left.K, left.dist, right.K, right.dist, left.size_wh, right_from_left.R, right_from_left.t[:, None],
            flags=cv2.CALIB_ZERO_DISPARITY, balance=alpha,
        )  # fmt: skip
        valid_wh = left.size_wh
    else:
        R1, R2, P1, P2, Q, roi_left, roi_right = cv2.stereoRectify(
            left.K, left.dist, right.K, right.dist, left.size_wh, right_from_left.R, right_from_left.t[:, None],
            flags=cv2.CALIB_ZERO_DISPARITY, alpha=alpha,
        )  # fmt: skip
        valid_wh = _common(roi_left, roi_right)
    R1, R2, P1, P2, Q = (np.asarray(matrix, dtype=np.float64) for matrix in (R1, R2, P1, P2, Q))
    _check_layout(left, right, P2)
    return Rectification(left, right, R1, R2, P1, P2, Q, valid_wh)


def row_error_px(rect: Rectification, xy_left: ArrayLike, xy_right: ArrayLike) -> Array:
    """(N,) how far apart the rows of the same points are after rectification, from distorted px (N, 2); NaN where unseen."""
    left, right = rect.left_px(xy_left), rect.right_px(xy_right)
    if left.shape != right.shape:
        raise CalibrationError(f"row_error_px: expected as many left as right points, got {len(left)} and {len(right)}")
    return np.abs(left[:, 1] - right[:, 1])


def disparity(rect_left: Image, rect_right: Image, num_disparities: int = 128, block: int = 5) -> NDArray[np.float32]:
    """Disparity (H, W) px of a rectified pair (H, W[, 3]): column in the left minus column in the right; NaN where unmatched.

    Semi-global matching (Hirschmueller 2008) as in OpenCV, with a left-right check; 0 < disparity < num_disparities, a
    multiple of 16. Penalties are the 8 and 32 block areas per channel that OpenCV's documentation advises.
    """
    if num_disparities <= 0 or num_disparities % 16 or rect_left.shape != rect_right.shape:
        raise CalibrationError(
            "disparity: expected two images of one size and num_disparities a positive multiple of 16, "
            f"got {rect_left.shape}, {rect_right.shape} and {num_disparities}"
        )
    area = block * block * (rect_left.shape[2] if rect_left.ndim == 3 else 1)
    matcher = cv2.StereoSGBM.create(
        minDisparity=0, numDisparities=num_disparities, blockSize=block, P1=8 * area, P2=32 * area, disp12MaxDiff=1,
        preFilterCap=31, uniquenessRatio=10, speckleWindowSize=100, speckleRange=2, mode=cv2.STEREO_SGBM_MODE_SGBM_3WAY,
    )  # fmt: skip
    # OpenCV leaves the first num_disparities columns of the left image out; a margin as wide brings them back.
    padded = [cv2.copyMakeBorder(image, 0, 0, num_disparities, 0, cv2.BORDER_REPLICATE) for image in (rect_left, rect_right)]
    found = matcher.compute(padded[0], padded[1])[:, num_disparities:] / np.float32(16.0)
    # Zero is what an image without texture gets, a point at infinity at best; a partner left of column 0 is the margin.
    inside = (found > 0) & (np.arange(found.shape[1]) - found >= 0)
    return np.where(inside, found, np.float32(np.nan)).astype(np.float32)


def points_map(rect: Rectification, disparity_px: ArrayLike) -> Array:
    """(H, W, 3) metres in the LEFT CAMERA's own axes for a disparity map (H, W) px; NaN where it is NaN or not positive."""
    d = np.asarray(disparity_px, dtype=np.float64)
    rows, columns = np.mgrid[: d.shape[0], : d.shape[1]]
    d = np.where(d > 0, d, np.nan)
    homogeneous = np.stack([columns, rows, d, np.ones_like(d)], axis=-1) @ rect.Q.T
    return (homogeneous[..., :3] / homogeneous[..., 3:]) @ rect.R1  # cam = R1' rectified


def _check_pair(left: Camera, right: Camera, right_from_left: Rigid) -> None:
    pair = f"stereo pair {left.name}, {right.name}"
    if left.size_wh != right.size_wh:
        raise CalibrationError(f"{pair}: expected images of one size, got {left.size_wh} and {right.size_wh}")
    if (left.lens == "fisheye") != (right.lens == "fisheye"):
        raise CalibrationError(f"{pair}: expected one kind of lens, got {left.lens} and {right.lens}")
    if np.linalg.norm(right_from_left.t) < 1e-6:
        raise CalibrationError(f"{pair}: the two cameras stand in one place; was one calibrated twice?")
    turn = rotation_angle_rad(right_from_left.R, np.eye(3))
    if turn > WIDEST_TURN_RAD:
        raise CalibrationError(
            f"{pair}: the cameras are turned {np.rad2deg(turn):.0f} degrees from each other; a pair that can be rectified "
            "looks the same way (at most 60 degrees)"
        )


def _check_layout(left: Camera, right: Camera, P2: Array) -> None:
    pair = f"stereo pair {left.name}, {right.name}"
    if abs(P2[1, 3]) > abs(P2[0, 3]):
        raise CalibrationError(f"{pair}: one camera stands above the other; only side by side pairs are rectified")
    if P2[0, 3] > 0:
        raise CalibrationError(f"{pair}: {right.name} stands on the left of {left.name}; name the left camera first")


def _common(roi_left: Sequence[int], roi_right: Sequence[int]) -> tuple[int, int]:
    (xa, ya, wa, ha), (xb, yb, wb, hb) = roi_left, roi_right
    width, height = min(xa + wa, xb + wb) - max(xa, xb), min(ya + ha, yb + hb) - max(ya, yb)
    return max(int(width), 0), max(int(height), 0)


def _tables(camera: Camera, R: Array, P: Array) -> Tables:
    make = cv2.fisheye.initUndistortRectifyMap if camera.lens == "fisheye" else cv2.initUndistortRectifyMap
    map_x, map_y = make(camera.K, camera.dist, R, P[:, :3], camera.size_wh, cv2.CV_32FC1)
    return np.asarray(map_x, dtype=np.float32), np.asarray(map_y, dtype=np.float32)


def _rectified_px(camera: Camera, R: Array, P: Array, xy_px: ArrayLike) -> Array:
    rays = np.insert(camera.undistort(xy_px), 2, 1.0, axis=1) @ R.T
    return (rays[:, :2] / rays[:, 2:]) * np.array([P[0, 0], P[1, 1]]) + P[:2, 2]
