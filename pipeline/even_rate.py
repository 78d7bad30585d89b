"""Times of frames that carry none: a camera's clock read from when its frames arrived.

A camera that films at an even rate has a clock: its frame counter. Frames are numbered, over those that were skipped, and the
line below the arrivals then takes out what held single frames up on the way, as for cameras that tell their times.
"""

from __future__ import annotations

import numpy as np

from pipeline.stream_clock import Ns, fit_clock

# Frames in which a hold-up has passed: half a second at 30 frames per second. What lasts longer is a skipped frame.
_SETTLED = 15
# Of an interval: a camera whose arrivals lie further off, in the median, films at no even rate.
_MAX_OFF = 0.25
_MIN_FRAMES = 3 * _SETTLED
# Of the median interval between frames as they arrive.
_MAX_RATE_ERROR_PPM = 20_000.0


def evened(arrived_ns: Ns) -> Ns | None:
    """Times (N,) int64 ns of frames that arrived then, ascending, on the same clock; None for a camera of no even rate, and for
    too few frames to tell."""
    if len(arrived_ns) < _MIN_FRAMES:
        return None
    usual = float(np.median(arrived_ns[_SETTLED:] - arrived_ns[:-_SETTLED])) / _SETTLED
    if usual <= 0 or (np.diff(arrived_ns) < 0).any():  # no recorder of ours wrote that
        return None
    for _ in range(3):  # the more exact the rate, the more exact the numbers over a long recording
        counted = np.round(_numbers(arrived_ns, usual) * usual).astype(np.int64)
        clock = fit_clock(counted, arrived_ns, _MAX_RATE_ERROR_PPM)
        times, usual = clock.times_ns(counted), usual * (1 + clock.drift_ppm * 1e-6)
    return times if np.median(arrived_ns - times) < _MAX_OFF * usual else None


def _numbers(arrived_ns: Ns, usual_ns: float) -> Ns:
    """The camera's number of every frame: one more than the one before, and one for each interval by which all that follow are
    late."""
    count = np.arange(len(arrived_ns))
    late = (arrived_ns - arrived_ns[0]) - count * usual_ns
    padded = np.concatenate([late, np.full(_SETTLED - 1, late[-_SETTLED:].min())])
    level = np.lib.stride_tricks.sliding_window_view(padded, _SETTLED).min(-1)
    skipped, at = np.zeros(len(late), np.int64), level[0]
    for number in range(1, len(late)):
        more = max(0, round((level[number] - at) / usual_ns))
        skipped[number] = more
        at = level[number] if more else at + 0.1 * (level[number] - at)  # the rate is known roughly
    return count + np.cumsum(skipped)
