"""Figures of a recording: rate, drops, jitter and gaps of each camera, and how far the cameras are apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.even_rate import evened
from pipeline.probe import NS
from pipeline.segment import Rows
from pipeline.stream_clock import Ns, StreamClock, fit_clock
from pipeline.sync import synchronise

# Intervals: a frame is missing from where the next one comes more than half an interval late.
_LATE = 1.5
# A silence this long is told one by one, shorter ones are counted.
GAP_NS = NS
# Share of intervals that are more than a fifth off the usual one in a stream of variable rate.
_VARIABLE_SHARE = 0.1


@dataclass(frozen=True)
class Gap:
    """Nothing was recorded between two frames, on the recorder's clock."""

    from_ns: int
    to_ns: int


@dataclass(frozen=True)
class CameraFigures:
    """One camera of a recording.

    dropped: frames missing within segments, by the usual interval (0 where only the arrival is known); jitter_ms: 99th
    percentile of how far intervals are off the usual one; delay_ms: 99th percentile of how long packets were held up;
    variable_rate: the intervals differ too much for a fixed rate; timed_by: the camera's own times, its even rate
    (`pipeline.even_rate`), or the arrival alone; clocks: of every segment.
    """

    frames: int
    fps: float
    dropped: int
    jitter_ms: float
    delay_ms: float
    variable_rate: bool
    timed_by: str
    gaps: tuple[Gap, ...]
    clocks: tuple[StreamClock, ...]


def times_of(rows: Rows) -> tuple[Ns, tuple[StreamClock, ...]]:
    """Every frame's time on the recorder's clock, (N,) int64 ns in the order of the journal, and the clock of each segment."""
    times = np.zeros(len(rows.segment), np.int64)
    clocks = []
    for of in _segments(rows):
        pts, arrived = rows.pts_ns[of], rows.arrived_ns[of]
        clocks.append(fit_clock(pts, arrived))
        counted = evened(arrived) if _untimed(pts, arrived) else None
        times[of] = clocks[-1].times_ns(pts) if counted is None else counted
    return times, tuple(clocks)


def _timed_by(rows: Rows) -> str:
    untimed = [of for of in _segments(rows) if _untimed(rows.pts_ns[of], rows.arrived_ns[of])]
    if not untimed:
        return "camera"
    return "even rate" if all(evened(rows.arrived_ns[of]) is not None for of in untimed) else "arrival"


def camera_figures(rows: Rows) -> CameraFigures:
    """The figures of one camera from its journal."""
    times, clocks = times_of(rows)
    intervals, usual_ns = _intervals(rows)
    off_ns = np.abs(intervals - usual_ns)
    held_ns = rows.arrived_ns - times
    return CameraFigures(
        frames=len(times),
        fps=round(NS / usual_ns, 3) if usual_ns else 0.0,
        dropped=sum(dropped_of(rows.pts_ns[of], rows.arrived_ns[of]) for of in _segments(rows)),
        jitter_ms=_p99_ms(off_ns),
        delay_ms=_p99_ms(held_ns),
        variable_rate=bool(len(intervals) and (off_ns > usual_ns / 5).mean() > _VARIABLE_SHARE),
        timed_by=_timed_by(rows),
        gaps=_gaps(rows, times, usual_ns),
        clocks=clocks,
    )


def dropped_of(pts_ns: Ns, arrived_ns: Ns) -> int:
    """Frames missing between those of one connection, (N,) int64 ns each: intervals of about n usual ones lack n - 1.

    Frames without times are numbered by their even rate; where they have none, a late one says nothing.
    """
    times = evened(arrived_ns) if _untimed(pts_ns, arrived_ns) else pts_ns
    if times is None or len(times) < 2:
        return 0
    intervals: Ns = np.diff(np.sort(times)).astype(np.int64)
    usual_ns = float(np.median(intervals))
    late = intervals[intervals > _LATE * usual_ns]
    return int((np.round(late / max(usual_ns, 1.0)) - 1).sum())


def _segments(rows: Rows) -> list[NDArray[np.bool_]]:
    return [rows.segment == segment for segment in np.unique(rows.segment)]


def _untimed(pts_ns: Ns, arrived_ns: Ns) -> bool:
    """Whether frames carry no times of their own: their arrival was taken."""
    return len(pts_ns) > 0 and bool(np.ptp(arrived_ns - pts_ns) == 0)


def skew_ms(times_ns: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """How far the frames of an instant are apart on the recorder's clock: median, 99th percentile and most, in ms.

    Instants are those of the slowest camera; cameras without a frame within half an interval are left out.
    """
    ascending = {camera: sorted(times) for camera, times in times_ns.items() if len(times) > 1}
    if len(ascending) < 2:
        return {}
    interval_ns = max(float(np.median(np.diff(times))) for times in ascending.values())
    spreads = [each.spread_ns for each in synchronise(ascending, round(interval_ns / 2)) if min(each.frames.values()) >= 0]
    if not spreads:
        return {}
    values = np.percentile(np.array(spreads) / 1e6, (50, 99, 100))
    return dict(zip(("p50", "p99", "max"), (round(float(value), 3) for value in values), strict=True))


def _intervals(rows: Rows) -> tuple[NDArray[np.int64], float]:
    """Intervals between the frames within segments, in the order shown, and the median one."""
    parts = [np.diff(np.sort(rows.pts_ns[of])).astype(np.int64) for of in _segments(rows)]
    intervals = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    return intervals, float(np.median(intervals)) if len(intervals) else 0.0


def _gaps(rows: Rows, times_ns: Ns, usual_ns: float) -> tuple[Gap, ...]:
    """Silences within segments longer than GAP_NS, and between segments all in which a frame is missing."""
    order = np.argsort(times_ns, kind="stable")
    times, steps = times_ns[order], np.diff(times_ns[order])
    between = np.diff(rows.segment[order]) != 0
    wide = (steps > max(GAP_NS, 3 * usual_ns)) | (between & (steps > _LATE * usual_ns))
    return tuple(Gap(int(times[at]), int(times[at + 1])) for at in np.flatnonzero(wide))


def _p99_ms(values_ns: NDArray[np.float64] | NDArray[np.int64]) -> float:
    return round(float(np.percentile(values_ns, 99)) / 1e6, 3) if len(values_ns) else 0.0
