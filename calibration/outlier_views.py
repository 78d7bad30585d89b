"""Views that the others' lens does not explain, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.board_set import Target
from calibration.lens_choice import pose_only_rms_px
from calibration.lens_solve import LensFit

Array = NDArray[np.float64]

# A view fitted together with the others, and yet this many times worse than their median, is suspected: a view that merely
# shows a part of the image no other shows is fitted as well as they are.
SUSPECT_RATIO = 3.0
# It is dropped when the lens of the others alone misses it by this many times their median.
OUTLIER_RATIO = 4.0
# No more than this share of the views may go: beyond it nobody knows which ones are wrong.
MAX_DROPPED_SHARE = 0.25


@dataclass(frozen=True)
class DroppedView:
    """A view left out: its index, its name, its RMS px under the lens of the others (pose fitted), and their median RMS px."""

    view: int
    label: str
    rms_px: float
    median_px: float

    def __str__(self) -> str:
        return f"{self.label} dropped: RMS {self.rms_px:.2f} px against a median of {self.median_px:.2f} px"


def without_outliers(
    views: Array,
    used: Sequence[int],
    board: Target,
    fit: LensFit,
    solve: Callable[[list[int]], LensFit],
    labels: Sequence[str],
    least: int,
) -> tuple[list[int], LensFit, tuple[DroppedView, ...]]:
    """The views kept, the lens solved from them, and what was dropped; at least `least` views are kept.

    The worst view is judged by leaving it out: the lens is solved anew from the others and only the view's pose is fitted.
    """
    kept = list(used)
    dropped: list[DroppedView] = []
    most = int(MAX_DROPPED_SHARE * len(kept))
    while len(dropped) < most and len(kept) > least:
        place = int(np.argmax(fit.per_view_px))
        if fit.per_view_px[place] <= SUSPECT_RATIO * np.median(fit.per_view_px):
            break
        others = kept[:place] + kept[place + 1 :]
        alone = solve(others)
        rms_px, median_px = pose_only_rms_px(alone.camera, board, views[kept[place]]), float(np.median(alone.per_view_px))
        if rms_px <= OUTLIER_RATIO * median_px:
            break
        dropped.append(DroppedView(kept[place], labels[kept[place]], rms_px, median_px))
        kept, fit = others, alone
    return kept, fit, tuple(dropped)
