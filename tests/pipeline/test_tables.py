from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import tables
from pipeline.pose_rows import poses2d_rows, skeletons3d_from_rows, skeletons3d_rows, stream_poses2d
from pipeline.tables import FRAMES, POSES2D, SKELETONS3D, frames_of, instants_of, read_rows, stream_rows, write_rows
from pipeline.types import Poses2D, Skeletons3D

SCHEMAS = {name: value for name, value in vars(tables).items() if isinstance(value, pa.Schema)}
UNITS = ("_px", "_m", "_ns", "_rad", "_deg", "_fps", "_m2")


def _poses(camera: str = "cam1") -> list[Poses2D]:
    rng = np.random.default_rng(0)
    xy_px = rng.uniform(0, 100, (2, 17, 2))
    xy_px[0, 3] = np.nan
    return [
        Poses2D(camera, 10, xy_px, rng.uniform(0, 1, (2, 17)), rng.uniform(0, 1, (2, 2))),
        Poses2D(camera, 20, np.zeros((0, 17, 2)), np.zeros((0, 17)), np.zeros((0, 2))),
        Poses2D(camera, 30, xy_px[:1], rng.uniform(0, 1, (1, 17)), rng.uniform(0, 1, (1, 2))),
    ]


def _skeletons(covariance: bool) -> list[Skeletons3D]:
    rng = np.random.default_rng(1)
    made = []
    for t_ns, people in ((5, 1), (6, 3)):
        xyz_m, rest = rng.normal(size=(people, 17, 3)), rng.uniform(0, 1, (people, 17))
        xyz_m[0, 2] = np.nan
        spread = rng.normal(size=(people, 17, 3, 3)) if covariance else None
        smooth = (xyz_m + 1, rest * 3) if covariance else (None, None)
        made.append(Skeletons3D(t_ns, np.arange(people) + 4, xyz_m, rest, rest * 2, np.full((people, 17), 3), spread, *smooth))
    return made


def test_poses_come_back_as_they_were(tmp_path: Path) -> None:
    poses = _poses()
    write_rows(tmp_path / "p.parquet", poses2d_rows(poses), POSES2D)
    found = {pose.t_ns: pose for pose in stream_poses2d(tmp_path / "p.parquet", 17)}
    assert sorted(found) == [10, 30]
    for pose in (poses[0], poses[2]):
        np.testing.assert_array_equal(found[pose.t_ns].xy_px, pose.xy_px)
        np.testing.assert_array_equal(found[pose.t_ns].score, pose.score)
        np.testing.assert_array_equal(found[pose.t_ns].tag, pose.tag)


@pytest.mark.parametrize("covariance", [True, False])
def test_skeletons_come_back_as_they_were(tmp_path: Path, covariance: bool) -> None:
    skeletons = _skeletons(covariance)
    write_rows(tmp_path / "s.parquet", skeletons3d_rows(reversed(skeletons)), SKELETONS3D)
    found = skeletons3d_from_rows(stream_rows(tmp_path / "s.parquet"))
    assert [instant.t_ns for instant in found] == [5, 6]
    for one, two in zip(skeletons, found, strict=True):
        for name in ("person", "xyz_m", "score", "error_px", "n_views"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
        for name in ("covariance_m2", "smooth_m", "smooth_sigma_m"):
            given, read = getattr(one, name), getattr(two, name)
            assert (given is None) == (read is None) == (not covariance)
            if covariance:
                np.testing.assert_array_equal(given, read)


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_rows(tmp_path / name, poses2d_rows(_poses()), POSES2D)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_rows_are_streamed_in_their_order(tmp_path: Path) -> None:
    rows = [{"instant": i, "t_ns": 2 * i, "camera": "cam1", "frame_index": i} for i in range(3000)]
    write_rows(tmp_path / "f.parquet", rows, FRAMES)
    assert [row["t_ns"] for row in stream_rows(tmp_path / "f.parquet", ["t_ns"])] == list(range(0, 6000, 2))


def test_a_frame_knows_every_instant_it_is_on_screen_at(tmp_path: Path) -> None:
    shown = [("cam1", 0, 0), ("cam1", 1, 0), ("cam1", 2, 1), ("cam1", 3, -1), ("cam2", 3, 7)]
    rows = [{"instant": i, "t_ns": 10 * i, "camera": camera, "frame_index": index} for camera, i, index in shown]
    write_rows(tmp_path / "f.parquet", rows, FRAMES)
    assert frames_of(tmp_path / "f.parquet", "cam1") == {0: [0, 10], 1: [20]}
    assert instants_of(tmp_path / "f.parquet") == [0, 10, 20, 30]


def test_empty_tables_keep_their_columns(tmp_path: Path) -> None:
    for name, schema in SCHEMAS.items():
        write_rows(tmp_path / name, [], schema)
        assert pq.read_schema(tmp_path / name).names == schema.names
    assert skeletons3d_from_rows(read_rows(tmp_path / "SKELETONS3D")) == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_coordinates_carry_their_unit(name: str) -> None:
    for column in SCHEMAS[name].names:
        if column[:2] in ("x_", "y_", "z_", "t_"):
            assert column.endswith(UNITS), f"{name}.{column}"
