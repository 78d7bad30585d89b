"""Records in the order of time, asked for by time: a long file is read once, in a memory that does not grow with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar


class Timed(Protocol):
    """Anything with a time."""

    @property
    def t_ns(self) -> int:
        """On the session clock."""
        ...


T = TypeVar("T", bound=Timed)


class Forwards(Generic[T]):
    """Records with ascending times; times must be asked for in order, too."""

    def __init__(self, records: Iterable[T]) -> None:
        self._records = iter(records)
        self._head = next(self._records, None)

    def at(self, t_ns: int) -> T | None:
        """The record of an instant, None where there is none."""
        while self._head is not None and self._head.t_ns < t_ns:
            self._head = next(self._records, None)
        return self._head if self._head is not None and self._head.t_ns == t_ns else None
