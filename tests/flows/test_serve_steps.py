"""What `posemill serve` starts, in which order, and what it does when that goes wrong; without a Prefect."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows import serve
from pipeline.errors import StageError


def test_the_server_answers_before_deployments_are_made_and_all_end_in_reverse(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    happened: list[str] = []

    @contextmanager
    def running(name: str, words: list[str], *_: object) -> Iterator[SimpleNamespace]:
        happened.append(f"{name} starts: {' '.join(words)}")
        yield SimpleNamespace(name=name, process=None)
        happened.append(f"{name} ends")

    @contextmanager
    def meanwhile(work: object, _: float) -> Iterator[None]:
        happened.append(type(work.__self__).__name__)  # type: ignore[attr-defined]
        yield

    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    for name, fake in {
        "check_port": lambda port: happened.append(f"port {port}"),
        "running": running,
        "meanwhile": meanwhile,
        "wait_until_healthy": lambda url, *_: happened.append(url),
        "deploy": lambda _: happened.append("deploy"),
        "wait_for_the_end": lambda processes: happened.append(" ".join(each.name for each in processes)),
    }.items():
        monkeypatch.setattr(serve, name, fake)
    before = signal.getsignal(signal.SIGINT)
    try:
        serve.serve(4300, tmp_path / "new")
    finally:
        signal.signal(signal.SIGINT, before)
    assert happened == [
        "port 4300",
        "port 4301",
        "server starts: -m prefect server start --host 127.0.0.1 --port 4300",
        "http://127.0.0.1:4300/api/health",
        "deploy",
        f"reports starts: -m flows.report_server {tmp_path}/home/reports 4301",
        f"worker starts: -m prefect worker start --pool {serve.POOL}",
        "Watcher",
        "Reviver",
        "server reports worker",
        "worker ends",
        "reports ends",
        "server ends",
    ]
    told = capsys.readouterr().err
    assert "http://127.0.0.1:4300/runs" in told and "reports:     http://127.0.0.1:4301" in told
    assert f"watching:    {(tmp_path / 'new').resolve()}" in told and told.rstrip().endswith("have ended")


def test_slots_that_are_there_keep_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    there, *missing = serve.SLOTS
    ran: list[list[str]] = []
    monkeypatch.setattr(serve, "prefect", lambda words, _: ran.append(words) or f"| {there} | 3 |")
    serve.deploy({})
    assert ran[0] == ["work-pool", "create", serve.POOL, "--type", "process", "--overwrite"] and ran[-1] == ["deploy", "--all"]
    made = [words[2:] for words in ran if words[:2] == ["gcl", "create"]]
    assert made == [[slot, "--limit", str(serve.SLOTS[slot])] for slot in missing]


def test_a_new_session_is_scheduled_once_by_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple] = []
    monkeypatch.setattr(serve, "ask_api", lambda *words: asked.append(words) or {"id": "d1"})
    serve.starter({"PREFECT_API_URL": "http://here/api"})(Path("data/gym"))
    once = {"parameters": {"session": "data/gym"}, "idempotency_key": "new session data/gym"}
    assert asked == [
        ("http://here/api", f"/deployments/name/{serve.ON_DEMAND}"),
        ("http://here/api", "/deployments/d1/create_flow_run", once),
    ]


def test_prefects_home_is_the_users_own_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PREFECT_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert serve.prefect_home() == tmp_path / "data" / "posemill" / "prefect" and serve.prefect_home().is_dir()
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "else"))
    assert serve.prefect_home() == tmp_path / "else" and serve.prefect_home().is_dir()


def test_a_command_of_prefect_returns_what_it_printed_or_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.CompletedProcess([], 0, "two slots\n", "")
    monkeypatch.setattr(serve.subprocess, "run", lambda words, **_: done)
    assert serve.prefect(["gcl", "ls"], {}) == "two slots\n"
    done.returncode, done.stderr = 1, "no such command"
    with pytest.raises(StageError, match="(?s)prefect gcl ls failed:.*two slots.*no such command"):
        serve.prefect(["gcl", "ls"], {})


class _Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_a_server_is_waited_for_until_it_answers_or_its_time_is_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("\n".join(f"line {n}" for n in range(40)))
    answering = HTTPServer(("127.0.0.1", 0), _Healthy)
    threading.Thread(target=answering.serve_forever, daemon=True).start()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as alive:
        try:
            serve.wait_until_healthy(f"http://127.0.0.1:{answering.server_port}/api/health", alive, log)
            monkeypatch.setattr(serve, "STARTUP_S", 0.1)
            with pytest.raises(StageError, match="(?s)did not answer .*/nowhere within 0 s.*\nline 25\n.*line 39$") as caught:
                serve.wait_until_healthy(f"http://127.0.0.1:{answering.server_port}/nowhere", alive, log)
            assert "line 24" not in str(caught.value)
        finally:
            alive.kill()
            answering.shutdown()
            answering.server_close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_wait_and_processes_are_looked_after_until_then(number: int) -> None:
    looked: list[float] = []

    class Process:
        def mend(self) -> None:
            looked.append(time.monotonic())
            if len(looked) == 2:
                os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    serve.wait_for_the_end([Process()])  # type: ignore[list-item]
    assert len(looked) == 2 and signal.getsignal(number) is before
