"""How cameras stand in a tiled or stereo frame, from where its pictures meet: the image changes along a whole line there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.probe import Image

TILED, STEREO = ("2x2", "4x1", "1x4"), ("2x1", "1x2")
# Frames to look at; what moves makes chance edges differ from seams.
FRAMES = 8
# Pixels beside a line that it is compared with: a codec smears a seam over the nearest two.
_NEAR, _FAR = 3, 16
# A line that stands alone changes so many times as much as any other beside it.
_ALONE = 1.5
# A seam changes so many times as much as the lines beside it, the next best layout's weakest one so many times less.
SURE, AHEAD = 2.0, 1.4


@dataclass(frozen=True)
class Proposal:
    """A layout COLUMNSxROWS and the change across its weakest seam, in multiples of that beside it; all: of every candidate."""

    layout: str
    change: float
    all: dict[str, float]

    @property
    def sure(self) -> bool:
        """Whether no other candidate comes near."""
        others = [change for layout, change in self.all.items() if layout != self.layout]
        return self.change >= SURE and all(self.change >= AHEAD * change for change in others)

    @property
    def words(self) -> str:
        """The figures, best first."""
        ranked = sorted(self.all.items(), key=lambda each: -each[1])
        return ", ".join(f"{layout} {change:.1f}" for layout, change in ranked)


def propose(images: Iterable[Image], candidates: Sequence[str]) -> Proposal:
    """The candidate (COLUMNSxROWS) whose seams stand out most in RGB images (H, W, 3) of one size."""
    across, down = _changes(images)
    found = {}
    for layout in candidates:
        columns, rows = map(int, layout.split("x"))
        seams = [_standing_out(across, len(across) * at // columns) for at in range(1, columns)]
        seams += [_standing_out(down, len(down) * at // rows) for at in range(1, rows)]
        found[layout] = round(min(seams), 2)
    best = max(found, key=lambda layout: found[layout])
    return Proposal(best, found[best], found)


def layout_of(images: Iterable[Image], candidates: Sequence[str], owner: str, option: str) -> Proposal:
    """The layout that is sure. Raises InputError with the figures when none is, naming the option that tells it."""
    proposal = propose(images, candidates)
    if not proposal.sure:
        raise InputError(
            f"{owner}: how the cameras stand in it is not sure from its seams (change across the weakest one in multiples of "
            f"that beside it: {proposal.words}; {SURE:g} and more expected); tell it with {option}"
        )
    return proposal


def _changes(images: Iterable[Image]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean change of light from column x - 1 to x, (W,), and from row y - 1 to y, (H,); 0 for the first."""
    sums, count = None, 0
    for count, image in enumerate(images, start=1):  # noqa: B007
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
        changes = [np.abs(np.diff(grey, axis=1)).mean(0), np.abs(np.diff(grey, axis=0)).mean(1)]
        sums = changes if sums is None else [a + b for a, b in zip(sums, changes, strict=True)]
    if sums is None:
        raise InputError("expected images to look for seams in, found none")
    across, down = (np.concatenate([[0.0], each / count]) for each in sums)
    return across, down


def _standing_out(changes: NDArray[np.float64], at: int) -> float:
    """The change at a line in multiples of that beside it: the median one, or where another line is like it, that."""
    beside = np.concatenate([changes[max(1, at - _FAR) : at - _NEAR], changes[at + _NEAR : at + _FAR]])
    # A tenth of a grey level: codecs leave less than that in flat pictures.
    return float(changes[at] / (max(np.median(beside), beside.max() / _ALONE) + 0.1))
