"""The exception of everything that others wrote and nobody can learn from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What readers of broken files stumble over.
STUMBLES = (OSError, ValueError, LookupError, TypeError, OverflowError, MemoryError, AttributeError, RecursionError)


class DataError(ValueError):
    """Data that cannot be learned from or judged by: what was expected, what was found in which file."""


@contextmanager
def reading(path: Path, expected: str) -> Iterator[None]:
    """Whatever is wrong with a file of others as a DataError: its name, what was expected, what was found."""
    try:
        yield
    except DataError:
        raise
    except STUMBLES as error:
        raise DataError(f"{path}: expected {expected}; found {brief(error)}") from error


def brief(error: BaseException) -> str:
    """An error in one line that a terminal can hold."""
    told = f"no {error}" if isinstance(error, KeyError) else str(error)
    return (" ".join(told.split()) or type(error).__name__)[:300]
