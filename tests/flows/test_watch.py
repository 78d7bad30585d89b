import os
import threading
from pathlib import Path

import pytest

from flows.watch import Watcher
from tests.flows.fakes import make_session


def _aged(session: Path, seconds: float) -> float:
    """Let the session's files be so old at the time returned."""
    newest = max(path.stat().st_mtime for path in session.iterdir())
    return newest + seconds


def test_a_session_at_rest_is_started_once(tmp_path: Path) -> None:
    started: list[Path] = []
    watcher = Watcher(tmp_path, started.append, settled_s=60)
    session = make_session(tmp_path / "new")
    assert watcher.look(_aged(session, 10)) == []
    assert watcher.look(_aged(session, 61)) == [session]
    assert watcher.look(_aged(session, 90)) == []
    assert started == [session]


def test_files_that_are_still_copied_keep_it_waiting(tmp_path: Path) -> None:
    watcher = Watcher(tmp_path, lambda _: None, settled_s=60)
    session = make_session(tmp_path / "new")
    now_s = _aged(session, 100)
    os.utime(session / "cam2.mp4", (now_s - 5, now_s - 5))
    assert watcher.look(now_s) == []
    assert watcher.look(now_s + 56) == [session]


def test_a_clock_that_was_set_back_keeps_no_session_waiting(tmp_path: Path) -> None:
    watcher = Watcher(tmp_path, lambda _: None, settled_s=60)
    session = make_session(tmp_path / "new")
    assert watcher.look(_aged(session, -10)) == []
    assert watcher.look(_aged(session, -3600)) == [session]


def test_a_missing_source_is_told_once_and_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    watcher = Watcher(tmp_path, lambda _: None, settled_s=60)
    session = make_session(tmp_path / "new")
    content = (session / "cam1.mp4").read_bytes()
    (session / "cam1.mp4").unlink()
    late = _aged(session, 1000)
    assert watcher.look(late) == watcher.look(late) == []
    assert capsys.readouterr().err.count("cam1.mp4") == 1
    (session / "cam1.mp4").write_bytes(content)
    assert watcher.look(_aged(session, 1000)) == [session]


def test_what_has_results_or_cannot_be_read_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    watcher = Watcher(tmp_path, lambda _: None, settled_s=60)
    done = make_session(tmp_path / "done")
    (done / "clips").mkdir()
    broken = make_session(tmp_path / "broken")
    (broken / "session.yaml").write_text("name: [")
    assert watcher.look(_aged(done, 1000)) == []
    assert "broken" in capsys.readouterr().err


def test_a_look_that_fails_is_made_again(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    ended, tries = threading.Event(), []

    def start(session: Path) -> None:
        tries.append(session)
        if len(tries) < 3:
            raise OSError("connection refused")
        ended.set()

    make_session(tmp_path / "new")
    Watcher(tmp_path, start, settled_s=-1.0, every_s=0.01).run(ended)
    assert len(tries) == 3
    assert capsys.readouterr().err.count("connection refused") == 1
