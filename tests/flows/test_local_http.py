"""The small servers against pages of other sites: by their own name (DNS rebinding), as a frame, as scripts of a report."""

import http.client
import threading
from collections.abc import Iterator
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from flows import local_http, report_server
from flows.live_page import State, serving_view
from pipeline.live_view import LiveView


@pytest.fixture(params=["reports", "live"])
def port(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    if request.param == "live":
        with serving_view(LiveView({"cam1": {"cam1": None}}, None), State()) as url:
            yield int(url.rstrip("/").rpartition(":")[2])
        return
    server = ThreadingHTTPServer((local_http.HOST, 0), partial(report_server.Handler, tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def _status(port: int, host: str | None, path: str = "/") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest("GET", path, skip_host=True)
    if host is not None:
        connection.putheader("Host", host)
    connection.endheaders()
    return connection.getresponse().status


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", None, "[::", "a@b", "0.0.0.0"]
)
def test_a_name_that_was_led_here_is_refused(port: int, host: str | None) -> None:
    assert _status(port, host) == 421


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST", "127.0.0.1"])
def test_this_machine_by_its_own_names_is_answered(port: int, host: str) -> None:
    assert _status(port, host.format(port=port)) in (200, 404)


def test_servers_answer_nothing_but_get(port: int) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request(method, "/")
        assert connection.getresponse().status == 501


def test_scripts_of_a_report_reach_nothing_else(tmp_path: Path) -> None:
    root = tmp_path / "gym"
    (root / "rig").mkdir(parents=True)
    (root / "rig" / "report.html").write_text("<script>fetch('/')</script>")
    key = report_server.register(tmp_path / "home", root)
    server = ThreadingHTTPServer((local_http.HOST, 0), partial(report_server.Handler, tmp_path / "home"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    connection.request("GET", f"/{key}/rig/report.html")
    policy = connection.getresponse().headers["Content-Security-Policy"]
    server.shutdown()
    server.server_close()
    assert "default-src 'none'" in policy and "connect-src" not in policy and "allow-same-origin" not in policy
