from __future__ import annotations

import base64
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from pipeline.calibration_figures import ARROW_STEPS, Corners, corner_picture, covariance_picture
from pipeline.calibration_figures import _bands as bands
from pipeline.calibration_figures import _rings as rings
from pipeline.calibration_figures import _round_to as round_to


def _corners(xy_px: np.ndarray, used: np.ndarray | None = None) -> Corners:
    return Corners(
        (640, 480), (320.0, 240.0), xy_px, np.full_like(xy_px, 0.1), np.ones(len(xy_px), bool) if used is None else used
    )


def _drawn(uri: str) -> ElementTree.Element:
    kind, data = uri.split(",")
    assert kind == "data:image/svg+xml;base64"
    return ElementTree.fromstring(base64.b64decode(data))


def test_coverage_is_the_share_of_cells_with_a_used_corner() -> None:
    everywhere = np.stack(np.meshgrid(np.arange(5, 640, 10), np.arange(5, 480, 10)), -1).reshape(-1, 2).astype(float)
    assert _corners(everywhere).covered == 1.0
    assert _corners(everywhere).cells().shape == (12, 16)
    assert _corners(everywhere[everywhere[:, 0] < 320]).covered == 0.5
    assert _corners(everywhere, everywhere[:, 1] < 240).covered == 0.5
    assert _corners(everywhere, np.zeros(len(everywhere), bool)).covered == 0.0


def test_a_camera_without_a_single_corner_has_an_empty_picture() -> None:
    assert _drawn(corner_picture(_corners(np.zeros((0, 2))))).tag.endswith("svg")


def test_rings_find_an_error_that_grows_outwards() -> None:
    rng = np.random.default_rng(0)
    radius = rng.uniform(0, 300, 6000)
    outward = 0.002 * radius + rng.normal(0, 0.1, 6000)
    middle, rms, mean, spread = rings(radius, np.abs(outward), outward)
    assert np.abs(mean - 0.002 * middle).max() < 5 * spread.max()
    assert spread == pytest.approx(0.1 / np.sqrt(500), rel=0.2)
    assert rms[-1] > 2 * rms[0]


@pytest.mark.parametrize(("value", "expected"), [(1.0, 1), (1.99, 1), (2.0, 2), (0.049, 0.02), (730, 500), (9.9, 5)])
def test_arrows_are_lengthened_by_a_round_number(value: float, expected: float) -> None:
    assert round_to(ARROW_STEPS, value) == pytest.approx(expected)


@pytest.mark.parametrize(("low", "high"), [(0.4, 9.0), (3.3, 3.4), (0.0, 1.0), (12.0, 1e6)])
def test_bands_rise_in_round_steps_from_below_the_least(low: float, high: float) -> None:
    limits = bands(low, high)
    assert limits[0] <= max(low, 1e-3)
    assert (np.diff(limits) > 0).all()
    assert 3 <= len(limits) <= 14


def test_a_camera_of_unknown_variance_is_drawn_without_bars() -> None:
    covariance = np.diag([0.0] * 6 + [1e-6] * 6 + [np.inf] * 6)
    assert _drawn(covariance_picture(("a", "$b$", "c_1"), covariance)).tag.endswith("svg")
