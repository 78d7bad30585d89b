import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from flows.cli import app
from tests.models.diffusion.tiny import make_tiny_pipeline
from tests.pipeline.test_conditions import standing
from tests.pipeline.test_generator_data import write_coco

SMALL = ["--size", "32", "--unet-channels", "8:16", "--vae-channels", "8:16", "--autoencoder-steps", "2",
         "--denoiser-steps", "1", "--controlnet-steps", "2", "--batch", "2", "--held-out", "0"]  # fmt: skip


def answer(*words: str) -> tuple[int, dict]:
    result = CliRunner().invoke(app, [*words, "--json"])
    return result.exit_code, json.loads(result.stdout)


def people(folder: Path) -> Path:
    return write_coco(folder, np.concatenate([standing(40), standing(110)]))


def test_a_generator_and_a_controlnet_beside_it_are_trained(tmp_path: Path) -> None:
    data = people(tmp_path / "d")
    status, said = answer("train", "diffusion", "--data", str(data), "--out", str(tmp_path / "run"), *SMALL,
                          "--objective", "flow", "--min-snr", "5", "--accumulate", "2", "--checkpointing")  # fmt: skip
    assert status == 0, said
    told = json.loads((Path(said["pipeline"]) / "training.json").read_text())
    assert told["settings"]["objective"] == "flow" and told["settings"]["min_snr"] == 5 and told["shape"]["size_px"] == 32
    curve = (tmp_path / "run" / "checkpoints" / "curve.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in curve] == ["phase", "autoencoder", "denoiser", "controlnet"]
    words = ("train", "controlnet", "--data", str(data), "--base", said["pipeline"], "--out", str(tmp_path / "control"),
             "--steps", "2", "--batch", "1")  # fmt: skip
    status, said = answer(*words)
    assert status == 0, said
    assert json.loads((Path(said["controlnet"]) / "config.json").read_text())["_class_name"] == "ControlNetModel"
    assert json.loads((Path(said["controlnet"]) / "training.json").read_text())["settings"]["controlnet_rate"] == 1e-5


def test_a_generator_learns_on_from_several_folders(tmp_path: Path) -> None:
    first, second = people(tmp_path / "d"), people(tmp_path / "e")
    status, said = answer("train", "diffusion", "--data", str(first), "--out", str(tmp_path / "run"), *SMALL)
    assert status == 0, said
    words = ("--from", said["pipeline"], "--data", str(first), "--data", str(second), "--out", str(tmp_path / "more"))
    status, said = answer("train", "diffusion", *words, *SMALL, "--person-weight", "4", "--decoder-steps", "1")
    assert status == 0, said
    told = json.loads((Path(said["pipeline"]) / "training.json").read_text())
    assert told["from"] == "pipeline" and told["settings"]["person_weight"] == 4 and told["examples"] == 6
    phases = (tmp_path / "more" / "checkpoints" / "curve.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in phases] == ["phase", "decoder", "controlnet"]


def test_a_training_that_stops_says_how_to_go_on(tmp_path: Path) -> None:
    words = ("train", "diffusion", "--data", str(people(tmp_path / "d")), "--out", str(tmp_path / "run"), *SMALL)
    status, said = answer(*words, "--seconds", "0")
    assert status == 0 and said["pipeline"] is None and "the same command goes on" in said["stopped"]
    assert answer(*words)[1]["pipeline"] == str(tmp_path / "run" / "pipeline")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--objective", "score"], "objective: expected one of v, epsilon, flow, got 'score'"),
        (["--unet-channels", "8,16"], "--unet-channels: expected channels as N:N:..., got '8,16'"),
        (["--batch", "3", "--accumulate", "2"], "a multiple of its 2 parts"),
        (["--size", "33"], "GeneratorShape.size_px: expected a multiple of"),
        (["--data", "nowhere"], "nowhere: cannot be trained on"),
    ],
)
def test_a_wrong_request_is_told_in_one_message(tmp_path: Path, words: list[str], message: str) -> None:
    status, said = answer(
        "train", "diffusion", "--data", str(people(tmp_path / "d")), "--out", str(tmp_path / "r"), *SMALL, *words
    )
    assert status == 2 and message in said["error"]


def test_a_base_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    base = make_tiny_pipeline(tmp_path / "base")
    (base / "vae" / "config.json").unlink()
    status, said = answer("train", "controlnet", "--data", str(people(tmp_path / "d")), "--base", str(base))
    assert status == 2 and "vae/config.json: missing" in said["error"]


def test_portraits_are_drawn_to_train_on(tmp_path: Path) -> None:
    status, said = answer("draw", "portraits", str(tmp_path / "p"), "2", "--size", "48")
    assert status == 0 and said["images"] == 2
    assert {image["width"] for image in json.loads((tmp_path / "p" / "annotations.json").read_text())["images"]} == {48}
