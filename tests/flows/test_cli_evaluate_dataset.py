"""`posemill evaluate dataset` on skeletons: the worst first, and files that are none are a wrong request."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from flows.cli import app
from tests.pipeline.test_skeleton_audit import skeleton_file, wrong

runner = CliRunner()


def test_doubtful_skeletons_come_as_one_json_object(tmp_path: Path) -> None:
    file = skeleton_file(tmp_path / "walk.parquet", wrong())
    result = runner.invoke(app, ["evaluate", "dataset", str(file), "--worst", "3", "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)[str(file)]["skeletons"]
    assert told["judged"] == 100
    assert {row["t_ns"] for row in told["doubtful"]} == {20, 50, 70}


def test_too_few_skeletons_are_a_wrong_request(tmp_path: Path) -> None:
    file = skeleton_file(tmp_path / "few.parquet", wrong()[:4])
    result = runner.invoke(app, ["evaluate", "dataset", str(file), "--json"])
    assert result.exit_code == 2 and "expected at least 10 skeletons" in json.loads(result.stdout)["error"]
