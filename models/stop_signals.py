"""Ending a long computation cleanly when it is told to stop, or after its time."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stop_signals(handler: Callable[..., Any]) -> Iterator[None]:
    """Call `handler` on SIGTERM and SIGINT; outside the main thread, which alone may, the caller's handlers stay."""
    try:
        previous = {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:
        previous = {}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


class Stopping:
    """Whether a training was told to stop, by a signal (`stop` is its handler) or by its time in seconds being over."""

    def __init__(self, seconds: float | None = None) -> None:
        self.told = False
        self.deadline = None if seconds is None else time.monotonic() + seconds

    def stop(self, *_: object) -> None:
        """End after the step in progress."""
        self.told = True

    def everywhere(self, accelerator: Any) -> bool:
        """Whether any of accelerate's processes is to stop: all must leave after the same step, or the others wait for its
        gradients."""
        import torch

        self.told |= self.deadline is not None and time.monotonic() > self.deadline
        if accelerator.num_processes == 1:
            return self.told
        told: Any = accelerator.reduce(torch.tensor(float(self.told), device=accelerator.device))
        return bool(told > 0)
