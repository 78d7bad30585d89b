"""What a person at a terminal sees, and what stands in a log instead where there is none."""

from __future__ import annotations

import io
import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from flows import cli_record, terminal
from pipeline.job import Step
from pipeline.progress import progress
from pipeline.record import CameraNow, Now

CAMERA = CameraNow("cam1", "recording", 25.0, 250, 3, 0.4, 8.0, 0)


def now(since_s: float) -> Now:
    return Now(since_s, (CAMERA,), None, 10**9)


def plain(text: str) -> str:
    """Without the terminal's codes."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)


class Terminal(io.StringIO):
    """What stderr is to a person."""

    def isatty(self) -> bool:
        return True


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """From here on, in the test itself: pytest puts its own stderr in place after the fixtures."""
    for name, value in {"TERM": "xterm", "COLUMNS": "120"}.items():
        monkeypatch.setenv(name, value)
    drawn = Terminal()
    monkeypatch.setattr(sys, "stderr", drawn)
    return drawn


def test_progress_is_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = on_a_terminal(monkeypatch)
    with terminal.drawing_progress(), progress("detect cam1", 4, "frames") as advance:
        advance(3)
        until = time.monotonic() + 10
        while "3/4" not in plain(drawn.getvalue()) and time.monotonic() < until:  # drawn ten times a second
            time.sleep(0.05)
    told = plain(drawn.getvalue())
    assert "detect cam1" in told and "3/4" in told and "frames" in told


def test_progress_is_nothing_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal.drawing_progress(), progress("detect cam1", 4, "frames") as advance:
        advance(4)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("as_json", [False, True])
def test_a_command_that_is_stopped_says_that_it_goes_on(as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as left, terminal.answering(as_json):
        raise KeyboardInterrupt
    assert left.value.exit_code == 1
    out, told = capsys.readouterr()
    assert "run the same command again and it goes on from there" in (json.loads(out)["error"] if as_json else told)


def test_a_step_is_told_with_its_warning_and_not_when_it_was_done(capsys: pytest.CaptureFixture[str]) -> None:
    def step(**more: Any) -> Any:
        named = {"stage": "detect", "clip": "walk", "part": "cam1", "skipped": False, "rows": 7, "wall_s": 1.25, "summary": {}}
        return SimpleNamespace(**named | more)

    terminal.say_step(step())
    terminal.say_step(step(summary={"warning": "it is dark"}, part=""))
    terminal.say_step(step(skipped=True, summary={"warning": "no"}))
    assert capsys.readouterr().err.splitlines() == [
        "detect walk cam1: 7 rows in 1.2 s",
        "detect walk: 7 rows in 1.2 s",
        "detect walk: warning: it is dark",
    ]


def test_a_recording_is_a_table_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = on_a_terminal(monkeypatch)
    with cli_record.drawing_figures() as draw:
        draw(now(1.0))
    told = plain(drawn.getvalue())
    assert "cam1" in told and "recording" in told and "250" in told


def test_a_recording_is_a_line_every_ten_seconds_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with cli_record.drawing_figures() as draw:
        for since_s in (3.0, 9.9, 10.0, 12.0, 19.9, 35.0, 39.0, 40.0):
            draw(now(since_s))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"{s} s: cam1 250 frames, 3 lost" for s in (10, 35, 40)]


def test_a_run_on_workers_asks_for_them_and_tells_its_steps(monkeypatch: pytest.MonkeyPatch, session: Any) -> None:
    from typer.testing import CliRunner

    from flows import cli, distributed

    asked: list[Any] = []
    made = Step("detect", "walk", "cam1", False, wall_s=1.0, cpu_s=1.0, peak_mb=100.0, rows=7)

    def on_workers(store: Any, config: dict[str, Any], workers: Any, until: str) -> tuple[list[Step], None]:
        asked.append((store.root, config["detect"]["size_px"], workers.runner, workers.count, until))
        return [made], None

    monkeypatch.setattr(distributed, "on_workers", on_workers)
    words = f"run {session} --runner dask --workers 2 --until detect --set detect.size_px=320 --json".split()
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == 0, result.stderr
    assert asked == [(session, 320, "dask", 2, "detect")]
    [step] = json.loads(result.stdout)["steps"]
    assert (step["stage"], step["part"], step["rows"]) == ("detect", "cam1", 7)


@pytest.mark.parametrize("board", [False, True])
def test_cameras_are_shown_while_they_are_recorded_and_people_are_looked_for_without_a_board(
    board: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    happened: list[str] = []
    view = SimpleNamespace(tap="tap")
    finder = SimpleNamespace(start=lambda: happened.append("looks"), stop=lambda: happened.append("looked"))

    @contextmanager
    def serving_view(shown: Any, state: Any) -> Iterator[str]:
        assert shown is view
        happened.append("serves")
        yield "http://127.0.0.1:1/"
        happened.append("served")

    monkeypatch.setattr("pipeline.live_view.view_of", lambda session, asked: view if asked is board else None)
    monkeypatch.setattr("pipeline.live_people.PeopleFinder", lambda of: finder)
    monkeypatch.setattr("flows.live_page.serving_view", serving_view)
    with cli_record._showing(Path("s"), board) as shown:
        assert shown.tap == "tap"
        told: list[Now] = []
        cli_record._both(told.append, shown.watch)(now(1.0))
        assert told == [now(1.0)]
    assert happened == (["serves", "served"] if board else ["serves", "looks", "looked", "served"])
    assert "the cameras are shown at http://127.0.0.1:1/" in capsys.readouterr().err
