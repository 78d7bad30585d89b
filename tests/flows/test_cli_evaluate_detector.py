import json
from pathlib import Path

import cv2
import numpy as np
from typer.testing import CliRunner

from flows.cli import app
from tests.models.scenes import document, write_document, write_folder

runner = CliRunner()


def _evaluate(*words: object, status: int) -> dict:
    call = ["evaluate", "detector", *words, "--size", 64, "--no-flip", "--json"]
    result = runner.invoke(app, [str(word) for word in call])
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.stderr
    return json.loads(result.stdout, parse_constant=lambda word: f"{word} is no JSON")


def test_all_figures_come_as_one_json_object_and_the_worst_people_as_a_picture(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", 3)
    told = _evaluate(folder, "--failures", tmp_path / "worst", status=0)
    assert told["all_photos"] == 3 and set(told["outcomes"]) == {"right", "swapped", "missed", "far"}
    assert {"AP", "AP50", "AP75", "AR"} <= set(told["oks"]) and len(told["by_height"]) == 5 and len(told["by_people"]) == 4
    shares = [row["right"] / (row["right"] + row["swapped"] + row["missed"] + row["far"]) for row in told["failures"]]
    assert shares == sorted(shares) and {row["file"] for row in told["failures"]} <= {"0.png", "1.png", "2.png"}
    assert np.ptp(cv2.imread(told["failures_drawn"])) > 0
    assert None in [row["pck"] for row in told["by_height"]]  # NaN is no JSON


def test_a_table_is_shown_to_people(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", 1)
    shown = runner.invoke(app, ["evaluate", "detector", str(folder), "--size", "64", "--no-flip"])
    assert shown.exit_code == 0, shown.output
    for word in ("AP75", "PCKh@0.5", "left_knee", "96-192", "4 or more", "limb joints swapped"):
        assert word in shown.stdout
    assert "nan" not in shown.stdout and "None" not in shown.stdout


def test_wrong_requests_are_one_message_and_status_2(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", 2)
    assert "found neither" in _evaluate(tmp_path, status=2)["error"]
    assert "split test" in _evaluate(folder, "--held-out", 2, status=2)["error"]
    (folder / "images" / "1.png").unlink()
    assert "names images/1.png" in _evaluate(folder, status=2)["error"]
    content = document(folder)
    content["categories"][0]["keypoints"] = [f"tentacle_{n}" for n in range(17)]
    write_document(folder, content)
    assert "tentacle_0" in _evaluate(folder, status=2)["error"]
    assert "no left_shoulder" in _evaluate(folder, "--held-out", 2, status=2)["error"]
