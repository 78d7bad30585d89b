import io
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows import serve
from pipeline.errors import InputError, StageError


def test_a_taken_port_is_refused_before_anything_starts() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port}.*--port {port + 1}"):
            serve.serve(port)


def test_nothing_leaves_this_machine(tmp_path: Path) -> None:
    environment = serve.prefect_environment(4300, tmp_path)
    assert environment["PREFECT_API_URL"] == environment["PREFECT_UI_API_URL"] == "http://127.0.0.1:4300/api"
    assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert environment["PREFECT_HOME"] == str(tmp_path)


def test_pages_of_other_sites_neither_read_runs_nor_start_one(tmp_path: Path) -> None:
    environment = serve.prefect_environment(4300, tmp_path)
    assert environment["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] == "http://127.0.0.1:4300,http://localhost:4300"
    assert environment["PREFECT_SERVER_CSRF_PROTECTION_ENABLED"] == "true"


def test_what_is_asked_carries_a_token_and_the_password_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "ada:secret")
    asked = []

    def answer(request: Any, timeout: float) -> io.BytesIO:
        asked.append((request.full_url, request.headers))
        return io.BytesIO(b'{"token": "t1"}')

    monkeypatch.setattr(serve.urllib.request, "urlopen", answer)
    serve.ask_api("http://127.0.0.1:1/api", "/flow_runs/filter", {"limit": 1})
    [(first, _), (_, headers)] = asked
    assert first.startswith("http://127.0.0.1:1/api/csrf-token?client=posemill-")
    assert headers["Prefect-csrf-token"] == "t1" and headers["Prefect-csrf-client"] in first
    assert headers["Authorization"] == "Basic YWRhOnNlY3JldA=="


def test_a_server_that_ends_shows_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_text("first\nno such table: flow\n")
    with subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"]) as ended:
        ended.wait()
        with pytest.raises(StageError, match="(?s)status 3.*no such table"):
            serve.wait_until_healthy("http://127.0.0.1:9/api/health", ended, log)


def test_a_process_that_ignores_the_request_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "STOP_S", 0.3)
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        serve.stop(process)
        assert process.poll() is not None


def test_every_deployment_names_a_flow_that_exists_and_nightly_has_a_schedule() -> None:
    import importlib

    content = yaml.safe_load((serve.ROOT / "prefect.yaml").read_text())
    for deployment in content["deployments"]:
        path, name = deployment["entrypoint"].split(":")
        flow = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), name)
        assert set(deployment["parameters"]) <= set(flow.parameters.properties)
        assert deployment["work_pool"]["name"] == serve.POOL
    flows = {deployment["entrypoint"].split(":")[1] for deployment in content["deployments"]}
    assert {
        "build_dataset",
        "calibrate_rig",
        "augment_dataset",
        "train_detector",
        "train_controlnet",
        "release_dataset",
    } <= flows
    assert all(deployment["description"] and deployment["tags"] for deployment in content["deployments"])
    [nightly] = [each for each in content["deployments"] if each["name"] == "nightly"]
    assert nightly["schedules"][0]["cron"] == "0 2 * * *"


def test_a_process_that_ends_by_itself_is_begun_again_a_few_times(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["-c", "print('no such table', flush=True); raise SystemExit(3)"]
    with serve.running("worker", words, dict(os.environ), tmp_path) as running:
        for _ in range(serve.MOST_RESTARTS):
            before = running.process
            before.wait()
            running.mend()
            assert running.process is not before
        running.process.wait()
        with pytest.raises(StageError, match="(?s)status 3 again.*no such table"):
            running.mend()
    assert capsys.readouterr().err.count("begun again") == serve.MOST_RESTARTS
    with serve.running("worker", ["-c", "import time; time.sleep(60)"], dict(os.environ), tmp_path) as running:
        process = running.process
        running.mend()
        assert running.process is process
    assert process.poll() is not None
