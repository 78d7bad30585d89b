import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from flows.cli import app
from models.weights import load_tensors, save_tensors, weights_folder
from pipeline.tables import IMAGE_POSES, read_rows

runner = CliRunner()


def _detect(folder: Path, *words: object, status: int) -> dict:
    call = ["detect", *words, "--out", folder / "out.parquet", "--size", 64, "--no-flip", "--json"]
    result = runner.invoke(app, [str(word) for word in call])
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "meine Fotos é"
    folder.mkdir()
    for name in ("a.png", "c.png"):
        (folder / name).write_bytes(cv2.imencode(".png", np.full((64, 48, 3), 90, np.uint8))[1].tobytes())
    return folder


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_a_folder_without_people_gives_an_empty_table(photos: Path, tmp_path: Path, backend: str) -> None:
    made = _detect(tmp_path, photos, "--backend", backend, "--draw", tmp_path / "drawn", status=0)
    assert [(Path(line["file"]).name, line["frames"], line["people"]) for line in made["files"]] == [
        ("a.png", 1, 0),
        ("c.png", 1, 0),
    ]
    assert made["failed"] == [] and made["frames_per_s"] > 0
    assert read_rows(tmp_path / "out.parquet") == []
    assert {"file", "frame", "person", "x_px", "y_px", "score"} <= set(IMAGE_POSES.names)
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["a.jpg", "c.jpg"]


def test_one_bad_file_of_many_is_told_at_the_end_with_status_1(photos: Path, tmp_path: Path) -> None:
    (photos / "b.png").write_text("no picture")
    made = _detect(tmp_path, photos, status=1)
    assert [Path(line["file"]).name for line in made["files"]] == ["a.png", "c.png"]
    [failed] = made["failed"]
    assert failed["file"] == str(photos / "b.png") and "not a readable image" in failed["why"]
    shown = runner.invoke(app, ["detect", str(photos), "--out", str(tmp_path / "out.parquet"), "--size", "64"])
    assert shown.exit_code == 1 and "b.png: not a readable image" in " ".join(shown.stdout.split())
    assert "1 of 3 files failed" in shown.stderr


def test_a_wrong_request_is_one_message_and_status_2(photos: Path, tmp_path: Path) -> None:
    assert "nowhere.png: expected" in _detect(tmp_path, tmp_path / "nowhere.png", status=2)["error"]
    assert "'torch', 'onnxruntime' or 'openvino'" in _detect(tmp_path, photos, "--backend", "tvm", status=2)["error"]
    (tmp_path / "zero.jpg").write_bytes(b"")
    assert "zero.jpg: expected an image, found an empty file" in _detect(tmp_path, tmp_path / "zero.jpg", status=2)["error"]


def test_weights_that_were_changed_or_are_of_another_topology_are_named(photos: Path, tmp_path: Path) -> None:
    content = bytearray((weights_folder() / "photo.safetensors").read_bytes())
    content[-1000] ^= 1
    (tmp_path / "changed.safetensors").write_bytes(bytes(content))
    error = _detect(tmp_path, photos, "--weights", tmp_path / "changed.safetensors", status=1)["error"]
    assert "changed.safetensors: the tensors do not fit their recorded hash" in error
    tensors, about = load_tensors(weights_folder() / "photo.safetensors")
    save_tensors(tmp_path / "hand.safetensors", tensors, about | {"network": about["network"] | {"topology": "hand21"}})
    error = _detect(tmp_path, photos, "--weights", tmp_path / "hand.safetensors", status=1)["error"]
    assert "hand.safetensors: expected a topology among" in error
    assert not (tmp_path / "out.parquet").exists()
