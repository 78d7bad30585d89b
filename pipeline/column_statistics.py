"""Statistics of a dataset's columns, gathered batch by batch: how many values, how many are missing, and their range."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

MANY = 1000  # distinct texts counted up to here


@dataclass
class ColumnStatistics:
    """Of one column; lists count by their innermost values. missing: nulls and NaN. Spread over the values that are there
    (Chan et al. 1979: sums of squares are joined from those of the batches, without cancellation)."""

    values: int = 0
    missing: int = 0
    least: float = math.inf
    greatest: float = -math.inf
    mean: float = 0.0
    squares: float = 0.0  # sum of squared distances from the mean
    texts: set[str] = field(default_factory=set)

    def add(self, column: pa.ChunkedArray) -> None:
        """More rows of the column."""
        for chunk in column.chunks:
            while pa.types.is_list(chunk.type):
                chunk = chunk.flatten()
            if pa.types.is_string(chunk.type):
                self.values += len(chunk)
                self.missing += chunk.null_count
                if len(self.texts) <= MANY:
                    self.texts.update(pc.unique(chunk.drop_null()).to_pylist())
            elif pa.types.is_integer(chunk.type) or pa.types.is_floating(chunk.type):
                self._add_numbers(chunk)

    def _add_numbers(self, chunk: pa.Array) -> None:
        numbers = chunk.drop_null().to_numpy(zero_copy_only=False).astype(np.float64)
        there = numbers[np.isfinite(numbers)]
        before = self.values - self.missing
        self.values += len(chunk)
        self.missing += len(chunk) - len(there)
        if len(there):
            total, mean = before + len(there), float(there.mean())
            self.squares += float(((there - mean) ** 2).sum()) + (mean - self.mean) ** 2 * before * len(there) / total
            self.mean += (mean - self.mean) * len(there) / total
            self.least = min(self.least, float(there.min()))
            self.greatest = max(self.greatest, float(there.max()))

    def to_dict(self) -> dict[str, Any]:
        """values, missing, and either distinct (texts; None beyond a thousand) or min, mean, std, max."""
        told: dict[str, Any] = {"values": self.values, "missing": self.missing}
        if self.texts:
            return told | {"distinct": len(self.texts) if len(self.texts) <= MANY else None}
        there = self.values - self.missing
        if not there:
            return told
        return told | {"min": self.least, "mean": self.mean, "std": math.sqrt(self.squares / there), "max": self.greatest}


@dataclass
class TableStatistics:
    """Of every column of a table that is not an image."""

    rows: int = 0
    columns: dict[str, ColumnStatistics] = field(default_factory=dict)

    def add(self, table: pa.Table) -> None:
        """More rows."""
        self.rows += len(table)
        for name in table.column_names:
            if not pa.types.is_struct(table.schema.field(name).type):
                self.columns.setdefault(name, ColumnStatistics()).add(table.column(name))

    def to_dict(self) -> dict[str, Any]:
        """By column."""
        return {name: column.to_dict() for name, column in self.columns.items()}
