"""A camera's clock on the recorder's: from when its packets arrived.

A packet arrives when it was sent, plus the shortest way, plus whatever held it up; only the last differs and it only ever adds.
So the line below all points (time on the camera's clock, arrival) that lies closest to them is the relation of the clocks, as
Moon, Skelly and Towsley found for two computers ("Estimation and removal of clock skew from network delay measurements",
INFOCOM 1999): an edge of the lower convex hull.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ns = NDArray[np.int64]

# Crystals of cameras are within 100 ppm; a steeper line comes from too short a look.
MAX_DRIFT_PPM = 200.0


@dataclass(frozen=True)
class StreamClock:
    """t = pts + offset_ns + drift * (pts - at_ns), all ns: a camera's times on the recorder's clock."""

    offset_ns: float
    drift_ppm: float
    at_ns: int

    def times_ns(self, pts_ns: Ns) -> Ns:
        """Times of the camera's clock on the recorder's, (N,) int64 ns."""
        since = pts_ns - self.at_ns
        return np.asarray(pts_ns + np.round(self.offset_ns + since * (self.drift_ppm * 1e-6)).astype(np.int64), np.int64)


def fit_clock(pts_ns: Ns, arrived_ns: Ns, max_drift_ppm: float = MAX_DRIFT_PPM) -> StreamClock:
    """The clock of one connection from its packets, (N,) int64 ns each, N > 0, in any order.

    Minimises the summed delay over lines below all points with |drift| up to max_drift_ppm; the sum is concave in the drift,
    so a drift beyond the limit is cut off to it.
    """
    order = np.argsort(pts_ns, kind="stable")
    pts, delay = pts_ns[order], (arrived_ns - pts_ns)[order]
    at_ns, base = int(pts[len(pts) // 2]), int(delay.min())
    x, y = (pts - at_ns).astype(np.float64), (delay - base).astype(np.float64)
    drift = float(np.clip(_slope_below(x, y), -max_drift_ppm * 1e-6, max_drift_ppm * 1e-6))
    return StreamClock(base + float((y - drift * x).min()), drift * 1e6, at_ns)


def _slope_below(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Slope of the edge of the lower convex hull that spans the mean of x (ascending); 0 for a single point."""
    hull: list[int] = []
    for at in range(len(x)):
        while len(hull) > 1 and _turns_down(x, y, hull[-2], hull[-1], at):
            hull.pop()
        if hull and x[hull[-1]] == x[at]:
            if y[at] >= y[hull[-1]]:
                continue
            hull.pop()
        hull.append(at)
    middle = x.mean()
    for left, right in zip(hull[:-1], hull[1:], strict=True):
        if x[left] <= middle <= x[right]:
            return float((y[right] - y[left]) / (x[right] - x[left]))
    return 0.0


def _turns_down(x: NDArray[np.float64], y: NDArray[np.float64], a: int, b: int, c: int) -> bool:
    """Whether b lies on or above the line from a to c."""
    return bool((y[b] - y[a]) * (x[c] - x[a]) >= (y[c] - y[a]) * (x[b] - x[a]))
