"""Writing video so that the same frames give the same bytes."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np

from pipeline.probe import NS, Image

# The clock of MPEG: every usual frame rate falls on whole ticks.
TIME_BASE = Fraction(1, 90_000)


class VideoWriter:
    """An H.264 mp4 with the times it is given.

    One encoder thread and no look-ahead (tune zerolatency): with B-frames x264 gave other bytes in 1 of 40 equal runs.
    """

    def __init__(self, path: Path, crf: int = 18) -> None:
        self._out = av.open(str(path), "w", options={"movflags": "faststart"})
        self._stream: av.VideoStream | None = None
        self._options = {"crf": str(crf), "preset": "veryfast", "tune": "zerolatency"}

    def write(self, image: Image, t_ns: int) -> None:
        """Add RGB uint8 (H, W, 3) shown at t_ns; times must ascend."""
        if self._stream is None:
            self._stream = self._open(image.shape[1], image.shape[0])
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame.pts, frame.time_base = round(t_ns / NS / TIME_BASE), TIME_BASE
        self._out.mux(self._stream.encode(frame))

    def _open(self, width: int, height: int) -> av.VideoStream:
        stream = self._out.add_stream("libx264", options=self._options)
        stream.width, stream.height = width, height
        # 4:2:0 halves the colour planes, which an odd size does not allow.
        stream.pix_fmt = "yuv420p" if width % 2 == 0 and height % 2 == 0 else "yuv444p"
        stream.codec_context.time_base, stream.codec_context.thread_count = TIME_BASE, 1
        return stream

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None and self._stream is not None:
                self._out.mux(self._stream.encode())
        finally:
            self._out.close()
