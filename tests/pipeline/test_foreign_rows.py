"""Datasets of others name files and draw pictures: no row may lead out of the folder or past what a picture has."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import InputError
from pipeline.handout import BY_ROW, hand_out
from pipeline.samples import sample_rows
from pipeline.tables import SAMPLES
from tests.pipeline.exports import _sample


def _release(folder: Path, **changed: Any) -> Path:
    [row] = sample_rows([_sample("cam1", 0, 1)])
    (folder / "data").mkdir(parents=True)
    (folder / "release.json").write_text("{}")
    (folder / "README.md").write_text("# card")
    pq.write_table(pa.Table.from_pylist([row | changed], schema=SAMPLES), folder / "data" / "train-00000-of-00001.parquet")
    return folder


@pytest.mark.parametrize("kind", BY_ROW)
@pytest.mark.parametrize("name", ["../../stray.jpg", "/stray.jpg", "a/b.jpg", "..", "", "a\\b.jpg", ".hidden.jpg", "x" * 300])
def test_no_picture_leads_out_of_the_folder(tmp_path: Path, kind: str, name: str) -> None:
    before = {"bytes": _sample("cam1", 0, 1).image, "path": name}
    folder = _release(tmp_path / "release", image=before)
    with pytest.raises(InputError, match=r"image\.path: expected the name of a file"):
        hand_out(folder, tmp_path / "deep" / "out", kind)
    assert not list(tmp_path.rglob("*stray*")) and not (tmp_path / "deep" / "out").exists()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"id": "../x"}, "id: expected the name"),
        ({"width_px": 2**62}, "expected a picture of up to"),
        ({"height_px": 0}, "expected a picture of up to"),
        ({"ignore_xywh_px": [[-1e300, 0.0, 1.0, 1.0]]}, "ignore_xywh_px: expected pixels within"),
        ({"ignore_xywh_px": [[float("nan")] * 4]}, "expected left, top, width and height in px, found .*nan"),
        ({"x_px": [[1e200] * 17]}, "x_px: expected pixels within"),
        ({"x_px": [[1.0] * 3]}, "x_px: expected the 17 joints"),
        ({"x_px": [[1.0] * 17, [1.0] * 17]}, "x_px: expected the 17 joints"),
        ({"visible": [[None] * 17]}, "cannot be read as Parquet of posemill"),
        ({"image": {"bytes": None, "path": "a.jpg"}}, "expected its bytes"),
        ({"image": {"bytes": b"no picture", "path": "a.jpg"}, "prompt": ""}, "not a readable image"),
    ],
)
def test_numbers_that_no_picture_has_are_refused(tmp_path: Path, changed: dict[str, Any], says: str) -> None:
    folder = _release(tmp_path / "release", **changed)
    with pytest.raises(Exception, match=says) as caught:
        hand_out(folder, tmp_path / "out", "controlnet")
    assert type(caught.value).__name__ in ("InputError", "StageError")


def test_a_shard_of_no_split_is_refused(tmp_path: Path) -> None:
    folder = _release(tmp_path / "release")
    (folder / "data" / "train-00000-of-00001.parquet").rename(folder / "data" / "..-x.parquet")
    with pytest.raises(InputError, match="expected a file of train, validation, test"):
        hand_out(folder, tmp_path / "out", "coco")
