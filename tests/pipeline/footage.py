"""Small recordings made on the spot."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def picture(number: int, size_wh: tuple[int, int] = (64, 48), shade: int = 0) -> Image:
    """A picture from which its number can be read back: the upper half is one grey level per number."""
    image = np.full((size_wh[1], size_wh[0], 3), 20 + shade, np.uint8)
    image[: size_wh[1] // 2] = 10 + 5 * number
    return image


def number_of(image: Image) -> int:
    """The number of a picture, after compression."""
    return round((float(image[: image.shape[0] // 2].mean()) - 10) / 5)


def write_video(path: Path, images: list[Image], fps: int = 30, codec: str = "libx264", **options: str) -> Path:
    """Encode images; H.264 with B-frames and a keyframe every 12 frames unless told otherwise."""
    with av.open(str(path), "w", options={"movflags": "faststart"} if path.suffix == ".mp4" else {}) as out:
        stream = out.add_stream(codec, rate=Fraction(fps), options={"g": "12", "bf": "2", "crf": "10", **options})
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in images:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        out.mux(stream.encode())
    return path


def numbered_video(path: Path, frames: int, fps: int = 30, size_wh: tuple[int, int] = (64, 48), shade: int = 0) -> Path:
    """A video whose frames tell their number."""
    return write_video(path, [picture(number, size_wh, shade) for number in range(frames)], fps)


def turn_by_flag(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Set the display matrix (a, b, c, d) of an mp4's track: what phones do for portrait recordings."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version 0: 40 bytes of times, id, duration, layer, volume before the matrix
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))
