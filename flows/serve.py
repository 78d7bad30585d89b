"""`posemill serve`: Prefect's server, a worker and the deployments of prefect.yaml on this machine, until Ctrl-C."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from flows import report_server
from flows.names import ON_DEMAND, POOL, SLOTS
from flows.revive import Reviver
from flows.terminal import say
from flows.watch import Watcher
from models.stop_signals import stop_signals
from pipeline.background import meanwhile
from pipeline.errors import InputError, StageError

ROOT = Path(__file__).resolve().parent.parent
STARTUP_S = 180.0  # a first start makes the database: 19 to 27 s on a quiet machine
STOP_S = 15.0
MOST_RESTARTS = 5  # one after the other, each within STEADY_S
STEADY_S = 600.0
CLIENT = f"posemill-{os.getpid()}"  # to whom the server gives a token against forged requests


def serve(port: int = 4200, watch: Path = Path("data/sessions")) -> None:
    """Start everything, print the addresses, watch a folder for new sessions, and wait for Ctrl-C or a process that ends.

    Raises InputError when the port or the next one is taken, StageError with the log's place when something does not start or
    stops.
    """
    for wanted in (port, port + 1):
        check_port(wanted)
    # A shell's background jobs ignore Ctrl-C's signal and would hand that on to the server and the worker.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    home = prefect_home()
    environment = prefect_environment(port, home)
    say(f"starting Prefect's server on http://127.0.0.1:{port} (its data and logs are in {home})")
    server_words = ["-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    reports_words = ["-m", "flows.report_server", environment[report_server.HOME], str(port + 1)]
    worker_words = ["-m", "prefect", "worker", "start", "--pool", POOL]
    with running("server", server_words, environment, home) as server:
        wait_until_healthy(f"http://127.0.0.1:{port}/api/health", server.process, home / "server.log")
        deploy(environment)
        with (
            running("reports", reports_words, environment, home) as reports,
            running("worker", worker_words, environment, home) as worker,
            meanwhile(Watcher(watch, starter(environment)).run, STOP_S),
            meanwhile(Reviver(partial(ask_api, environment["PREFECT_API_URL"])).run, STOP_S),
        ):
            for line in addresses(port, watch):
                say(line)
            wait_for_the_end([server, reports, worker])
    say("stopped: server, reports and worker have ended")


def deploy(environment: dict[str, str]) -> None:
    """The work pool, the slots of GPU and disk (those that are there keep their numbers), and every deployment."""
    prefect(["work-pool", "create", POOL, "--type", "process", "--overwrite"], environment)
    for slot, limit in SLOTS.items():
        if slot not in prefect(["gcl", "ls"], environment):
            prefect(["gcl", "create", slot, "--limit", str(limit)], environment)
    prefect(["deploy", "--all"], environment)


def starter(environment: dict[str, str]) -> Callable[[Path], None]:
    """Schedules a run of a session, once: Prefect itself remembers by the session's path."""
    api = environment["PREFECT_API_URL"]

    def start(session: Path) -> None:
        deployment = ask_api(api, f"/deployments/name/{ON_DEMAND}")["id"]
        once = {"parameters": {"session": str(session)}, "idempotency_key": f"new session {session}"}
        ask_api(api, f"/deployments/{deployment}/create_flow_run", once)

    return start


def addresses(port: int, watch: Path) -> list[str]:
    """What a person needs to know once everything is up."""
    site = f"http://127.0.0.1:{port}"
    return [
        f"runs:        {site}/runs",
        f"deployments: {site}/deployments (run `on-demand` with a session's folder; `nightly` takes data/sessions at two)",
        f"results:     {site}/artifacts (result tables, contact sheets, generated images, what was rejected)",
        f"reports:     http://127.0.0.1:{port + 1} (linked from the results)",
        f"watching:    {watch.resolve()} (a new session that is dropped in is run once it is at rest for a minute)",
        "stop with Ctrl-C",
    ]


def prefect_home() -> Path:
    """Where the server keeps its database: PREFECT_HOME, else a folder of posemill's own in the user's data folder."""
    data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    home = Path(os.environ.get("PREFECT_HOME") or Path(data) / "posemill" / "prefect")
    home.mkdir(parents=True, exist_ok=True)
    return home


def prefect_environment(port: int, home: Path) -> dict[str, str]:
    """The environment of server, worker and deployments: nothing leaves this machine, nothing mixes with another server."""
    api = f"http://127.0.0.1:{port}/api"
    return os.environ | {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": api,
        "PREFECT_UI_API_URL": api,  # the page asks port 4200 otherwise
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # A page of another site, open in the same browser, must neither read runs nor start one.
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://127.0.0.1:{port},http://localhost:{port}",
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_CLI_PROMPT": "false",
        "PWD": str(ROOT),  # prefect.yaml has runs start there
        report_server.URL: f"http://127.0.0.1:{port + 1}",
        report_server.HOME: str(home / "reports"),
    }


def check_port(port: int) -> None:
    """Raises InputError when something listens on the port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise InputError(
                f"port {port} of 127.0.0.1: expected a free port, found it taken or not allowed ({error}); "
                f"stop what listens there or take another: posemill serve --port {port + 1}"
            ) from error


def prefect(words: list[str], environment: dict[str, str]) -> str:
    """One command of Prefect's own command line; returns what it printed. Raises StageError with that when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", *words], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise StageError(f"prefect {' '.join(words)} failed:\n{done.stdout}{done.stderr}".strip())
    return done.stdout


@dataclass
class Running:
    """A Python process with its log in a file, which is begun again when it ends by itself."""

    name: str
    words: list[str]
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] = field(init=False)
    restarts: int = 0
    begun_s: float = 0.0

    def start(self) -> None:
        """Begin it, with a session of its own: Ctrl-C reaches posemill alone, which then ends the others in order."""
        self.begun_s = time.monotonic()
        with self.log.open("ab") as log:
            command = [sys.executable, *self.words]
            self.process = subprocess.Popen(
                command, env=self.environment, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )

    def mend(self) -> None:
        """Begin it again if it ended by itself. Raises StageError with the end of its log when it did so too often."""
        if (status := self.process.poll()) is None:
            return
        if time.monotonic() - self.begun_s > STEADY_S:
            self.restarts = 0
        if self.restarts == MOST_RESTARTS:
            raise StageError(
                f"the process `{self.name}` ended with status {status} again; its log: {self.log}\n{tail(self.log)}"
            )
        self.restarts += 1
        say(f"the process `{self.name}` ended with status {status}; it is begun again (its log: {self.log})")
        self.start()


@contextmanager
def running(name: str, words: list[str], environment: dict[str, str], home: Path) -> Iterator[Running]:
    """A process for the block; asked to end, then made to, when the block is left."""
    running = Running(name, words, environment, home / f"{name}.log")
    running.start()
    try:
        yield running
    finally:
        stop(running.process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end; after fifteen seconds end it. What it left of its own children ends with it."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def ask_api(api: str, path: str, content: dict[str, Any] | None = None) -> Any:
    """What Prefect's server answers to a GET, or to a POST of content.

    PREFECT_API_AUTH_STRING (NAME:PASSWORD) is sent where it is set; the server asks for it where it finds
    PREFECT_SERVER_API_AUTH_STRING.
    """
    headers = {"Content-Type": "application/json"}
    if who := os.environ.get("PREFECT_API_AUTH_STRING"):
        headers["Authorization"] = f"Basic {base64.b64encode(who.encode()).decode()}"
    if content is not None:
        token = ask_api(api, f"/csrf-token?client={CLIENT}")["token"]
        headers |= {"Prefect-Csrf-Client": CLIENT, "Prefect-Csrf-Token": token}
    data = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(api + path, data, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def wait_until_healthy(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Return once the server answers. Raises StageError when it ends or does not answer in time."""
    until = time.monotonic() + STARTUP_S
    while time.monotonic() < until:
        if server.poll() is not None:
            raise StageError(f"Prefect's server ended with status {server.returncode}; its log: {log}\n{tail(log)}")
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise StageError(f"Prefect's server did not answer {url} within {STARTUP_S:.0f} s; its log: {log}\n{tail(log)}")


def wait_for_the_end(processes: Sequence[Running]) -> None:
    """Wait for Ctrl-C or a termination signal; meanwhile, processes that end by themselves are begun again, a few times."""
    asked: list[int] = []
    with stop_signals(lambda number, _: asked.append(number)):
        while not asked:
            for process in processes:
                process.mend()
            time.sleep(0.3)


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
