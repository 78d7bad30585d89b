import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.cli_record import now_table
from pipeline.record import CameraNow, Now
from pipeline.session import load_session
from tests.pipeline.streams import jpeg_frames, moving, serving

runner = CliRunner()


def _values(*words: object, status: int = 0) -> dict:
    result = runner.invoke(app, [*map(str, words), "--json"])
    assert result.exit_code == status, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def cameras(tmp_path: Path):
    frames = jpeg_frames(moving(20, (160, 120)))
    with serving({"cam1": frames, "cam2": frames}, password="s3cret") as server:
        yield [f"{name}=http://bob:s3cret@127.0.0.1:{server.port}/{name}" for name in ("cam1", "cam2")]


def _new(session: Path, cameras: list[str]) -> dict:
    return _values("new", session, *(word for url in cameras for word in ("--live", url)))


def test_a_recorded_clip_is_in_the_session_and_runs(tmp_path: Path, cameras: list[str]) -> None:
    session = tmp_path / "s"
    assert [line["note"] for line in _new(session, cameras)["sources"]] == ["live, mjpeg: posemill record"] * 2
    told = _values("record", session, "--seconds", "1.5", "--clip", "walk")
    assert (told["clip"], told["ended"]) == ("walk", "after the seconds asked for")
    assert {camera: figures["dropped"] for camera, figures in told["cameras"].items()} == {"cam1": 0, "cam2": 0}
    assert [look["problems"] for look in told["looks"]] == [[], []]
    assert load_session(session).clips[0].sources["cam2"].path == "raw/walk/cam2"
    step = _values("run", session, "--until", "ingest")["steps"][0]
    assert step["summary"]["instants"] > 30
    again = runner.invoke(app, ["record", str(session), "--seconds", "1", "--clip", "walk"])
    assert again.exit_code == 2
    assert "clip 'walk' is in this session already" in again.stderr
    for file in tmp_path.rglob("*"):
        if file.is_file() and file.name != ".credentials.yaml":
            assert b"s3cret" not in file.read_bytes(), file


def test_what_the_look_before_finds_is_refused_and_forced(tmp_path: Path) -> None:
    dark = jpeg_frames([image // 60 for image in moving(20, (160, 120))])
    with serving({"cam1": dark}) as server:
        session = tmp_path / "s"
        _new(session, [f"cam1=http://127.0.0.1:{server.port}/cam1"])
        refused = runner.invoke(app, ["record", str(session), "--seconds", "1"])
        assert refused.exit_code == 2
        assert "camera cam1: " in refused.stderr
        assert "record all the same with --force" in refused.stderr
        assert not (session / "raw").exists()
        assert _values("record", session, "--seconds", "0.5", "--force")["clip"] == "clip1"


def test_ctrl_c_ends_a_recording_cleanly(tmp_path: Path, cameras: list[str]) -> None:
    session = tmp_path / "s"
    _new(session, cameras)
    words = [sys.executable, "-m", "flows.cli", "record", str(session), "--json"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, text=True, **pipes, env=os.environ) as child:  # type: ignore[call-overload]
        until = time.monotonic() + 30
        while not list(session.glob("raw/clip1/cam*/000.mkv")) and time.monotonic() < until:
            time.sleep(0.1)
        time.sleep(1)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=20)
    assert child.returncode == 0, err
    told = json.loads(out)
    assert told["ended"] == "when it was told to stop"
    assert told["cameras"]["cam1"]["frames"] > 15
    assert "s3cret" not in out + err


def test_the_table_tells_rate_drops_jitter_and_skew() -> None:
    from rich.console import Console

    now = Now(12.0, (CameraNow("cam1", "silent", 29.97, 360, 2, 1.25, 8.1, 1),), 0.42, 5_000_000_000)
    console = Console(width=120, record=True, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123
    console.print(now_table(now))
    text = console.export_text()
    for word in ("cam1", "silent", "29.97", "360", "1.25", "skew 0.42 ms", "5.0 GB free"):
        assert word in text
