import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from calibration.recalibrate import Recalibration
from flows.cli import app
from pipeline import recalibrate
from pipeline.recalibrate import Recalibrated

runner = CliRunner()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """What the command asks of the pipeline, which answers at once."""
    calls: list[tuple] = []
    solved = Recalibration("cam2", 100, 90, 20.0, 4.0, 8.0, 0.5, 12.0, 1.5, np.eye(6))

    def answer(*words: object) -> Recalibrated:
        calls.append(words)
        return Recalibrated(Path("rig/new.yaml"), 1.25, 40, solved)

    monkeypatch.setattr(recalibrate, "recalibrate_camera", answer)
    return calls


def test_recalibrate_prints_before_and_after_and_how_to_import(tmp_path: Path, asked: list[tuple]) -> None:
    words = ["recalibrate", str(tmp_path), "--clip", "walk", "--camera", "cam2", "--since", "1.25"]
    shown = runner.invoke(app, words)
    assert shown.exit_code == 0, shown.stderr
    assert "posemill new NEW_SESSION --rig rig/new.yaml" in shown.stdout
    assert asked == [(tmp_path, "walk", "cam2", 1.25, None, "", [])]
    values = json.loads(runner.invoke(app, [*words, "--json"]).stdout)
    assert (values["before_px"], values["after_px"], values["rig"]) == (20.0, 4.0, "rig/new.yaml")
    assert "pose_covariance" not in values


def test_recalibrate_of_a_folder_that_is_no_session_is_a_wrong_request(tmp_path: Path) -> None:
    wrong = runner.invoke(app, ["recalibrate", str(tmp_path), "--clip", "walk", "--camera", "cam2", "--json"])
    assert wrong.exit_code == 2
    assert "posemill new" in json.loads(wrong.stdout)["error"]
