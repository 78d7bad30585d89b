"""A small static server for the reports of sessions on this machine: pages in the Prefect UI can link to http, not to files.

It serves what runs registered (below the server's home, in reports/), only to this machine, and only files that are there to be
looked at: pages, pictures, tables and cards, never raw footage and nothing outside of a session.
"""

from __future__ import annotations

import hashlib
import json
import mimetypes
import os
import sys
from functools import partial
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from flows.local_http import HOST, LocalHandler
from pipeline.atomic import write_atomically

URL, HOME = "POSEMILL_REPORTS_URL", "POSEMILL_REPORTS_HOME"  # set by `posemill serve` for the worker
SHOWN = {".html", ".csv", ".md", ".json", ".jpg", ".png"}
FOLDERS = ("rig", "review", "export")  # of a session


def report_url(session: Path, file: Path) -> str:
    """Where a browser finds a file of a session: on the server that `posemill serve` runs, else on the disk."""
    base, home = os.environ.get(URL), os.environ.get(HOME)
    if not base or not home:
        return file.resolve().as_uri()
    key = register(Path(home), session)
    return f"{base}/{quote(f'{key}/{file.resolve().relative_to(session.resolve()).as_posix()}')}"


def register(home: Path, session: Path) -> str:
    """Let the server serve a session; returns its part of the address. The same session gives the same."""
    root = str(session.resolve())
    key = f"{session.resolve().name}-{hashlib.sha256(root.encode()).hexdigest()[:8]}"
    file = home / f"{key}.json"
    if not file.is_file():
        home.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps({"session": root}))
    return key


def found(home: Path, address: str) -> Path | None:
    """The file of an address /KEY/PATH, or None where there is none that may be shown."""
    key, _, path = unquote(urlsplit(address).path).lstrip("/").partition("/")
    try:
        root = Path(json.loads((home / f"{Path(key).name}.json").read_text())["session"]).resolve()
        file = (root / path).resolve()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    inside = file.is_relative_to(root) and file.relative_to(root).parts[:1] in [(name,) for name in FOLDERS]
    return file if inside and file.suffix in SHOWN and file.is_file() else None


class Handler(LocalHandler):
    """Answers GET with a file of a registered session.

    Reports draw themselves with scripts that stand in them. One that came with somebody's session may do that and no more: it
    reaches neither the other reports nor Prefect's server.
    """

    policy = (
        (
            "Content-Security-Policy",
            "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src 'self' data: blob:; "
            "frame-ancestors 'none'; form-action 'none'; base-uri 'none'; sandbox allow-scripts allow-downloads",
        ),
        ("Cross-Origin-Resource-Policy", "same-site"),  # Prefect's pages, on another port, show pictures of reports
        ("Referrer-Policy", "no-referrer"),
    )

    def __init__(self, home: Path, *rest: object) -> None:
        self.home = home
        super().__init__(*rest)  # type: ignore[arg-type]

    def answer(self) -> None:
        """One file, or 404 with what may be asked for."""
        file = found(self.home, self.path)
        if file is None:
            self.send_error(HTTPStatus.NOT_FOUND, "No such report", "Reports are found by the links in the Prefect UI.")
            return
        kind = "text/plain; charset=utf-8" if file.suffix in (".md", ".csv") else mimetypes.guess_type(file.name)[0]
        self.send(kind or "application/octet-stream", file.read_bytes())

    def log_message(self, format: str, *args: object) -> None:
        """One line per request in the log."""
        print(format % args, file=sys.stderr, flush=True)


def main(home: str, port: str) -> None:
    """Serve until ended: `python -m flows.report_server HOME PORT`."""
    ThreadingHTTPServer((HOST, int(port)), partial(Handler, Path(home))).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
