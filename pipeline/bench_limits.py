"""What this machine can do at most, and how long things take: the yardsticks of `posemill bench`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

COPIED_MB = 256
PRODUCT = 2048


def seconds_of(calls: Sequence[Callable[[], Any]], rounds: int = 3) -> list[float]:
    """Best wall seconds of every call, turn by turn after one round that warms up: a neighbour slows all alike."""
    best = [float("inf")] * len(calls)
    for turn in range(rounds + 1):
        for number, call in enumerate(calls):
            begin = time.perf_counter()
            call()
            if turn:
                best[number] = min(best[number], time.perf_counter() - begin)
    return best


def memory_bytes_s() -> float:
    """Bytes read and written per second by a copy that no cache holds (STREAM's copy, McCalpin 1995)."""
    source = np.ones(COPIED_MB << 17)  # doubles: 8 bytes each
    target = np.empty_like(source)
    [seconds] = seconds_of([lambda: np.copyto(target, source)])
    return 2.0 * source.nbytes / seconds


def product_flop_s() -> float:
    """Floating-point operations per second of one large product of 32-bit matrices, on torch's threads."""
    import torch

    square = torch.rand(PRODUCT, PRODUCT)
    [seconds] = seconds_of([lambda: square @ square])
    return 2.0 * PRODUCT**3 / seconds


def disk_bytes_s(folder: Path, size_mb: int = 64) -> float:
    """Bytes per second of one synced write into a folder."""
    content, file = os.urandom(size_mb << 20), folder / "written"

    def write() -> None:
        with file.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())

    [seconds] = seconds_of([write])
    file.unlink()
    return len(content) / seconds
