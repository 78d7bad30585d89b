from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from models.detector import load_detector
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
    with pytest.raises(ValueError, match="other.parquet: expected an export of posemill, found no column image, x_px"):
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
