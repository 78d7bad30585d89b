from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.rows_file import rows_file

SCHEMA = pa.schema([("n", pa.int64())])


def test_rows_come_back_in_order_and_wait_in_groups_only(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "rows ü.parquet"
    with rows_file(path, SCHEMA, group=4) as file:
        for n in range(10):
            file.write([{"n": n}])
            assert not path.exists()
    assert pq.read_table(path).column("n").to_pylist() == list(range(10))
    assert [pq.ParquetFile(path).metadata.row_group(g).num_rows for g in range(3)] == [4, 4, 2]
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_an_error_leaves_the_old_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), rows_file(path, SCHEMA) as file:
        file.write([{"n": 1}])
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["rows.parquet"]
