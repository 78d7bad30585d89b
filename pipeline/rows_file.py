"""A Parquet file of rows that are written as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.atomic import replacing


class RowsFile:
    """Collects dict rows and writes a row group whenever enough of them wait: memory does not grow with the file."""

    def __init__(self, file: pq.ParquetWriter, schema: pa.Schema, group: int) -> None:
        self._file, self._schema, self._group = file, schema, group
        self._waiting: list[dict[str, Any]] = []

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        """Add rows."""
        self._waiting += rows
        if len(self._waiting) >= self._group:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        self._file.write_table(pa.Table.from_pylist(self._waiting, schema=self._schema))
        self._waiting.clear()


@contextmanager
def rows_file(path: Path, schema: pa.Schema, group: int = 4096) -> Iterator[RowsFile]:
    """A Parquet file to write rows to, there only once it is complete; a with-block that ends in an error leaves nothing.

    Raises StageError on a full disk.
    """
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as file:
        rows = RowsFile(file, schema, group)
        yield rows
        rows.flush()
