"""Doubtful skeletons: what is made wrong on purpose comes first, whatever kind of file it stands in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.skeleton import COCO17
from pipeline.errors import InputError
from pipeline.pose_rows import skeletons3d_rows
from pipeline.skeleton_audit import as_rows, doubtful_skeletons, skeletons_of
from pipeline.tables import SKELETONS3D
from tests.pipeline.test_plausibility import clip, instants

WRIST, KNEE = COCO17.index("left_wrist"), COCO17.index("right_knee")


def wrong() -> np.ndarray:
    """Somebody who walks; three of the skeletons are corrupted."""
    xyz_m = clip(np.random.default_rng(0))[:100]
    xyz_m[20, WRIST] += [0.1, 0.35, 0.2]
    xyz_m[50] *= [-1.0, 1.0, 1.0]
    xyz_m[70, KNEE] += [0.3, 0.0, 0.0]
    return xyz_m


def skeleton_file(path: Path, xyz_m: np.ndarray) -> Path:
    pq.write_table(pa.Table.from_pylist(list(skeletons3d_rows(instants(xyz_m))), SKELETONS3D), path)
    return path


def dataset(folder: Path, xyz_m: np.ndarray) -> Path:
    """Every instant is shown by two cameras, and has a generated child."""
    rows = []
    for t_ns, body in enumerate(xyz_m):
        for camera in ("cam1", "cam2"):
            for origin in ("captured", "generated"):
                places = {f"{axis}_m": [body[:, k].tolist()] for k, axis in enumerate("xyz")}
                rows.append(
                    {"id": f"walk-{camera}-{t_ns}", "clip": "walk", "t_ns": t_ns, "person": [4], "origin": origin, **places}
                )
    (folder / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "data" / "train.parquet")
    return folder


def test_corrupted_skeletons_of_a_file_are_listed_first_with_their_joints(tmp_path: Path) -> None:
    doubts = doubtful_skeletons(skeleton_file(tmp_path / "walk.parquet", wrong()))
    assert len(doubts) == 100
    assert {doubt.t_ns for doubt in doubts[:3]} == {20, 50, 70}
    joints = {doubt.t_ns: doubt.joint for doubt in doubts}
    assert joints[20] == "left_wrist"
    assert joints[70] == "right_knee"
    assert doubts[2].p_value < 0.01 < doubts[3].p_value
    assert doubts[-1].joint == ""
    assert as_rows(doubts[:1])[0]["clip"] == "walk"


def test_a_dataset_names_the_image_and_counts_nobody_twice(tmp_path: Path) -> None:
    doubts = doubtful_skeletons(dataset(tmp_path, wrong()))
    assert len(doubts) == 100
    assert {doubt.where for doubt in doubts[:3]} == {"walk-cam1-20", "walk-cam1-50", "walk-cam1-70"}
    assert {doubt.person for doubt in doubts} == {4}


def test_datasets_without_joints_in_space_have_none_to_doubt(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], "x_px": [[1.0]]}), tmp_path / "train.parquet")
    assert list(skeletons_of(tmp_path)) == []
    assert doubtful_skeletons(tmp_path) == []


def test_too_few_skeletons_other_joints_and_other_files_are_refused(tmp_path: Path) -> None:
    few = skeleton_file(tmp_path / "few.parquet", wrong()[:5])
    with pytest.raises(InputError, match=r"few\.parquet: expected at least 10 skeletons"):
        doubtful_skeletons(few)
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(InputError, match=r"text\.parquet: cannot be read as Parquet"):
        doubtful_skeletons(tmp_path / "text.parquet")
    pq.write_table(pa.table({f"{axis}_m": [[0.0] * 5] for axis in "xyz"}), tmp_path / "five.parquet")
    with pytest.raises(InputError, match="expected 17 joints of .*, found 5, 5, 5"):
        doubtful_skeletons(tmp_path / "five.parquet")
    pq.write_table(pa.table({f"{axis}_m": [[0.0] * 17] for axis in "xyz"} | {"clip": [[1]]}), tmp_path / "clip.parquet")
    with pytest.raises(InputError, match=r"clip\.parquet: expected a clip's name and whole nanoseconds, found \[1\] and 0"):
        doubtful_skeletons(tmp_path / "clip.parquet")
    with pytest.raises(InputError, match="expected a pose prior"):
        doubtful_skeletons(skeleton_file(tmp_path / "walk.parquet", wrong()), "studio")
