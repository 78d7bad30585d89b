"""Parquet files that others made: looked at before they are unpacked, and whatever is wrong with them is one error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from models.errors import STUMBLES, DataError, brief

# Of one row group: a few bytes may stand for as many values as the header says. Ours have at most a hundred thousand rows of
# seventeen joints with nine numbers each.
MOST_VALUES = 50_000_000
# Unpacked; a shard of images is 500 MB.
LARGEST_GROUP_BYTES = 4 << 30
# Names and statistics in a footer; ours stay below a thousandth.
_LARGEST_TEXT_BYTES, _MOST_ENTRIES = 16 << 20, 1_000_000


@contextmanager
def reading_rows(path: Path) -> Iterator[None]:
    """Whatever is wrong with a Parquet file, or with the values in it, as a DataError that names the file."""
    try:
        yield
    except DataError:
        raise
    except (*STUMBLES, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as Parquet of posemill ({brief(error)}); make it again") from error


@contextmanager
def opened(path: Path, columns: Sequence[str] | None = None) -> Iterator[pq.ParquetFile]:
    """A Parquet file whose row groups can be unpacked safely and which has these columns. Raises DataError naming it."""
    limits = {"thrift_string_size_limit": _LARGEST_TEXT_BYTES, "thrift_container_size_limit": _MOST_ENTRIES}
    with reading_rows(path), pq.ParquetFile(path, **limits) as file:
        missing = [name for name in columns or () if name not in file.schema_arrow.names]
        if missing:
            raise DataError(
                f"{path}: expected the columns {', '.join(columns or ())}, found no {', '.join(missing)} among "
                f"{', '.join(file.schema_arrow.names):.300}"
            )
        _refuse_bombs(path, file.metadata)
        yield file


def _refuse_bombs(path: Path, metadata: pq.FileMetaData) -> None:
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        values = max((group.column(k).num_values for k in range(group.num_columns)), default=0)
        if values > MOST_VALUES or group.total_byte_size > LARGEST_GROUP_BYTES:
            raise DataError(
                f"{path}: row group {number} claims {values} values and {group.total_byte_size} bytes, more than can be "
                f"unpacked safely ({MOST_VALUES} and {LARGEST_GROUP_BYTES}); write it in smaller row groups"
            )
