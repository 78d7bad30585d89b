"""How a long stage tells how far it is, without knowing who listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

Advance = Callable[[int], None]
# (label, total, unit) -> context manager that yields `advance(n)`
Listener = Callable[[str, int, str], AbstractContextManager[Advance]]

_listener: ContextVar[Listener | None] = ContextVar("posemill_progress", default=None)


@contextmanager
def progress(label: str, total: int, unit: str = "frames") -> Iterator[Advance]:
    """Yields `advance(n)`; a listener set with `listen` draws it (rich on a terminal, an artifact in the Prefect UI)."""
    listener = _listener.get()
    if listener is None:
        yield lambda n: None
        return
    with listener(label, total, unit) as advance:
        yield advance


@contextmanager
def listen(listener: Listener) -> Iterator[None]:
    """Everything inside reports its progress to `listener`."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
