"""Writes the studio's pictures as a user's cameras would: H.264 in mp4, one file per camera, tiled, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.render import Image


class Tape:
    """One H.264 file being recorded. The same pictures give the same bytes: one encoder thread, no timestamps of the day."""

    def __init__(self, path: Path, size_wh: tuple[int, int], fps: float, crf: int) -> None:
        import av

        path.parent.mkdir(parents=True, exist_ok=True)
        rate = Fraction(fps).limit_denominator(1001)
        self._container: Any = av.open(str(path), "w", format="mp4", container_options={"fflags": "+bitexact"})
        self._stream: Any = self._container.add_stream("libx264", rate=rate)
        self._stream.width, self._stream.height = size_wh
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"crf": str(crf), "preset": "veryfast", "threads": "1"}
        self._stream.codec_context.thread_count = 1

    def write(self, image: Image) -> None:
        """Add one RGB picture (H, W, 3) of the tape's size; width and height must be even."""
        import av

        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write what the encoder still holds and finish the file."""
        self._container.mux(self._stream.encode(None))
        self._container.close()


class Deck:
    """All tapes of one clip: a file per four-way camera, those four tiled 2x2, and the stereo pair side by side."""

    def __init__(self, folder: Path, fourway: Sequence[str], size_wh: tuple[int, int], fps: float, crf: int) -> None:
        width, height = size_wh
        self._fourway = tuple(fourway)
        self._open = ExitStack()
        self._tapes: dict[str, Tape] = {}
        sizes = dict.fromkeys(fourway, size_wh) | {"fourway": (2 * width, 2 * height), "stereo": (2 * width, height)}
        for name, size in sizes.items():
            self._tapes[name] = Tape(folder / f"{name}.mp4", size, fps, crf)
            self._open.callback(self._tapes[name].close)

    def __enter__(self) -> Deck:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def write(self, pictures: dict[str, Image], stereo: tuple[str, str]) -> None:
        """Record one instant: the picture (H, W, 3) of every camera by name."""
        a, b, c, d = (pictures[name] for name in self._fourway)
        for name in self._fourway:
            self._tapes[name].write(pictures[name])
        self._tapes["fourway"].write(np.vstack([np.hstack([a, b]), np.hstack([c, d])]))
        self._tapes["stereo"].write(np.hstack([pictures[name] for name in stereo]))
