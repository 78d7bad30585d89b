import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from models.weights import load_tensors
from tests.models.scenes import write_folder

SMALL = ["--stacks", "1", "--channels", "8", "--depth", "2", "--tag-dims", "2", "--size", "64", "--batch", "2", "--steps", "2"]


def answer(*words: str) -> tuple[int, dict]:
    result = CliRunner().invoke(app, ["train", "detector", *words, "--json"])
    return result.exit_code, json.loads(result.stdout)


def test_the_command_line_shapes_the_network_and_the_run(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "set")
    status, said = answer(
        "--data", f"{data}=2:0.5", "--out", str(tmp_path / "run"), *SMALL, "--schedule", "cosine", "--precision", "fp32",
        "--checkpointing", "--mosaic", "0", "--held-out", "other=3",
    )  # fmt: skip
    assert status == 0 and said["weights"] == str(tmp_path / "run" / "detector.safetensors")
    network = load_tensors(Path(said["weights"]))[1]["network"]
    assert (network["stacks"], network["channels"], network["depth"], network["tag_dims"]) == (1, 8, 2, 2)
    assert network["checkpoint_stacks"] is True
    assert said["schedule"] == "cosine" and said["view"]["mosaic"] == 0 and said["held_out"] == {"other": 3}
    assert said["sources"][0]["outside_weight"] == 0.5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "nowhere"], "nowhere: expected annotations.json and images/ .* found neither"),
        (["--data", "set=x"], "expected FOLDER=WEIGHT"),
        (["--data", "set", "--size", "100"], "size: expected a multiple of 64 px"),
        (["--data", "set", "--schedule", "step"], "schedule: expected one of decay, cosine"),
        (["--data", "set", "--paste", "0.5"], "pasted people: expected a share above 0 and a folder"),
        (["--data", "set", "--held-out", "set"], "expected NAME=COUNT"),
        (["--data", "set", "--tag-ramp", "9:3"], "expected BEGIN:END in steps"),
    ],
)
def test_a_wrong_request_is_told_in_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "set")
    status, said = answer(*words)
    assert status == 2
    assert re.search(message, said["error"])


def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    data = write_folder(tmp_path / "set")
    (data / "images" / "1.png").unlink()
    status, said = answer("--data", str(data), "--out", str(tmp_path / "run"), *SMALL)
    assert status == 2 and "1.png" in said["error"]
