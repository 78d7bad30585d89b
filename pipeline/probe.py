"""What a reader of frames gives: shots, and a probe of what the source holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.progress import Advance

Image = NDArray[np.uint8]
NS = 1_000_000_000


class Shot(NamedTuple):
    """One frame of a source before cropping: its number, its time after the source's first frame, RGB uint8 (H, W, 3)."""

    number: int
    t_ns: int
    image: Image


@dataclass(frozen=True)
class Probe:
    """What a source holds. size_wh px before cropping; t_ns: one time per frame, from 0; declared: frames the file claims to
    hold (0: it does not say); problem: the first thing found wrong, "" when nothing was; starts_ns: the first frame's time on
    the clock that the cameras of a recording share, 0 for files, which know of none."""

    path: Path
    size_wh: tuple[int, int]
    t_ns: tuple[int, ...]
    declared: int = 0
    problem: str = ""
    starts_ns: int = 0

    @property
    def frames(self) -> int:
        """Frames found."""
        return len(self.t_ns)

    @property
    def fps(self) -> float:
        """Frame rate from the median interval; 0 for fewer than two frames."""
        return float(NS / np.median(np.diff(self.t_ns))) if self.frames > 1 else 0.0

    @property
    def duration_ns(self) -> int:
        """From the first frame to the end of the last."""
        return self.t_ns[-1] + (round(NS / self.fps) if self.fps else 0) if self.t_ns else 0


class Reader(Protocol):
    """A source that can be read more than once; `files` are what it is made of."""

    files: list[Path]

    def probe(self) -> Probe:
        """A quick look: the index of the file and its first frame. Raises InputError when it cannot be opened."""
        ...

    def check(self, advance: Advance) -> Probe:
        """A full look: every frame is decoded once; what is damaged is told in `Probe.problem`."""
        ...

    def shots(self, numbers: Sequence[int] | None = None) -> Iterator[Shot]:
        """The frames of those numbers, ascending (default: all); what the source does not hold is left out. Long stretches
        between them cost nothing where the source can be entered behind them. Raises InputError when one cannot be decoded."""
        ...
