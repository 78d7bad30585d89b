from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from models import parquet_file
from models.detector import load_detector
from models.errors import DataError
from models.photos import read_photos
from models.train_detector import train
from models.training_sets import load_sources, read_labelled
from pipeline.samples import sample_rows
from pipeline.shards import ShardWriter
from pipeline.tables import SAMPLES
from pipeline.types import Sample
from tests.models.scenes import write_folder
from tests.models.test_train_detector import config_for, quiet


def exported(folder: Path, coco: Path, **changes: Any) -> Path:
    """The photos of a COCO folder as the export writes them: every second generated, the last one rejected."""
    photos = read_photos(coco)
    with ShardWriter(folder / "data", SAMPLES, rows_per_shard=2) as shards:
        for number, photo in enumerate(photos):
            image = photo.image()
            given = {
                "visible": np.full((1, 17), 2), "ignore_xywh_px": np.array([[1.0, 2, 3, 4]]),
                "verdict": "rejected" if number == len(photos) - 1 else "accepted", "xy_px": photo.people[0].xy_px[None],
            } | changes  # fmt: skip
            sample = Sample(
                f"walk-cam1-{number}", "walk", "cam1", number, photo.encoded, image.shape[1::-1], xyz_m=np.zeros((1, 17, 3)),
                origin="generated" if number % 2 else "captured", **given,
            )  # fmt: skip
            for row in sample_rows([sample]):
                shards.write(row)
    return folder


def test_an_export_reads_like_the_photos_it_was_made_of(tmp_path: Path) -> None:
    coco = write_folder(tmp_path / "coco", 5)
    found = read_labelled(exported(tmp_path / "set", coco))
    assert [photo.file_name for photo in found] == [f"walk-cam1-{n}" for n in range(4)]  # the fifth was rejected
    for photo, original in zip(found, read_photos(coco), strict=False):
        np.testing.assert_array_equal(photo.image(), original.image())
        np.testing.assert_allclose(photo.people[0].xy_px, original.people[0].xy_px)
        np.testing.assert_array_equal(photo.ignore_boxes, [[1, 2, 3, 4]])
        low, size = photo.people[0].box[:2], photo.people[0].box[2:]
        assert (low < original.people[0].xy_px.min(0)).all() and (low + size > original.people[0].xy_px.max(0)).all()
    assert len(read_labelled(tmp_path / "set", exclude=["walk-cam1-0"])) == 3
    assert [p.file_name for p in read_labelled(tmp_path / "set" / "data", only=["walk-cam1-2"])] == ["walk-cam1-2"]


def test_hidden_joints_are_labelled_and_missing_ones_are_not(tmp_path: Path) -> None:
    visible = np.full((1, 17), 2)
    visible[0, 9], visible[0, 10] = 1, 0
    [photo, *_] = read_labelled(exported(tmp_path / "set", write_folder(tmp_path / "coco"), visible=visible))
    assert np.flatnonzero(~photo.people[0].labelled).tolist() == [10]
    assert np.isnan(photo.people[0].xy_px[10]).all()
    nobody = exported(tmp_path / "none", tmp_path / "coco", visible=np.zeros((1, 17)), xy_px=np.full((1, 17, 2), np.nan))
    assert read_labelled(nobody)[0].people == ()


def test_training_runs_on_an_export(tmp_path: Path) -> None:
    data = exported(tmp_path / "set", write_folder(tmp_path / "coco"))
    path = train(config_for(tmp_path / "run", data, steps=2), quiet)
    assert load_detector(path).about["step"] == 2
    assert (tmp_path / "run" / "validation-set.png").stat().st_size > 1000
    assert torch.isfinite(next(load_detector(path).network.parameters())).all()


def test_photos_cannot_be_kept_out_of_an_export(tmp_path: Path) -> None:
    from dataclasses import replace

    data = exported(tmp_path / "set", write_folder(tmp_path / "coco"))
    with pytest.raises(ValueError, match="set: photos are kept out of COCO-layout folders .* export the clips to keep out"):
        load_sources(replace(config_for(tmp_path / "run", data), held_out={"set": 2}))


def test_what_is_no_export_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected annotations.json .* or data/\*.parquet .*, found neither"):
        read_labelled(tmp_path)
    pq.write_table(pa.table({"id": ["a"], "text": ["b"]}), tmp_path / "other.parquet")
    with pytest.raises(ValueError, match="other.parquet: expected the columns id, image, .* found no image, x_px"):
        read_labelled(tmp_path)
    short = {"xy_px": np.zeros((1, 16, 2)), "visible": np.full((1, 16), 2)}
    rows = next(
        iter(sample_rows([Sample("a", "c", "d", 0, b"x", (8, 8), xyz_m=np.zeros((1, 16, 3)), origin="captured", **short)]))
    )  # type: ignore[arg-type]
    sixteen = tmp_path / "sixteen"
    with ShardWriter(sixteen / "data", SAMPLES, 5) as shards:
        shards.write(rows)
    with pytest.raises(ValueError, match="image a: expected the 17 joints of coco17, found 16"):
        read_labelled(sixteen)
    with ShardWriter(sixteen / "data", SAMPLES, 5) as shards:
        shards.write({**rows, "image": {"bytes": None, "path": "a.jpg"}})
    with pytest.raises(ValueError, match="image a: expected its bytes in the file, found none"):
        read_labelled(sixteen)


@pytest.mark.parametrize(
    ("column", "value", "match"),
    [
        ("x_px", [1e300] * 17, "walk-cam1-0: expected pixels within"),
        ("visible", ["often"] * 17, "cannot be read as Parquet of posemill"),
        ("x_px", [0.0] * 16, "expected the 17 joints of coco17"),
        ("ignore_xywh_px", [0.0, 0.0, -1.0, 2.0], "expected left, top, width and height in px"),
    ],
)
def test_rows_that_no_picture_has_are_refused_by_name(tmp_path: Path, column: str, value: Any, match: str) -> None:
    folder = exported(tmp_path / "set", write_folder(tmp_path / "coco"))
    [shard, *_] = sorted((folder / "data").iterdir())
    table = pq.read_table(shard)
    table = table.set_column(table.column_names.index(column), column, pa.array([[value]] * len(table)))
    pq.write_table(table, shard)
    with pytest.raises(DataError, match=match) as refused:
        read_labelled(folder)
    assert str(shard) in str(refused.value)


@pytest.mark.parametrize(
    ("column", "value", "match"),
    [
        ("image", "a picture", "cannot be read as Parquet of posemill"),
        ("image", {"bytes": "a picture", "path": "a.png"}, "expected its bytes in the file, found none"),
        ("prompt", 5, "expected its id and prompt as text"),
        ("id", [1], "cannot be read as Parquet of posemill"),
        ("x_px", 5.0, "cannot be read as Parquet of posemill"),
    ],
)
def test_columns_of_another_kind_are_refused_by_name(tmp_path: Path, column: str, value: Any, match: str) -> None:
    folder = exported(tmp_path / "set", write_folder(tmp_path / "coco"))
    [shard, *_] = sorted((folder / "data").iterdir())
    table = pq.read_table(shard)
    pq.write_table(table.set_column(table.column_names.index(column), column, pa.array([value] * len(table))), shard)
    with pytest.raises(DataError, match=match):
        read_labelled(folder, exclude=["other"])


def test_what_a_killed_writer_left_is_not_read(tmp_path: Path) -> None:
    folder = exported(tmp_path / "set", write_folder(tmp_path / "coco", 3))
    [shard, *_] = sorted((folder / "data").iterdir())
    before = read_labelled(folder)
    (shard.parent / f".{shard.name}").write_bytes(shard.read_bytes()[:100])
    assert len(read_labelled(folder)) == len(before) == 2


def test_a_shard_that_is_cut_off_or_unfolds_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = exported(tmp_path / "set", write_folder(tmp_path / "coco"))
    [shard, *_] = sorted((folder / "data").iterdir())
    monkeypatch.setattr(parquet_file, "MOST_VALUES", 5)
    with pytest.raises(DataError, match=r"row group 0 claims \d+ values"):
        read_labelled(folder)
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(DataError, match=f"{shard.name}: cannot be read as Parquet of posemill"):
        read_labelled(folder)
