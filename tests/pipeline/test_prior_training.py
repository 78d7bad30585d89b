"""Training data of the prior: whole skeletons of sessions and files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.pose_rows import skeletons3d_rows
from pipeline.prior_training import train_prior, whole_skeletons
from pipeline.tables import SKELETONS3D, write_rows
from pipeline.types import Skeletons3D


def test_skeletons_with_every_joint_are_taken_from_a_file(tmp_path: Path) -> None:
    xyz_m = np.random.default_rng(0).normal(size=(3, 17, 3))
    xyz_m[1, 4] = np.nan
    ones = np.ones((3, 17))
    write_rows(tmp_path / "a.parquet", skeletons3d_rows([Skeletons3D(0, np.arange(3), xyz_m, ones, ones, ones)]), SKELETONS3D)
    assert np.array_equal(list(whole_skeletons(tmp_path / "a.parquet")), xyz_m[[0, 2]])


def test_what_cannot_be_learned_from_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none.parquet: no such file"):
        list(whole_skeletons(tmp_path / "none.parquet"))
    with pytest.raises(InputError, match="kind: expected one of coupling, continuous, got 'x'"):
        train_prior({"kind": "x"}, 1, 1, [])
    write_rows(tmp_path / "empty.parquet", [], SKELETONS3D)
    with pytest.raises(InputError, match="expected skeletons with all joints, found none"):
        train_prior({"out": str(tmp_path)}, 1, 1, [tmp_path / "empty.parquet"])


@pytest.mark.parametrize(
    ("joints", "scale", "match"),
    [(5, 1.0, "a.parquet: expected the 17 joints of coco17, found 5"), (17, 1e9, "a.parquet: expected joints within 1e.06 m")],
)
def test_skeletons_of_no_person_are_refused(tmp_path: Path, joints: int, scale: float, match: str) -> None:
    ones = np.ones((1, joints))
    skeleton = Skeletons3D(0, np.arange(1), np.full((1, joints, 3), scale), ones, ones, ones)
    write_rows(tmp_path / "a.parquet", skeletons3d_rows([skeleton]), SKELETONS3D)
    with pytest.raises(InputError, match=match):
        list(whole_skeletons(tmp_path / "a.parquet"))
