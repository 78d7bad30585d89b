"""Parquet shards as the Hugging Face `datasets` library reads them: numbered files that know their features."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.parquet import opened

# Rows per row group: what a reader must hold at once to see one image.
GROUP = 64
_IMAGES = ("image", "conditioning_image")


class ShardWriter:
    """Writes rows to folder/<stem>-00000-of-0000N.parquet, `rows_per_shard` each; at least one file, empty without rows.

    Used as a context manager: names are final when it closes. The same rows give the same bytes.
    """

    def __init__(self, folder: Path, schema: pa.Schema, rows_per_shard: int, stem: str = "train") -> None:
        self.folder, self.rows_per_shard, self.stem = folder, rows_per_shard, stem
        self.schema = schema.with_metadata({b"huggingface": huggingface_metadata(schema)})
        self.rows = 0
        self._group: list[dict[str, Any]] = []
        self._waiting = self.schema.empty_table()
        self._parts: list[Path] = []
        self._file: pq.ParquetWriter | None = None
        self._in_shard = 0  # rows of the open shard that are written

    def __enter__(self) -> ShardWriter:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def write(self, row: dict[str, Any]) -> None:
        """Add a row, a dict by column."""
        self._group.append(row)
        self.rows += 1
        if len(self._group) == GROUP:
            self._join()

    def write_table(self, table: pa.Table) -> None:
        """Add the rows of a table, after those added before."""
        self._join()
        self.rows += len(table)
        self._add(table.cast(self.schema))

    def _join(self) -> None:
        """What came row by row joins what waits."""
        group, self._group = self._group, []
        self._add(pa.Table.from_pylist(group, schema=self.schema))

    def _add(self, table: pa.Table) -> None:
        """Write whole row groups; the rest waits. A shard that is full is closed."""
        while len(table):
            room = self.rows_per_shard - self._in_shard - len(self._waiting)
            waiting = pa.concat_tables([self._waiting, table.slice(0, room)])
            full = len(table) >= room
            table = table.slice(room)
            whole = len(waiting) if full else len(waiting) - len(waiting) % GROUP
            self._waiting = waiting.slice(whole)
            if whole:
                self._flush(waiting.slice(0, whole))
            if full:
                self._close()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self._join()
            if len(self._waiting) or not self._parts:
                self._flush(self._waiting)
        self._close()
        if kind is None:
            for number, part in enumerate(self._parts):
                part.replace(self.folder / f"{self.stem}-{number:05d}-of-{len(self._parts):05d}.parquet")

    def _flush(self, table: pa.Table) -> None:
        if self._file is None:
            self._parts.append(self.folder / f".{self.stem}-{len(self._parts):05d}.part")
            self._file = pq.ParquetWriter(self._parts[-1], self.schema, **_packing(self.schema))
        self._file.write_table(table, row_group_size=GROUP)
        self._in_shard += len(table)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._in_shard = None, 0


def _packing(schema: pa.Schema) -> dict[str, Any]:
    """How columns are packed. Encoded images do not get smaller: trying to would take most of the time of writing them."""
    leaves = [leaf for field in schema for leaf in _leaves(field.name, field.type)]
    packed = {leaf: "NONE" if leaf.endswith(".bytes") else "ZSTD" for leaf in leaves}
    repeated = [field.name for field in schema if pa.types.is_string(field.type)]  # coordinates hardly ever are
    return {"compression": packed, "use_dictionary": repeated}


def _leaves(path: str, kind: pa.DataType) -> list[str]:
    """The columns that Parquet makes of a field, by its own names."""
    if pa.types.is_list(kind):
        return _leaves(f"{path}.list.element", kind.value_type)
    if pa.types.is_struct(kind):
        return [leaf for child in kind for leaf in _leaves(f"{path}.{child.name}", child.type)]
    return [path]


def count_rows(shard: Path) -> int:
    """How many rows a Parquet file has, by its footer."""
    with opened(shard) as file:
        return int(file.metadata.num_rows)


def huggingface_metadata(schema: pa.Schema) -> bytes:
    """The value of the schema metadata key `huggingface`: {"info": {"features": ...}} (`datasets`, Features.from_arrow_schema).

    A list is written as `Sequence`, which every version of the library reads; structs of `_IMAGES` are images.
    """
    return json.dumps({"info": {"features": {field.name: _feature(field) for field in schema}}}).encode()


def _feature(field: pa.Field) -> dict[str, Any]:
    if field.name in _IMAGES:
        return {"_type": "Image"}
    return _of_type(field.type)


def _of_type(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_list(kind):
        return {"feature": _of_type(kind.value_type), "_type": "Sequence"}
    names = {pa.float64(): "float64", pa.int64(): "int64", pa.string(): "string", pa.bool_(): "bool", pa.binary(): "binary"}
    return {"dtype": names[kind], "_type": "Value"}
