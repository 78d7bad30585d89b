"""What is told of a solved lens: its certainty, how it was chosen, which views were left out, what to film to improve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.board_views import Coverage
from calibration.lens_choice import SIMPLEST, LensChoice, LensModel
from calibration.outlier_views import DroppedView

Array = NDArray[np.float64]

# Pixels count as anisotropic when fx and fy differ by more than this share, and by more than 3 sigma of their ratio.
ANISOTROPIC_SHARE = 0.005


@dataclass(frozen=True)
class FitFigures:
    """A fit in short: views, focal lengths and RMS in px."""

    views: int = 0
    fx_px: float = float("nan")
    fy_px: float = float("nan")
    rms_px: float = float("nan")


@dataclass(frozen=True)
class DetectorFigure:
    """What one corner detector led to with all its views: how many, focal lengths and RMS in px, and the lens solved for.

    dropped names the outliers among them; kept_fx_px is fx without these.
    """

    detector: str
    views: int
    fx_px: float
    fy_px: float
    rms_px: float
    lens: str
    dropped: tuple[DroppedView, ...]
    kept_fx_px: float


@dataclass(frozen=True, eq=False)
class IntrinsicsReport:
    """How a lens was found. per_view_px (F,) RMS of each view used, NaN for the others; views_used and suspect_views (those
    dropped, told by name in `dropped`) index F.

    rms_px over all corners (length of the 2D error, as OpenCV states it); sigmas are 1 sigma from the residuals, of fx, fy,
    of the principal point (x, y) and of fx / fy; figures: one entry per detector tried, where images were given; choice:
    how the lens was chosen, None where it was pinned; before_drop: the figures with the dropped views. xy_px (F, M, 2) the
    corners fitted, NaN unseen or left out; residual_xy_px (F, M, 2) projected minus seen.
    """

    rms_px: float
    per_view_px: Array
    views_used: tuple[int, ...]
    suspect_views: tuple[int, ...]
    fx_sigma_px: float
    figures: tuple[DetectorFigure, ...] = ()
    model: LensModel = SIMPLEST
    choice: LensChoice | None = None
    dropped: tuple[DroppedView, ...] = ()
    coverage: Coverage | None = None
    fy_sigma_px: float = float("nan")
    centre_sigma_px: tuple[float, float] = (float("nan"), float("nan"))
    aspect: float = 1.0
    aspect_sigma: float = float("nan")
    before_drop: FitFigures = FitFigures()
    xy_px: Array | None = None
    residual_xy_px: Array | None = None

    @property
    def anisotropic(self) -> bool:
        """True when fx / fy differs from 1 by more than ANISOTROPIC_SHARE and by more than its own 3 sigma."""
        return bool(abs(self.aspect - 1) > max(ANISOTROPIC_SHARE, 3 * self.aspect_sigma))

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of this lens: pixels that are not square, views dropped, what to film to improve."""
        square = f"pixels are not square: fx / fy = {self.aspect:.4f} +- {self.aspect_sigma:.4f}; is the video stretched?"
        told = [square] if self.anisotropic else []
        told += [str(view) for view in self.dropped]
        for figure in self.figures:
            told += [f"{figure.detector} detector: {view}{self._read(view.view)}" for view in figure.dropped]
        return (*told, *(self.coverage.advice if self.coverage else ()))

    def _read(self, view: int) -> str:
        """Whether a view that some detector misread is used here all the same."""
        return f"; used with corners read anew, RMS {self.per_view_px[view]:.2f} px" if view in self.views_used else ""
