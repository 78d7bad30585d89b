import os
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flows.revive import MOST_RUNS, Reviver, alive


class Server:
    """Answers as Prefect's server does, with the runs given; remembers what was set."""

    def __init__(self, **run: Any) -> None:
        long_ago = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
        self.run = {"id": "1", "name": "gym", "state_type": "RUNNING", "run_count": 1, "infrastructure_pid": "",
                    "state": {"timestamp": long_ago}} | run  # fmt: skip
        self.set: list[dict[str, Any]] = []

    def __call__(self, path: str, content: dict[str, Any] | None = None) -> Any:
        if path == "/flow_runs/filter":
            assert content is not None and content["flow_runs"]["tags"] == {"all_": ["posemill"]}
            return [self.run]
        assert path == "/flow_runs/1/set_state" and content is not None
        self.set.append(content["state"])
        return {}


@pytest.fixture
def dead() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
        return process.pid


def test_a_run_whose_process_died_goes_back_on_the_schedule(dead: int) -> None:
    for pid in (str(dead), f"{socket.gethostname()}:{dead}"):
        server = Server(infrastructure_pid=pid)
        assert Reviver(server).look() == ["1"]
        assert server.set[0]["type"] == "SCHEDULED"
    crashed = Server(state_type="CRASHED")
    assert Reviver(crashed).look() == ["1"]


def test_a_clock_that_was_set_back_keeps_no_run_dead(dead: int) -> None:
    ahead = {"timestamp": (datetime.now(UTC) + timedelta(hours=2)).isoformat()}
    assert Reviver(Server(infrastructure_pid=str(dead), state=ahead)).look() == ["1"]


def test_a_run_that_lives_or_that_another_machine_has_is_left_alone(dead: int) -> None:
    now = {"timestamp": datetime.now(UTC).isoformat()}
    for server in (
        Server(infrastructure_pid=str(os.getpid())), Server(infrastructure_pid=f"elsewhere:{dead}"),
        Server(infrastructure_pid=""), Server(infrastructure_pid=str(dead), state=now),
    ):  # fmt: skip
        assert Reviver(server).look() == [] and server.set == []


def test_what_dies_every_time_is_given_up_and_told_once(dead: int, capsys: pytest.CaptureFixture) -> None:
    server = Server(state_type="CRASHED", run_count=MOST_RUNS)
    reviver = Reviver(server)
    assert reviver.look() == reviver.look() == []
    assert capsys.readouterr().err.count("left alone") == 1


def test_a_process_that_ended_and_was_not_waited_for_is_not_alive() -> None:
    with subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read()
        deadline = datetime.now(UTC) + timedelta(seconds=5)
        while alive(process.pid) and datetime.now(UTC) < deadline:
            pass
        assert not alive(process.pid)
    assert alive(os.getpid())
