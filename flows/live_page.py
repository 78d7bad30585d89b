"""The local page of a running recording: all cameras, their figures, and where to film the board next. On 127.0.0.1 alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from flows.local_http import HOST, LocalHandler

if TYPE_CHECKING:
    from pipeline.live_view import LiveView
    from pipeline.record import Now

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>posemill: recording</title><style>
body{margin:0;padding:12px;background:#16191d;color:#e8eaed;font:15px/1.4 system-ui,sans-serif}
#next{font-size:20px;min-height:28px;margin:0 0 10px;color:#8fe388}
main{display:grid;gap:10px;grid-template-columns:repeat(auto-fit,minmax(380px,1fr))}
figure{margin:0;background:#000}img{width:100%;display:block;min-height:120px}
figcaption{padding:6px 8px;background:#23282e}
.silent,.failed{color:#ff8a80}</style><p id="next"></p><main></main><script>
const main=document.querySelector('main'),figures={};
const make=kind=>document.createElement(kind);
function add(name){const f=make('figure'),i=make('img'),c=make('figcaption');
i.alt=name;c.textContent=name;f.append(i,c);main.append(f);figures[name]={i,c};
const load=()=>{i.src='/picture/'+encodeURIComponent(name)+'?'+Date.now()};
i.onload=()=>setTimeout(load,100);i.onerror=()=>setTimeout(load,500);load()}
async function tell(){try{const s=await(await fetch('/state')).json();document.getElementById('next').textContent=s.next;
for(const name of s.cameras)if(!figures[name])add(name);
for(const c of s.now)for(const name of c.camera.split('+'))if(figures[name]){const e=figures[name].c;e.className=c.state;
e.textContent=name+': '+c.state+', '+c.fps.toFixed(1)+' fps, '+c.frames+' frames, '+c.dropped+' lost in 10 s, jitter '+
c.jitter_ms.toFixed(1)+' ms'}}catch(e){document.getElementById('next').textContent='the recording has ended'}
setTimeout(tell,500)}tell()</script></html>"""


class State:
    """What the page shows besides pictures; replaced by the recording's watch."""

    def __init__(self) -> None:
        self.now: Now | None = None

    def watch(self, now: Now) -> None:
        """Take how the recording does."""
        self.now = now

    def values(self, view: LiveView) -> dict[str, Any]:
        """As the page's script reads it."""
        now = [asdict(camera) for camera in self.now.cameras] if self.now else []
        return {"cameras": view.cameras, "now": now, "next": view.next_place()}


class Handler(LocalHandler):
    """Answers GET with the page, its state, or a camera's newest picture."""

    policy = (("Cache-Control", "no-store"), ("Cross-Origin-Resource-Policy", "same-origin"), ("X-Frame-Options", "DENY"))

    def __init__(self, view: LiveView, state: State, *rest: object) -> None:
        self.view, self.state = view, state
        super().__init__(*rest)  # type: ignore[arg-type]

    def answer(self) -> None:
        """The page at /, JSON at /state, JPEG at /picture/CAMERA."""
        path = unquote(urlsplit(self.path).path)
        camera = path.removeprefix("/picture/")
        if path == "/":
            self.send("text/html; charset=utf-8", _PAGE.encode())
        elif path == "/state":
            self.send("application/json", json.dumps(self.state.values(self.view)).encode())
        elif camera in self.view.cameras and (jpeg := self.view.jpeg(camera)):
            self.send("image/jpeg", jpeg)
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a picture is asked for several times a second."""


@contextmanager
def serving_view(view: LiveView, state: State, port: int = 0) -> Iterator[str]:
    """Serve the page for the time of a block; yields its address. port 0: any that is free."""
    server = ThreadingHTTPServer((HOST, port), partial(Handler, view, state))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    view.start()
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        view.stop()
