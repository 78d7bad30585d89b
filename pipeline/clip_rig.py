"""The rig in the pixels of one clip: a clip's images may be a part of the images the rig was calibrated with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from calibration.camera import Camera
from calibration.rig import Array, Rig
from calibration.transforms import scale_px
from pipeline.store import Ref


def clip_rig(ref: Ref, cameras: Iterable[str]) -> Rig:
    """The named cameras of the rig among the inputs of `ref`, in the pixel frame of the clip that its ingest describes.

    Raises CalibrationError naming a camera that the rig does not have.
    """
    from pipeline.calibrate import read_rig

    figures = ref.only("ingest").summary
    rig = read_rig(ref.only("calibrate")).subset(cameras)
    return in_clip(rig, figures["size_wh"], figures["image_origin_px"], figures["image_scale"])


def in_clip(
    rig: Rig,
    size_wh: Mapping[str, tuple[int, int]],
    image_origin_px: Mapping[str, tuple[float, float]],
    image_scale: Mapping[str, tuple[float, float]] | None = None,
) -> Rig:
    """The rig for images of size_wh whose pixel (0, 0) lies at image_origin_px (default 0, 0) of the calibrated image and
    that hold image_scale (default 1, 1) pixels per pixel of it: x_clip = scale_px(x_calibrated - origin, scale)."""
    scales = image_scale or {}
    moved = (
        _cut(camera, size_wh[camera.name], image_origin_px.get(camera.name, (0.0, 0.0)), scales.get(camera.name, (1.0, 1.0)))
        for camera in rig.cameras
    )
    lenses = None
    if rig.lens_covariance is not None:
        lenses = tuple(
            _stretched(block, scales.get(name, (1.0, 1.0))) for name, block in zip(rig.names, rig.lens_covariance, strict=True)
        )
    return Rig(tuple(moved), rig.stereo_pairs, rig.covariance, lenses)


def _stretched(lens_covariance: Array, scale: tuple[float, float]) -> Array:
    """Of (fx, fy, cx, cy, dist...) in the pixels of a resized image: fx and cx go with its width, fy and cy with its height."""
    sides = np.ones(len(lens_covariance))
    sides[:4] = np.tile(np.asarray(scale, dtype=np.float64), 2)
    return lens_covariance * np.outer(sides, sides)


def _cut(camera: Camera, size_wh: tuple[int, int], origin_px: tuple[float, float], scale: tuple[float, float]) -> Camera:
    K = camera.K.copy()
    K[:2, 2] = scale_px(K[:2, 2] - np.asarray(origin_px, dtype=np.float64), scale)
    K[:2, :2] *= np.asarray(scale, dtype=np.float64)[:, None]
    return replace(camera, size_wh=(int(size_wh[0]), int(size_wh[1])), K=K)
