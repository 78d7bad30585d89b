"""What virtual people are put in front of, and what cameras do to a clean picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.render import Image
from pipeline.sources import read_image

# Side of a training image.
SIZE_PX = 256
# Photographs without people that scikit-image installs with itself.
SKIMAGE_PHOTOS = (
    "brick.png", "chelsea.png", "coffee.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "motorcycle_left.png",
    "motorcycle_right.png", "rocket.jpg",
)  # fmt: skip


def background_photos(folder: Path | str | None) -> list[Image]:
    """Photographs to put people in front of: a folder's, and scikit-image's where it is installed. Raises InputError."""
    import importlib.util

    paths = (
        [] if folder is None else sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    )
    if folder is not None and not paths:
        raise InputError(f"photos {folder}: expected .jpg or .png files in or below it, found none")
    installed = importlib.util.find_spec("skimage")
    if installed and installed.origin:
        paths += [Path(installed.origin).parent / "data" / name for name in SKIMAGE_PHOTOS]
    loaded = [_photo(path) for path in paths if path.is_file()]
    return [image for image in loaded if image is not None and min(image.shape[:2]) >= 64]


def _photo(path: Path) -> Image | None:
    """None for what is no picture: folders of photos hold other things, too."""
    try:
        return read_image(path)
    except InputError:
        return None


def background(photos: Sequence[Image], rng: np.random.Generator) -> Image:
    """A backdrop (256, 256, 3): a crop of a photo in changed colours, or procedural clutter."""
    picture = _clutter(rng) if not photos or rng.random() < 0.3 else _crop(photos[int(rng.integers(len(photos)))], rng)
    changed = picture * (rng.uniform(0.75, 1.15) * rng.uniform(0.88, 1.1, 3)) + rng.uniform(-20, 30)
    return np.clip(changed, 0, 255).astype(np.uint8)


def _crop(photo: Image, rng: np.random.Generator) -> Image:
    height, width = photo.shape[:2]
    side = int(rng.integers(min(96, height, width), min(height, width) + 1))
    y, x = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    resized = cv2.resize(photo[y : y + side, x : x + side], (SIZE_PX, SIZE_PX), interpolation=cv2.INTER_AREA)
    crop = np.asarray(resized, np.uint8)
    return crop[:, ::-1] if rng.random() < 0.5 else crop


def _clutter(rng: np.random.Generator) -> Image:
    """Smooth noise of several sizes with random polygons and lines over it."""
    out = np.zeros((SIZE_PX, SIZE_PX, 3), np.float32)
    for cells in (2, 5, 16, 64):
        out += cv2.resize(rng.uniform(0, 255, (cells, cells, 3)).astype(np.float32), (SIZE_PX, SIZE_PX)) * 0.25
    picture = np.clip((out - 127) * 1.6 + 127, 0, 255).astype(np.uint8)
    for _ in range(rng.integers(0, 25)):
        corners = (rng.uniform(-0.1, 1.1, 2) + rng.normal(0, 0.15, (rng.integers(3, 6), 2))) * SIZE_PX
        colour = [int(v) for v in rng.integers(0, 256, 3)]
        if rng.random() < 0.6:
            cv2.fillPoly(picture, [corners.astype(np.int32)], colour, cv2.LINE_AA)
        else:
            cv2.polylines(picture, [corners.astype(np.int32)], False, colour, int(rng.integers(1, 7)), cv2.LINE_AA)
    return picture


def spoiled(image: Image, rng: np.random.Generator) -> Image:
    """What a lens, a sensor and a shaky hand do to a picture: blur, motion blur, noise, contrast and gamma."""
    out = image.astype(np.float32)
    if rng.random() < 0.35:
        out = np.asarray(cv2.GaussianBlur(out, (0, 0), rng.uniform(0.4, 1.5)), np.float32)
    if rng.random() < 0.15:
        out = np.asarray(cv2.filter2D(out, -1, _streak(int(rng.integers(3, 9)), rng.uniform(0, np.pi))), np.float32)
    if rng.random() < 0.6:
        out = out + rng.uniform(1, 9) * rng.standard_normal(out.shape, np.float32)
    out = (out - 127) * rng.uniform(0.8, 1.25) + 127 + rng.uniform(-15, 20)
    gamma = rng.uniform(0.75, 1.2)
    return (np.clip(out / 255, 0, 1) ** gamma * 255).astype(np.uint8)


def _streak(length_px: int, angle_rad: float) -> NDArray[np.float32]:
    kernel = np.zeros((9, 9), np.float32)
    end = np.array([np.cos(angle_rad), np.sin(angle_rad)]) * length_px / 2
    cv2.line(kernel, tuple(int(v) for v in np.round(4 - end)), tuple(int(v) for v in np.round(4 + end)), 1.0)
    return kernel / kernel.sum()
