from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models import parquet_file
from pipeline.errors import InputError, StageError
from pipeline.parquet import opened, reading
from pipeline.pose_rows import SkeletonFile, stream_poses2d
from pipeline.tables import frames_of, instants_of, read_rows, stream_rows


def test_a_few_bytes_that_unfold_to_more_than_the_limit_are_refused_before_they_do(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"t_ns": np.zeros(parquet_file.MOST_VALUES + 1, np.int64)}), path, row_group_size=1 << 30)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(InputError, match=r"row group 0 claims 50000001 values.*smaller row groups"), opened(path):
        pytest.fail("opened")
    for read in (read_rows, instants_of, lambda p: next(stream_rows(p))):
        with pytest.raises(InputError, match="claims"):
            read(path)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"\xff" * 60 + b"PAR1", b"not Parquet at all"])
def test_what_is_no_parquet_is_one_error_with_its_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(content)
    readers = (read_rows, instants_of, lambda p: frames_of(p, "cam1"), lambda p: list(stream_poses2d(p, 17)))
    for read in (*readers, lambda p: list(SkeletonFile(p)), lambda p: list(stream_rows(p))):
        with pytest.raises(InputError, match=r"x\.parquet: "):
            read(path)


def test_columns_that_are_missing_or_of_another_kind_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"t_ns": ["soon"], "camera": ["cam1"]}), path)
    with pytest.raises(InputError, match="found no person among t_ns, camera"), opened(path, ["t_ns", "person"]):
        pytest.fail("opened")
    with pytest.raises(InputError, match=r"x\.parquet: cannot be read as Parquet of posemill"):
        frames_of(path, "cam1")
    with pytest.raises(InputError, match=r"x\.parquet: cannot be read as Parquet of posemill"):
        list(SkeletonFile(path))


def test_an_error_of_ours_passes_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="full"), reading(tmp_path):
        raise StageError("the disk is full")
