"""What each format holds of a dataset, read back by the libraries it is for."""

import contextlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from models.skeleton import COCO17
from pipeline.config import ReleaseConfig
from pipeline.handout import dataset_rows, hand_out
from pipeline.release import release
from pipeline.samples import decode_image
from pipeline.types import Artefact
from tests.pipeline.exports import made_export
from tests.pipeline.test_release import approved_export


@pytest.fixture
def dataset(tmp_path: Path) -> Artefact:
    made = made_export(tmp_path / "session", instants=3, people=2)
    made.path.with_name("dataset.json").write_text("{}")
    return made


@pytest.fixture
def released(tmp_path: Path) -> Path:
    return release([approved_export(tmp_path, name) for name in ("a", "b", "c")], tmp_path / "out", ReleaseConfig()).folder


def _handed_out(source: Path, kind: str) -> Path:
    hand_out(source, source.parent / kind, kind)
    return source.parent / kind


def test_yolo_lines_are_shares_of_the_image_and_mirror_as_the_joints_do(dataset: Artefact, tmp_path: Path) -> None:
    folder = _handed_out(tmp_path / "session", "yolo")
    told = yaml.safe_load((folder / "data.yaml").read_text())
    assert (told["kpt_shape"], told["names"], told["train"], told["val"]) == ([17, 3], {0: "person"}, *["images/train"] * 2)
    assert [COCO17.joints[i] for i in told["flip_idx"]][5:7] == ["right_shoulder", "left_shoulder"]
    for _, row in dataset_rows(dataset.path):
        lines = (folder / "labels" / "train" / f"{row['id']}.txt").read_text().splitlines()
        assert len(lines) == 2
        for line, x_px, visible in zip(lines, row["x_px"], row["visible"], strict=True):
            numbers = np.array(line.split(), float)
            centre_x, width = numbers[1], numbers[3]
            joints = numbers[5:].reshape(17, 3)
            assert joints[:, 2].tolist() == visible and joints[3].tolist() == [0, 0, 0]
            np.testing.assert_allclose(np.delete(joints[:, 0] * 64, 3), np.delete(x_px, 3), atol=1e-4)
            assert (np.delete(joints[:, 0], 3) + 0.5 / 64 >= centre_x - width / 2 - 1e-6).all()
            assert (np.delete(joints[:, 0], 3) + 0.5 / 64 <= centre_x + width / 2 + 1e-6).all()
            assert numbers[1:5].min() >= 0 and numbers[1:5].max() <= 1
        image = (folder / "images" / "train" / row["image"]["path"]).read_bytes()
        assert image == row["image"]["bytes"]


def test_webdataset_keeps_image_and_every_label_under_one_name(dataset: Artefact, tmp_path: Path) -> None:
    folder = _handed_out(tmp_path / "session", "webdataset") / "webdataset"
    with tarfile.open(folder / "train-000000.tar") as tar:
        names = tar.getnames()
        contents = {name: tar.extractfile(name).read() for name in names}  # type: ignore[union-attr]
    assert names[0].rsplit(".", 1)[0] == names[1].rsplit(".", 1)[0]  # neighbours, as streaming needs them
    for _, row in dataset_rows(dataset.path):
        assert contents[f"{row['id']}.jpg"] == row["image"]["bytes"]
        labels = json.loads(contents[f"{row['id']}.json"])
        assert set(labels) == set(row) - {"image"}
        assert labels["x_px"][0][3] is None and labels["x_px"][1][4] == row["x_px"][1][4]
    again = tmp_path / "again"
    hand_out(tmp_path / "session", again, "webdataset")
    assert (again / "webdataset" / "train-000000.tar").read_bytes() == (folder / "train-000000.tar").read_bytes()


def test_controlnet_rows_are_what_its_training_script_asks_for(dataset: Artefact, tmp_path: Path) -> None:
    from datasets import load_dataset
    from PIL import Image

    folder = _handed_out(tmp_path / "session", "controlnet") / "controlnet"
    train = load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))["train"]
    assert set(train.column_names) == {"image", "conditioning_image", "text"}
    assert len(train) == dataset.rows
    for row in train:
        assert isinstance(row["image"], Image.Image) and isinstance(row["conditioning_image"], Image.Image)
        assert row["conditioning_image"].size == row["image"].size == (64, 48)
        assert np.asarray(row["conditioning_image"]).max() > 100 and "two people" in row["text"] or row["text"] == "a person"


@pytest.mark.parametrize("kind", ["parquet", "controlnet"])
def test_datasets_reads_what_was_handed_out_from_its_own_folder(released: Path, tmp_path: Path, kind: str) -> None:
    from datasets import load_dataset

    # The card lies in that folder, and `datasets` believes its front matter.
    loaded = load_dataset(str(_handed_out(released, kind)), cache_dir=str(tmp_path / "cache"))
    assert {name: len(rows) for name, rows in loaded.items()} == {"train": 9, "validation": 8, "test": 8}


@pytest.mark.parametrize("kind", ["parquet", "coco", "yolo", "webdataset", "controlnet", "trc"])
def test_a_card_names_shards_only_where_they_are(released: Path, kind: str) -> None:
    before, after = ((folder / "README.md").read_text() for folder in (released, _handed_out(released, kind)))
    (told, text), (kept, copied) = (card.removeprefix("---\n").split("---\n", 1) for card in (before, after))
    left_out = set() if kind == "parquet" else {"configs"}
    assert {name: yaml.safe_load(told)[name] for name in set(yaml.safe_load(told)) - left_out} == yaml.safe_load(kept)
    assert copied == text


@pytest.mark.parametrize("kind", ["parquet", "coco", "yolo", "webdataset", "controlnet", "trc"])
def test_a_release_is_handed_out_split_by_split(released: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / kind
    hand_out(released, out, kind)
    names = " ".join(str(path.relative_to(out)) for path in out.rglob("*"))
    expected = ("a/walk-person0.trc", "b/", "c/") if kind == "trc" else ("train", "test", "val")
    assert all(part in names for part in expected)
    (out / "README.md").write_text("mine now")  # what was handed out belongs to the user


def test_coco_of_a_release_is_read_by_the_judge(released: Path, tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    hand_out(released, tmp_path / "coco", "coco")
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(tmp_path / "coco" / "coco" / "test" / "annotations.json"))
    assert len(coco.imgs) == 8 and len(coco.anns) == 8
    assert all((tmp_path / "coco" / "coco" / "test" / "images" / image["file_name"]).is_file() for image in coco.imgs.values())


def test_datasets_duckdb_and_polars_read_a_release(released: Path, tmp_path: Path) -> None:
    import duckdb
    import polars
    from datasets import load_dataset

    loaded = load_dataset(str(released), cache_dir=str(tmp_path / "cache"))  # by the front matter of the card
    assert {name: len(rows) for name, rows in loaded.items()} == {"train": 9, "validation": 8, "test": 8}
    first = loaded["train"][0]
    assert first["image"].size == (64, 48) and np.array(first["x_px"]).shape == (1, 17)
    files = str(released / "data" / "*.parquet")
    counted = duckdb.sql(f"select session, count(*) from '{files}' group by session order by session").fetchall()
    assert [row[0] for row in counted] == ["a", "b", "c"] and sum(row[1] for row in counted) == 25
    frame = polars.read_parquet(files)
    assert frame.height == 25 and frame["image"].struct.field("bytes")[0] == decode_and_back(frame)


def decode_and_back(frame) -> bytes:
    """The first image's bytes, once they were seen to be an image."""
    data = frame["image"][0]["bytes"]
    assert decode_image(data).shape == (48, 64, 3)
    return data
