from pathlib import Path

import numpy as np
import pytest

from models.skeleton import COCO17
from pipeline.errors import InputError
from pipeline.evaluate_poses3d import evaluate_poses3d
from pipeline.handout import hand_out
from pipeline.people3d import read_people
from pipeline.trc import Trajectories, write_trc
from pipeline.walkers import time_ns, walk

INSTANTS = 30


@pytest.fixture
def session(tmp_path: Path) -> Path:
    dataset = tmp_path / "session" / "export" / "dataset"
    for name in ("data/train.parquet", "coco/annotations.json", "coco/images/a.jpg", "README.md"):
        (dataset / name).parent.mkdir(parents=True, exist_ok=True)
        (dataset / name).write_text(name)
    (dataset / "trc").mkdir()
    for person in range(2):
        xyz_m = walk((2.0 * person, 0.0), (0.0, 0.4), INSTANTS)
        xyz_m[: 5 * person] = np.nan
        track = Trajectories(COCO17.joints, np.array([time_ns(f) for f in range(INSTANTS)]), xyz_m, 30.0)
        write_trc(track, dataset / "trc" / f"walk-person{person}.trc")
    dataset.with_name("dataset.json").write_text("{}")
    return tmp_path / "session"


@pytest.mark.parametrize(("kind", "files"), [("parquet", 2), ("coco", 3), ("trc", 3), ("c3d", 3), ("bvh", 3), ("json", 3)])
def test_a_format_comes_with_its_card_and_nothing_else(session: Path, tmp_path: Path, kind: str, files: int) -> None:
    out = tmp_path / "out"
    assert hand_out(session, out, kind).files == files
    assert (out / "README.md").read_text() == "README.md"
    assert sum(path.is_file() for path in out.rglob("*")) == files


@pytest.mark.parametrize("kind", ["trc", "c3d", "json"])
def test_formats_hold_the_people_of_the_dataset(session: Path, tmp_path: Path, kind: str) -> None:
    assert hand_out(session, tmp_path / "out", kind).notes == ()
    truth = read_people(session / "export" / "dataset" / "trc")
    report = evaluate_poses3d(read_people(tmp_path / "out" / kind), truth)
    assert (report.people_true, report.precision, report.recall, report.idf1) == (2 * INSTANTS - 5, 1.0, 1.0, 1.0)
    assert report.mpjpe_mm < 1e-3 and report.joints_found == 1.0


def test_what_a_format_had_to_fill_is_told_by_person(session: Path, tmp_path: Path) -> None:
    notes = hand_out(session, tmp_path / "out", "bvh").notes
    assert notes == ("walk-person1: 5 of 30 frames had gaps, interpolated or held",)


def test_a_dataset_without_people_has_no_trajectories(session: Path, tmp_path: Path) -> None:
    for file in (session / "export" / "dataset" / "trc").iterdir():
        file.unlink()
    with pytest.raises(InputError, match="no skeleton was accepted"):
        hand_out(session, tmp_path / "out", "c3d")
    assert not (tmp_path / "out").exists()


def test_a_released_dataset_is_never_written_over(session: Path, tmp_path: Path) -> None:
    hand_out(session, tmp_path / "out", "coco")
    with pytest.raises(InputError, match="never written over"):
        hand_out(session, tmp_path / "out", "parquet")
    assert not (tmp_path / "out" / "data").exists()


def test_an_unfinished_dataset_is_not_released(session: Path, tmp_path: Path) -> None:
    (session / "export" / "dataset.json").unlink()
    with pytest.raises(InputError, match="there are: none.*posemill run"):
        hand_out(session, tmp_path / "out", "parquet")
    assert not (tmp_path / "out").exists()


def test_an_unknown_format_lists_the_known_ones(session: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="parquet, coco, yolo, webdataset, controlnet, trc, c3d, bvh, json, html.*'voc'"):
        hand_out(session, tmp_path / "out", "voc")
