import numpy as np
import pytest

from calibration.clock_signals import Signal, even_signal, fitted_line, flash_clock, flash_times, signal_clock
from calibration.errors import CalibrationError

RATE_HZ = 8000.0


def _noise_at(own_s: np.ndarray, offset_s: float, drift: float, seed: int = 0) -> np.ndarray:
    """A band-limited random sound at session times own + offset + drift own, smooth between its samples."""
    rng = np.random.default_rng(seed)
    t_s = own_s + offset_s + drift * own_s
    grid_s = np.arange(-4.0, 80.0, 1 / 2000)
    return np.interp(t_s, grid_s, rng.normal(0, 1, len(grid_s)))


def _heard(name: str, offset_s: float, drift: float, seconds: float = 60.0, noise: float = 0.3) -> Signal:
    own_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    values = _noise_at(own_s, offset_s, drift) + noise * np.random.default_rng(ord(name)).normal(0, 1, len(own_s))
    return Signal(name, values, 0.0, RATE_HZ)


def test_sound_gives_offset_and_drift() -> None:
    clock = signal_clock(_heard("a", 0.0, 0.0), _heard("b", 1.234, 8e-5), 3.0, 8.0, 1.0)
    truth_s = 1.234 + 8e-5 * (clock.about_s - 1.234)  # b's own time of that event
    assert abs(clock.offset_s - truth_s) < 1e-4
    assert abs(clock.drift - 8e-5) < 3e-6
    assert np.sqrt(clock.covariance[0, 0]) < 1e-4


def test_signals_that_share_nothing_are_refused() -> None:
    other = Signal("b", np.random.default_rng(5).normal(0, 1, 480_000), 0.0, RATE_HZ)
    with pytest.raises(CalibrationError, match="a and b: no lag stands out"):
        signal_clock(_heard("a", 0.0, 0.0), other, 3.0, 8.0, 1.0)


def test_motion_gives_the_offset_to_a_fraction_of_a_frame() -> None:
    rng = np.random.default_rng(1)
    grid_s = np.arange(-4.0, 130.0, 0.1)
    energy = rng.gamma(1.5, 2.0, len(grid_s))
    own_s = np.arange(3600) / 30

    def seen(name: str, offset_s: float, gain: float) -> Signal:
        there = gain * np.interp(own_s + offset_s, grid_s, energy) + rng.normal(0, 0.2, len(own_s)) ** 2
        return even_signal(name, own_s, there, 120.0)

    clock = signal_clock(seen("a", 0.0, 1.0), seen("b", -0.61, 0.4), 3.0, 15.0, 0.0)
    assert abs(clock.offset_s + 0.61) < 0.008  # a quarter of a frame


def test_flashes_are_found_and_paired() -> None:
    own_s = np.arange(900) / 30
    level = 80 + np.random.default_rng(0).normal(0, 0.5, (2, 900))
    for session_s in (4.21, 11.9, 23.33):
        for camera, offset_s in enumerate((0.0, 1.5)):
            frame = int(np.ceil((session_s - offset_s) * 30))
            level[camera, frame : frame + 2] += 60
    flashes = [flash_times(own_s, each) for each in level]
    assert [len(each) for each in flashes] == [3, 3]
    clock = flash_clock("a", "b", *flashes, 3.0, 1 / 30)
    assert abs(clock.offset_s - 1.5) < 1 / 30


def test_flashes_that_fit_in_several_ways_are_refused() -> None:
    with pytest.raises(CalibrationError, match="fit together in several ways"):
        flash_clock("a", "b", np.array([2.0, 4.0]), np.array([3.0]), 3.0, 1 / 30)
    with pytest.raises(CalibrationError, match="1 and 0 flashes, none within 3 s"):
        flash_clock("a", "b", np.array([2.0]), np.zeros(0), 3.0, 1 / 30)


def test_windows_off_the_line_are_left_out_and_too_few_on_it_refused() -> None:
    at_s = np.linspace(0, 600, 40)
    lag_s = 0.5 + 5e-5 * (at_s - 300) + np.random.default_rng(0).normal(0, 1e-4, 40)
    lag_s[::5] += 0.2
    clock = fitted_line("a", "b", at_s, lag_s, 1e-4)
    assert abs(clock.offset_s - 0.5) < 1e-4
    assert abs(clock.drift - 5e-5) < 1e-6
    with pytest.raises(CalibrationError, match="windows agree on a lag"):
        fitted_line("a", "b", at_s, np.random.default_rng(1).uniform(-0.2, 0.2, 40) ** 3 * 30, 1e-6)


def test_signals_too_short_to_compare_are_refused() -> None:
    with pytest.raises(CalibrationError, match="b: 0.50 s are too short to compare"):
        signal_clock(_heard("a", 0.0, 0.0), _heard("b", 0.0, 0.0, seconds=0.5), 3.0, 8.0, 1.0)
    with pytest.raises(CalibrationError, match="a: 0.00 s are too short"):
        signal_clock(even_signal("a", np.zeros(1), np.ones(1), 120.0), _heard("b", 0.0, 0.0), 3.0, 8.0, 1.0)
