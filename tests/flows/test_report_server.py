import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from flows.report_server import HOME, URL, Handler, report_url


@pytest.fixture
def session(tmp_path: Path) -> Path:
    root = tmp_path / "the gym"
    for name in ("rig/ab/report.html", "review/review-1.csv", "raw/cam1.mp4", "session.yaml", "export/dataset/data/x.parquet"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"content of {name}")
    (tmp_path / "secret.html").write_text("secret")
    (root / "rig" / "link.html").symlink_to(tmp_path / "secret.html")
    return root


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    home = tmp_path / "home"
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, home))
    url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv(URL, url)
    monkeypatch.setenv(HOME, str(home))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield url
    server.shutdown()
    server.server_close()


def test_a_report_is_found_by_its_link(session: Path, served: str) -> None:
    for name in ("rig/ab/report.html", "review/review-1.csv"):
        url = report_url(session, session / name)
        assert url.startswith(served) and " " not in url
        with urllib.request.urlopen(url) as answer:
            assert answer.read().decode() == f"content of {name}"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_without_a_server_links_are_files(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(URL, raising=False)
    report = session / "rig" / "ab" / "report.html"
    assert report_url(session, report) == report.as_uri()


@pytest.mark.parametrize(
    "path",
    ["raw/cam1.mp4", "session.yaml", "export/dataset/data/x.parquet", "rig/link.html", "rig", "", "rig/../../secret.html",
     "rig/%2e%2e/%2e%2e/secret.html", "//etc/passwd", "rig/ab/other.html"],
)  # fmt: skip
def test_nothing_else_is_served(session: Path, served: str, path: str) -> None:
    key = report_url(session, session / "rig" / "ab" / "report.html").removeprefix(served + "/").split("/")[0]
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{served}/{key}/{path}")


def test_a_session_that_nobody_registered_is_not_served(session: Path, served: str) -> None:
    for address in ("/other-1234/rig/ab/report.html", "/", "/../home/x"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(served + address)
