"""One clock for all cameras: which frame of each belongs to which instant.

So far by the files' own times, each counted from its first frame: right for cameras that start together (hardware trigger,
one recorder). Other methods join here as functions that return an offset per camera.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Instant:
    """One instant: t_ns on the session clock, the frame of each camera (-1: none close enough), max - min time of those."""

    t_ns: int
    frames: dict[str, int]
    spread_ns: int


def synchronise(times_ns: Mapping[str, Sequence[int]], max_spread_ns: int) -> list[Instant]:
    """Instants from ascending frame times per camera, all on one clock: at every frame of the camera with the lowest rate, the
    nearest frame of each other camera, or -1 where none lies within max_spread_ns. Cameras of one rate and length match by
    number. No cameras: no instants.
    """
    if not times_ns:
        return []
    slowest = min(times_ns, key=lambda camera: len(times_ns[camera]) / max(1, _span(times_ns[camera])))
    instants = []
    for number, t_ns in enumerate(times_ns[slowest]):
        frames = {camera: nearest(times, t_ns, max_spread_ns) for camera, times in times_ns.items()}
        frames[slowest] = number
        seen = [times_ns[camera][frame] for camera, frame in frames.items() if frame >= 0]
        instants.append(Instant(t_ns, frames, max(seen) - min(seen)))
    return instants


def nearest(times_ns: Sequence[int], t_ns: int, within_ns: int) -> int:
    """Number of the frame whose time is nearest to t_ns (the earlier one of two alike), -1 when none lies within within_ns."""
    right = bisect_left(times_ns, t_ns)
    near = [i for i in (right - 1, right) if 0 <= i < len(times_ns)]
    best = min(near, key=lambda i: abs(times_ns[i] - t_ns), default=-1)
    return best if best >= 0 and abs(times_ns[best] - t_ns) <= within_ns else -1


def _span(times_ns: Sequence[int]) -> float:
    return float(np.median(np.diff(times_ns)) * len(times_ns)) if len(times_ns) > 1 else 1.0
