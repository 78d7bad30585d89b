"""The commands about the machine tell what was found; what they call is tested where it is written."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows import doctor, serve
from flows.cli import app
from flows.doctor import Check
from pipeline import bench
from pipeline.bench import Doubled, Measured

runner = CliRunner()
FINE = Check("Python", "ok", "3.11.7")
GONE = Check("libGL.so.1", "missing", "not found; OpenCV needs it", "apt-get install libgl1", ("libgl1",))
EXTRA = Check("ffmpeg", "optional", "not found; handy", "apt-get install ffmpeg", ("ffmpeg",))


def _values(*words: str, status: int = 0) -> dict:
    result = runner.invoke(app, [*words, "--json"])
    assert result.exit_code == status, result.stderr
    return json.loads(result.stdout)


def test_a_machine_that_lacks_something_is_not_fit_and_the_one_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: [FINE, GONE, EXTRA])
    monkeypatch.setattr(doctor, "fix", lambda _: pytest.fail("installed without being asked"))
    told = _values("doctor", status=1)
    assert told["ok"] is False and told["command"].endswith("--no-install-recommends libgl1")
    assert [check["state"] for check in told["checks"]] == ["ok", "missing", "optional"]
    printed = runner.invoke(app, ["doctor"]).stdout
    assert "libGL.so.1" in printed and "as root: apt-get update" in printed and "1 missing" in printed


def test_doctor_installs_when_asked_and_tells_what_is_there_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: [FINE, GONE])
    monkeypatch.setattr(doctor, "fix", lambda checks: [FINE] if GONE in checks else [])
    told = _values("doctor", "--fix")
    assert told["ok"] is True and told["command"] == "" and len(told["checks"]) == 1
    assert "this machine is fit for posemill" in runner.invoke(app, ["doctor", "--fix"]).stdout


def test_bench_tells_every_part_and_what_twice_as_much_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "parts", lambda: iter([Measured("decode", 50.0, "frames/s", 200.0, "codec")]))
    monkeypatch.setattr(bench, "doublings", lambda: iter([Doubled("decode", 2.1, None, 1.0)]))
    told = _values("bench")
    assert told["parts"] == [
        {"part": "decode", "rate": 50.0, "unit": "frames/s", "at most": 200.0, "share %": 25.0, "limited by": "codec"}
    ]
    assert told["twice"] == [{"part": "decode", "frames": 2.1, "cameras": None, "people": 1.0}]
    result = runner.invoke(app, ["bench"])
    assert "decode: 50.0 frames/s, 25% of codec" in result.stderr and "twice as many" in result.stdout


def test_serve_takes_its_port_and_folder_and_says_when_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, Path]] = []
    monkeypatch.setattr(serve, "serve", lambda port, watch: asked.append((port, watch)))
    assert _values("serve") == {"stopped": True}
    assert runner.invoke(app, ["serve", "--port", "4300", "--watch", "new"]).stdout.strip() == "stopped"
    assert asked == [(4200, Path("data/sessions")), (4300, Path("new"))]
