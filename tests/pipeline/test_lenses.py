"""Lenses from photos: what is said when the photos do not do."""

import numpy as np
import pytest

from calibration.board import parse_board
from calibration.errors import CalibrationError
from calibration.intrinsics_report import DetectorFigure
from pipeline import lenses
from pipeline.config import CalibrateConfig
from pipeline.errors import StageError
from pipeline.lenses import lens_from_photos, told

BOARD = parse_board("chessboard:9x6:0.025")
BLANK = [np.full((120, 160, 3), 128, np.uint8)] * 3


def test_photos_without_the_board_are_named_with_camera_and_folder() -> None:
    with pytest.raises(StageError, match=r"camera cam1: photos in raw/photos"):
        lens_from_photos(BLANK, BOARD, CalibrateConfig(), "cam1", "raw/photos")


def test_photos_that_show_the_board_and_do_not_suffice_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lenses, "find_views", lambda board, image, find: np.zeros((48, 2)))
    with pytest.raises(CalibrationError, match=r"\(photos in raw/photos\)$"):
        lens_from_photos(BLANK, BOARD, CalibrateConfig(), "cam1", "raw/photos")


def test_a_detectors_figures_are_one_line() -> None:
    figure = DetectorFigure("as sampled", 12, 1400.04, 1401.0, 0.2346, "brown", (), 1400.04)
    assert told(figure) == "as sampled: 12 views, fx 1400.0, rms 0.235 px, brown"
