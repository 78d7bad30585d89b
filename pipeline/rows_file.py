"""A Parquet file of rows that are written as they come."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.atomic import disk_error, fsync, remove


class RowsFile:
    """A Parquet file written bit by bit, in a memory that does not grow with it; there only once it is complete.

    `write` takes dict rows. A with-block that ends in an error leaves nothing. Raises StageError on a full disk.
    """

    def __init__(self, path: Path, schema: pa.Schema, group: int = 4096) -> None:
        self._path, self._schema, self._group = path, schema, group
        self._waiting: list[dict[str, Any]] = []
        self._temporary = path.with_name(f".{os.getpid()}-{path.name}")

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        """Add rows; a row group is written whenever enough of them wait."""
        self._waiting += rows
        if len(self._waiting) >= self._group:
            self._flush()

    def _flush(self) -> None:
        try:
            self._file.write_table(pa.Table.from_pylist(self._waiting, schema=self._schema))
        except OSError as error:
            raise disk_error(error, self._path) from error
        self._waiting.clear()

    def __enter__(self) -> RowsFile:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = pq.ParquetWriter(self._temporary, self._schema, compression="zstd")
        except OSError as error:
            raise disk_error(error, self._path) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._flush()
            self._file.close()
            if kind is None:
                fsync(self._temporary)
                self._temporary.replace(self._path)
        finally:
            remove(self._temporary)
