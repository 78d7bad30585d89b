import json
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from flows.cli import app
from models.skeleton import COCO17
from pipeline.trc import Trajectories, write_trc
from pipeline.walkers import time_ns, walk

runner = CliRunner()


def _write(path: Path, offset_m: float = 0.0) -> Path:
    times = np.array([time_ns(f) for f in range(5)])
    write_trc(Trajectories(COCO17.joints, times, walk((0, 0), (0, 1), 5) + (offset_m, 0, 0), 30.0), path)
    return path


def test_figures_come_as_one_json_object(tmp_path: Path) -> None:
    files = _write(tmp_path / "a.trc", 0.02), _write(tmp_path / "b.trc")
    result = runner.invoke(app, ["evaluate", "poses3d", *map(str, files), "--match", "0.1", "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert round(told["mpjpe_mm"], 6) == 20.0 and (told["idf1"], told["id_switches"], told["match_m"]) == (1.0, 0, 0.1)


def test_tables_are_shown_and_nobody_near_is_explained(tmp_path: Path) -> None:
    files = _write(tmp_path / "a.trc", 5.0), _write(tmp_path / "b.trc")
    result = runner.invoke(app, ["evaluate", "poses3d", *map(str, files)])
    assert result.exit_code == 0, result.output
    assert "pa_mpjpe_mm" in result.stdout and "left_wrist" in result.stdout and "nan" not in result.stdout
    assert "both in one world" in result.stderr


def test_a_file_without_people_is_a_wrong_request(tmp_path: Path) -> None:
    result = runner.invoke(app, ["evaluate", "poses3d", str(tmp_path / "none.trc"), str(_write(tmp_path / "b.trc")), "--json"])
    assert result.exit_code == 2 and "none.trc" in json.loads(result.stdout)["error"]
