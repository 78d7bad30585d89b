"""CPU time of a call: neighbours on the machine stretch the clock on the wall."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np


def cpu_seconds(run: Callable[[], object], times: int) -> float:
    """Median CPU seconds after one run that warms up."""
    run()
    taken = []
    for _ in range(times):
        begin = time.process_time()
        run()
        taken.append(time.process_time() - begin)
    return float(np.median(taken))


def best_of(run: Callable[[], Any], times: int = 3) -> tuple[float, Any]:
    """The fewest CPU seconds of some runs, and the last result."""
    seconds, result = [], None
    for _ in range(times):
        start = time.process_time()
        result = run()
        seconds.append(time.process_time() - start)
    return min(seconds), result
