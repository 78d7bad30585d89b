"""What the small servers of this machine share: they answer on 127.0.0.1 alone, and only requests that were meant for it."""

from __future__ import annotations

from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

HOST = "127.0.0.1"
NAMES = {HOST, "localhost"}


class LocalHandler(BaseHTTPRequestHandler):
    """Answers GET by `answer`, which a server writes; a page of another site that had its own name lead here (DNS rebinding) is
    refused by the name that the browser asks for."""

    timeout = 30.0  # s; a connection that says nothing ends
    policy: tuple[tuple[str, str], ...] = ()

    def answer(self) -> None:
        """Answer one GET."""
        raise NotImplementedError

    def do_GET(self) -> None:  # noqa: N802
        """What `answer` sends, or 421 for a request to another host."""
        try:
            asked = urlsplit(f"//{self.headers.get('Host', '')}").hostname
        except ValueError:
            asked = None
        if asked not in NAMES:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST, f"Expected a request to {HOST}")
            return
        self.answer()

    def send(self, kind: str, content: bytes, *headers: tuple[str, str]) -> None:
        """A whole answer, with what keeps browsers from taking it for something else."""
        self.send_response(HTTPStatus.OK)
        told = (("Content-Type", kind), ("Content-Length", str(len(content))), ("X-Content-Type-Options", "nosniff"))
        for name, value in (*told, *self.policy, *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
