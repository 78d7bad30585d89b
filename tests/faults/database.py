"""Prefect's database, locked by another process while a flow runs."""

from __future__ import annotations

import socket
import sqlite3
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from tests.faults.attempt import Attempt, started
from tests.faults.outcome import Outcome
from tests.faults.scene import WHOLE_RUN_S, Scene

HELD_S = (2.0, 8.0, 20.0, 40.0)
STARTUP_S = 240.0
FLOW = "import sys; from flows.build_dataset import build_dataset; print(build_dataset(sys.argv[1]))"


def locked(scene: Scene, folder: Path, seed: int) -> Outcome:
    """A flow under a server of its own whose SQLite file another process holds exclusively, for longer each time."""
    rng, root = np.random.default_rng(seed), scene.copy(folder / "flow")
    problems, held, runs = [], 0.0, 0
    home = folder / "prefect-locked"
    with server(home) as api:
        environment = {"PREFECT_API_URL": api, "PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        flow = started([sys.executable, "-c", FLOW, str(root)], folder / "flow.log", environment)
        runs += 1
        for seconds in HELD_S:
            if flow.ended(float(rng.uniform(1.0, 4.0))) is None:
                hold(home / "prefect.db", seconds, flow)
                held += seconds
        if flow.ended(WHOLE_RUN_S) != 0:
            problems += scene.half_made(root)
            runs += 1
            flow = started([sys.executable, "-c", FLOW, str(root)], folder / "flow-again.log", environment)
            flow.ended(WHOLE_RUN_S)
    if flow.status != 0:
        problems.append(f"the flow does not end: {flow.said[-2000:]}")
    problems += scene.differences(root)
    ended = "went on once it was free" if runs == 1 else "failed, and its second run ended"
    found = f"held for {held:.0f} s in all, {max(HELD_S):.0f} s at once: the flow {ended}; the same bytes"
    return Outcome("Prefect's database locked", "SQLite's exclusive lock, held by another process", found, tuple(problems))


def hold(database: Path, seconds: float, flow: Attempt) -> None:
    """Lock a database for s, or until the flow ends."""
    with closing(sqlite3.connect(database, timeout=60.0, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        flow.ended(seconds)
        connection.execute("ROLLBACK")


@contextmanager
def server(home: Path) -> Iterator[str]:
    """A Prefect server on a free port; yields the address of its API."""
    home.mkdir()
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    running = started(command, home / "server.log", environment)
    try:
        _wait(f"http://127.0.0.1:{port}/api/health", running)
        yield f"http://127.0.0.1:{port}/api"
    finally:
        running.process.terminate()
        if running.ended(15.0) is None:
            running.kill()


def _wait(url: str, running: Attempt) -> None:
    until = time.monotonic() + STARTUP_S
    while running.ended(0.5) is None and time.monotonic() < until:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            continue
    raise RuntimeError(f"Prefect's server does not answer: {running.said[-2000:]}")
