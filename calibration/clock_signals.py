"""Clocks from what all cameras sense alike: sound, motion, flashes of light.

Two signals are slid over each other, first whole, then window by window; the windows' lags lie on a line whose height is the
offset and whose slope is the drift, and their scatter about it says how sure both are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, signal

from calibration.clocks import CAUCHY_SIGMAS, CRYSTAL, PairClock, spread
from calibration.errors import CalibrationError

Array = NDArray[np.float64]

# The best lag of the whole signals must be this much higher than any lag further than NEAR_S from it.
CLEARER, NEAR_S = 1.25, 0.3
# Lags of windows are searched this far around that of the whole: 100 ppm over ten minutes are 30 ms either way.
AROUND_S = 0.25
# Less than this, in common or at all, says nothing.
LEAST_S = 1.0
# Windows are looked at again with the drift taken out that they told.
ROUNDS = 3
# A window further off the line than so many sigmas says nothing; so many must say something.
OUTLIER_SIGMAS, LEAST_WINDOWS, LEAST_SHARE = 4.0, 3, 0.4


@dataclass(frozen=True, eq=False)
class Signal:
    """One camera's evenly sampled signal: values (N,), the own time of the first in s, samples per second."""

    camera: str
    values: Array
    start_s: float
    rate_hz: float

    def between(self, begin_s: float, end_s: float) -> Signal:
        """The part between two own times."""
        first, last = (int(np.clip(round((at - self.start_s) * self.rate_hz), 0, len(self.values))) for at in (begin_s, end_s))
        return Signal(self.camera, self.values[first:last], self.start_s + first / self.rate_hz, self.rate_hz)

    @property
    def end_s(self) -> float:
        """Own time behind the last sample."""
        return self.start_s + len(self.values) / self.rate_hz


def even_signal(camera: str, own_s: Array, values: Array, rate_hz: float) -> Signal:
    """Values (F,) at a camera's own frame times, made even and freed of what changes slowly (over 2 s)."""
    at_s = np.arange(own_s[0], own_s[-1], 1.0 / rate_hz)
    even = np.interp(at_s, own_s, np.log1p(values))
    slow = signal.windows.hann(2 * round(rate_hz) + 1)
    trend = signal.fftconvolve(even, slow, mode="same") / signal.fftconvolve(np.ones_like(even), slow, mode="same")
    return Signal(camera, even - trend, float(own_s[0]), rate_hz)


def signal_clock(a: Signal, b: Signal, max_offset_s: float, window_s: float, whiten: float) -> PairClock:
    """The clocks of two cameras from their signals. whiten: 0 correlates them as they are, 1 by phase alone (Knapp and Carter
    1976, "The generalized correlation method for estimation of time delay": sound in rooms that echo).

    Raises CalibrationError where no lag stands out, or windows do not agree on a line.
    """
    for each in (a, b):
        if each.end_s - each.start_s < LEAST_S:
            seconds = each.end_s - each.start_s
            raise CalibrationError(f"{each.camera}: {seconds:.2f} s are too short to compare (expected {LEAST_S:g})")
    whole_s, clarity = _lag_s(a, b, 0.0, max_offset_s, whiten)
    if clarity < CLEARER:
        raise CalibrationError(
            f"{a.camera} and {b.camera}: no lag stands out: the best is {clarity:.2f} times as high as another "
            f"(expected {CLEARER})"
        )
    begin_s, end_s = max(a.start_s, b.start_s + whole_s), min(a.end_s, b.end_s + whole_s)
    if end_s - begin_s < LEAST_S:
        shared = f"at their best lag they share {max(end_s - begin_s, 0.0):.2f} s"
        raise CalibrationError(f"{a.camera} and {b.camera}: {shared} (expected {LEAST_S:g})")
    edges_s = np.linspace(begin_s, end_s, max(1, int((end_s - begin_s) / window_s)) + 1)
    middle_s, windows = (edges_s[:-1] + edges_s[1:]) / 2, list(zip(edges_s, edges_s[1:], strict=False))
    clock = PairClock(a.camera, b.camera, whole_s, 0.0, np.zeros((2, 2)), float(middle_s.mean()))
    for _ in range(ROUNDS):
        beside = _set_beside(a, b, clock)
        more_s = [_lag_s(a.between(*window), beside, 0.0, AROUND_S, whiten)[0] for window in windows]
        lag_s = clock.offset_s + clock.drift * (middle_s - clock.about_s) + np.array(more_s)
        clock = fitted_line(a.camera, b.camera, middle_s, lag_s, 1.0 / a.rate_hz)
    return clock


def _set_beside(a: Signal, b: Signal, clock: PairClock) -> Signal:
    """b's signal at a's own times by a clock: what it still lags is small, and the same all through a window. Drift left in
    would smear a window's correlation over milliseconds, and its peak would be where the window is loudest."""
    own_s = a.start_s + np.arange(len(a.values)) / a.rate_hz
    there_s = own_s - clock.offset_s - clock.drift * (own_s - clock.about_s)
    values = np.interp(there_s, b.start_s + np.arange(len(b.values)) / b.rate_hz, b.values, left=0.0, right=0.0)
    return Signal(b.camera, values, a.start_s, a.rate_hz)


def _lag_s(a: Signal, b: Signal, about_s: float, within_s: float, whiten: float) -> tuple[float, float]:
    """Own time of a minus own time of b where they fit best, within within_s of about_s, and how many times higher the
    correlation is there than anywhere further than NEAR_S away."""
    part = b.between(a.start_s - about_s - within_s, a.end_s - about_s + within_s)
    size = fft.next_fast_len(len(a.values) + len(part.values), real=True)
    cross = fft.rfft(a.values - a.values.mean(), size) * np.conj(fft.rfft(part.values - part.values.mean(), size))
    cross /= np.maximum(np.abs(cross), 1e-12 * np.abs(cross).max(initial=1e-300)) ** whiten
    height = fft.irfft(cross, size)
    shift = np.arange(size)
    shift[shift >= len(a.values)] -= size  # part's sample 0 is a's sample `shift`
    lag_s = a.start_s - part.start_s + shift / a.rate_hz
    inside = np.flatnonzero(np.abs(lag_s - about_s) <= within_s)
    order = inside[np.argsort(lag_s[inside])]
    return _peak(lag_s[order], height[order])


def _peak(lag_s: Array, height: Array) -> tuple[float, float]:
    best = int(np.argmax(height))
    others = height[np.abs(lag_s - lag_s[best]) > NEAR_S]
    clarity = float(height[best] / max(others.max(initial=0.0), 1e-12)) if len(others) else np.inf
    if not 0 < best < len(height) - 1:
        return float(lag_s[best]), clarity
    before, top, after = height[best - 1 : best + 2]
    bend = before - 2 * top + after
    between = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return float(lag_s[best] + between * (lag_s[1] - lag_s[0])), clarity


def fitted_line(a: str, b: str, at_s: Array, lag_s: Array, step_s: float) -> PairClock:
    """The line through lags (N,) at own times of a (N,), each known to a step of step_s at best. Raises CalibrationError where
    too few of them agree."""
    about_s = float(at_s.mean())
    agree = np.ones(len(lag_s), dtype=bool)
    for _ in range(10):
        line, covariance, sigma_s = _line(at_s[agree] - about_s, lag_s[agree], step_s)
        off_s = np.abs(lag_s - line[0] - line[1] * (at_s - about_s))
        now = off_s <= OUTLIER_SIGMAS * max(sigma_s, step_s)
        if (now == agree).all():
            break
        agree = now if now.sum() >= 1 else agree
    if len(lag_s) >= LEAST_WINDOWS and agree.sum() < max(2, LEAST_SHARE * len(lag_s)):
        raise CalibrationError(f"{a} and {b}: only {agree.sum()} of {len(lag_s)} windows agree on a lag")
    return PairClock(a, b, float(line[0]), float(line[1]), covariance, about_s)


def _line(at_s: Array, lag_s: Array, step_s: float) -> tuple[Array, Array, float]:
    """Height and slope, their covariance, and the scatter of one lag (from the median, so that outliers do not widen it)."""
    start, by = np.array([np.median(lag_s), 0.0]), np.stack([np.ones_like(at_s), at_s], 1)
    for _ in range(20):
        off = lag_s - by @ start
        spread_s = max(spread(off), step_s / np.sqrt(12.0))
        weight = 1.0 / (1.0 + (off / (CAUCHY_SIGMAS * spread_s)) ** 2) / spread_s**2
        normal = by.T @ (by * weight[:, None]) + np.diag([0.0, CRYSTAL**-2])
        start = np.linalg.solve(normal, by.T @ (weight * lag_s))
    return start, np.linalg.inv(normal), spread_s


def flash_times(own_s: Array, level: Array) -> Array:
    """Own times at which the mean grey level (F,) of the pictures jumps up: flashes, lights switched on. A flash falls
    somewhere between its frame and the one before."""
    rise = np.diff(level)
    usual = spread(rise - np.median(rise)) if len(rise) else 0.0
    up = np.flatnonzero((rise > max(8.0, 8.0 * usual)) & (rise >= np.r_[rise[1:], 0.0]) & (rise > np.r_[0.0, rise[:-1]]))
    return np.asarray((own_s[up] + own_s[up + 1]) / 2)


def flash_clock(a: str, b: str, flashes_a: Array, flashes_b: Array, max_offset_s: float, frame_s: float) -> PairClock:
    """The clocks of two cameras from the times of flashes that both saw. Raises CalibrationError where none belong together, or
    other offsets explain as many."""
    lags_s = (flashes_a[:, None] - flashes_b).ravel()
    lags_s = lags_s[np.abs(lags_s) <= max_offset_s]
    if not len(lags_s):
        raise CalibrationError(f"{a} and {b}: {len(flashes_a)} and {len(flashes_b)} flashes, none within {max_offset_s:g} s")
    votes = (np.abs(lags_s[:, None] - lags_s) <= 1.5 * frame_s).sum(1)
    best = lags_s[votes.argmax()]
    rivals = votes[np.abs(lags_s - best) > NEAR_S]
    if votes.max() <= rivals.max(initial=0):
        raise CalibrationError(f"{a} and {b}: {len(flashes_a)} and {len(flashes_b)} flashes fit together in several ways")
    nearest = np.abs(flashes_a[:, None] - flashes_b - best)
    i, j = np.nonzero((nearest <= 1.5 * frame_s) & (nearest == nearest.min(1, keepdims=True)))
    return fitted_line(a, b, flashes_a[i], flashes_a[i] - flashes_b[j], frame_s)
