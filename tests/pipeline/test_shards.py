from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.shards import GROUP, ShardWriter, count_rows

SCHEMA = pa.schema([("id", pa.string()), ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))])


def _rows(count: int) -> list[dict]:
    return [{"id": str(n), "image": {"bytes": bytes([n % 256]) * 50, "path": f"{n}.jpg"}} for n in range(count)]


@pytest.mark.parametrize("rows_per_shard", [5, GROUP, 100, 1000])
@pytest.mark.parametrize("batch", [1, 7, 63, 200])
def test_tables_and_single_rows_make_the_same_files(tmp_path: Path, rows_per_shard: int, batch: int) -> None:
    rows = _rows(150)
    with ShardWriter(tmp_path / "rows", SCHEMA, rows_per_shard) as single:
        for row in rows:
            single.write(row)
    with ShardWriter(tmp_path / "tables", SCHEMA, rows_per_shard) as whole:
        for first in range(0, len(rows), batch):
            whole.write_table(pa.Table.from_pylist(rows[first : first + batch], schema=SCHEMA))
    assert single.rows == whole.rows == 150
    files = sorted((tmp_path / "rows").iterdir())
    assert [file.name for file in files] == sorted(file.name for file in (tmp_path / "tables").iterdir())
    assert all(file.read_bytes() == (tmp_path / "tables" / file.name).read_bytes() for file in files)
    assert {count_rows(file) for file in files[:-1]} <= {rows_per_shard}
    assert [row for file in files for row in pq.read_table(file).to_pylist()] == rows
    groups = [pq.read_metadata(file).row_group(0).num_rows for file in files]
    assert max(groups) <= GROUP


def test_rows_and_tables_may_be_mixed_and_keep_their_order(tmp_path: Path) -> None:
    rows = _rows(10)
    with ShardWriter(tmp_path, SCHEMA, 100) as shards:
        shards.write(rows[0])
        shards.write_table(pa.Table.from_pylist(rows[1:9], schema=SCHEMA))
        shards.write(rows[9])
    [file] = tmp_path.iterdir()
    assert pq.read_table(file).to_pylist() == rows
