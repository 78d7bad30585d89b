"""Ending a long computation cleanly when it is told to stop."""

from __future__ import annotations

import signal
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
