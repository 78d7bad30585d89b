"""Filters of joint tracks over time; each takes and returns joints (F, J, 3) in m with NaN where nothing is known.

A filter runs over every stretch without NaN by itself: it fills nothing. `pipeline.gaps` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import UnivariateSpline
from scipy.ndimage import median_filter
from scipy.signal import butter, filtfilt

from pipeline.types import Array

# Fewer samples than this determine no smoothing spline.
SPLINE_SAMPLES = 5
# Tukey's tuning constant: 95 % efficient on Gaussian noise; and the passes that the weights need to settle.
BISQUARE, PASSES = 4.685, 3
# Samples of the running median that the first weights are told from: a spline through a wrong joint would excuse it.
MEDIAN_OF = 7


def butterworth(xyz_m: Array, rate_hz: float, cutoff_hz: float = 6.0, order: int = 2) -> Array:
    """Zero-lag low-pass: scipy's butter(order, cutoff / (rate / 2)) run forwards and backwards (Winter 2009, section 2.2.4.4).

    The two runs double the order. Stretches too short to be padded (3 (order + 1) samples or fewer), and rates at which the
    cut-off is out of reach, are left as they are.
    """
    if cutoff_hz >= rate_hz / 2:
        return xyz_m.copy()
    b, a = butter(order, cutoff_hz / (rate_hz / 2))
    return _by_stretch(xyz_m, lambda x, _: filtfilt(b, a, x, axis=0), 3 * max(len(a), len(b)) + 1)


def one_euro(xyz_m: Array, t_s: Array, min_cutoff_hz: float = 4.0, beta: float = 5.0, speed_cutoff_hz: float = 1.0) -> Array:
    """Causal low-pass whose cut-off rises with speed (Casiez, Roussel, Vogel 2012): min_cutoff_hz + beta |speed in m/s|."""

    def run(x: Array, span: slice) -> Array:
        out, speed, t = x.copy(), np.zeros(3), t_s[span]
        for k in range(1, len(x)):
            seconds = t[k] - t[k - 1]
            speed += _share(speed_cutoff_hz, seconds) * ((x[k] - out[k - 1]) / seconds - speed)
            out[k] = out[k - 1] + _share(min_cutoff_hz + beta * float(np.linalg.norm(speed)), seconds) * (x[k] - out[k - 1])
        return out

    return _by_stretch(xyz_m, run, 2)


def robust_spline(xyz_m: Array, t_s: Array, sigma_m: Array) -> Array:
    """Cubic spline with the fewest knots that leaves residuals of the size of the noise (FITPACK: Dierckx 1993), with bisquare
    weights, so that single wrong joints do not bend it. sigma_m (F, J): 1 sigma of a coordinate."""
    out = xyz_m.copy()
    for joint in range(xyz_m.shape[1]):
        for span in stretches(np.isfinite(xyz_m[:, joint]).all(-1) & np.isfinite(sigma_m[:, joint])):
            if span.stop - span.start >= SPLINE_SAMPLES:
                out[span, joint] = _spline(xyz_m[span, joint], t_s[span], sigma_m[span, joint])
    return out


def _spline(xyz_m: Array, t_s: Array, sigma_m: Array) -> Array:
    sigma_m, fit = np.maximum(sigma_m, 1e-9), median_filter(xyz_m, (MEDIAN_OF, 1))
    for _ in range(PASSES):
        away = np.linalg.norm(xyz_m - fit, axis=1) / sigma_m
        weight = np.maximum(1 - np.minimum(away / (BISQUARE * np.sqrt(3)), 1.0) ** 2, 1e-3)
        splines = [UnivariateSpline(t_s, axis, weight / sigma_m, s=float((weight**2).sum())) for axis in xyz_m.T]
        fit = np.stack([spline(t_s) for spline in splines], axis=-1)
    return np.asarray(fit)


def _share(cutoff_hz: float, seconds: float) -> float:
    """Weight of the newest sample in an exponential filter."""
    return 1.0 / (1.0 + 1.0 / (2 * np.pi * cutoff_hz * seconds))


def _by_stretch(xyz_m: Array, run: Callable[[Array, slice], Array], least: int) -> Array:
    out = xyz_m.copy()
    for joint in range(xyz_m.shape[1]):
        for span in stretches(np.asarray(np.isfinite(xyz_m[:, joint]).all(-1))):
            if span.stop - span.start >= least:
                out[span, joint] = run(xyz_m[span, joint], span)
    return out


def stretches(known: NDArray[np.bool_]) -> Iterator[slice]:
    """The runs of True in (F,)."""
    edges = np.flatnonzero(np.diff(np.r_[False, known, False].astype(np.int8)))
    return (slice(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True))
