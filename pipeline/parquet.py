"""Parquet files that others made, read as `models.parquet_file` does; whatever is wrong with them is one InputError."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq

from models import parquet_file
from models.errors import DataError
from pipeline.errors import InputError


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever is wrong with a Parquet file, or with the values in it, as an InputError that names the file."""
    try:
        with parquet_file.reading_rows(path):
            yield
    except DataError as error:
        raise InputError(str(error)) from error


@contextmanager
def opened(path: Path, columns: Sequence[str] | None = None) -> Iterator[pq.ParquetFile]:
    """A Parquet file whose row groups can be unpacked safely and which has these columns. Raises InputError naming it."""
    with reading(path), parquet_file.opened(path, columns) as file:
        yield file
