"""A film to measure decoding on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np

from pipeline.probe import Image
from pipeline.video import VideoReader

WIDTH, HEIGHT, FPS = 1920, 1080, 30
STEP_PX = 6  # the picture moves by so much from frame to frame


def film(path: Path, frames: int) -> Path:
    """1080p H.264 of a textured wall that passes by, about 5 Mbit/s as cameras write it."""
    coarse = np.random.default_rng(0).integers(0, 255, (HEIGHT // 20, (WIDTH + STEP_PX * frames) // 20 + 1, 3), dtype=np.uint8)
    wall = cv2.resize(coarse, None, fx=20, fy=20, interpolation=cv2.INTER_CUBIC)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "g": str(FPS)})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(frames):
            picture = np.ascontiguousarray(wall[:HEIGHT, STEP_PX * number : STEP_PX * number + WIDTH], np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def frames_of(path: Path) -> Iterator[Image]:
    """RGB pictures as the stages get them."""
    return (shot.image for shot in VideoReader(path).shots())


def decoded(path: Path) -> int:
    """Frames decoded and thrown away, on as many threads as the reader has."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        return sum(1 for _ in container.decode(video=0))
