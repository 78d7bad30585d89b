"""Training data of the prior: whole skeletons of sessions and files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import InputError
from pipeline.pose_rows import skeletons3d_rows
from pipeline.prior_training import train_prior, whole_skeletons
from pipeline.store import Ref
from pipeline.tables import SKELETONS3D, write_rows
from pipeline.types import Artefact, Skeletons3D


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


def test_of_a_session_only_skeletons_that_passed_their_audit_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ones = np.ones((2, 17))
    xyz_m = np.random.default_rng(0).normal(size=(2, 2, 17, 3))
    instants = [Skeletons3D(t_ns, np.arange(2), xyz_m[t_ns], ones, ones, ones) for t_ns in range(2)]
    write_rows(tmp_path / "made.parquet", skeletons3d_rows(instants), SKELETONS3D)
    made = Artefact("reconstruct", tmp_path / "made.parquet", "1", 4)
    audit = Artefact("audit", tmp_path / "audit.parquet", "2", 4)
    verdicts = [{"t_ns": t, "person": p, "accepted": (t, p) in ((0, 1), (1, 0))} for t in range(2) for p in range(2)]
    pq.write_table(pa.Table.from_pylist(verdicts), audit.path)
    monkeypatch.setattr("pipeline.prior_training.finished", lambda *_: [(Ref(), made), (Ref((made,)), audit)])
    assert np.array_equal(list(whole_skeletons(tmp_path)), xyz_m[[0, 1], [1, 0]])


def test_the_training_is_told_what_it_was_made_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple] = []
    monkeypatch.setattr("models.prior_motion.make_crowd", lambda *words: words)
    monkeypatch.setattr("models.train_prior.train", lambda *words: asked.append(words) or tmp_path / "prior.safetensors")
    ones, xyz_m = np.ones((1, 17)), np.random.default_rng(0).normal(size=(1, 17, 3))
    write_rows(tmp_path / "a.parquet", skeletons3d_rows([Skeletons3D(0, np.arange(1), xyz_m, ones, ones, ones)]), SKELETONS3D)
    said: list[str] = []
    weights = train_prior({"out": str(tmp_path), "seed": 4}, 5, 60, [tmp_path / "a.parquet"], said.append)
    train_prior({"out": str(tmp_path)}, 5, 60, [])
    assert weights == tmp_path / "prior.safetensors" and said == ["drawing 5 people in 60 poses"]
    (config, crowd, about, real, _), (_, _, alone, none, _) = asked
    assert crowd == (5, 60, 4) and config.seed == 4
    np.testing.assert_array_equal(real, xyz_m)
    assert (about["sessions"], about["session_skeletons"]) == (["a.parquet"], 1)
    assert none is None and alone["session_skeletons"] == 0
