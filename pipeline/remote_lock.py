"""Holding a session at an fsspec address: a file that says who works there, refreshed while they do.

A store has no locks that end with a process. So the file is created exclusively where the store can do that (S3's conditional
writes, local files), carries a time that is renewed, and counts no more once that is old: a killed run blocks nobody for long.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from pipeline.background import meanwhile
from pipeline.errors import StageError

RENEW_S = 20.0
STALE_S = 90.0


@contextmanager
def held(files: Any, path: str, mine: dict[str, Any]) -> Iterator[None]:
    """Hold for the block what `take` took."""
    try:
        with meanwhile(partial(_renew, files, path, mine), RENEW_S):
            yield
    finally:
        with suppress(Exception):  # it counts no more after STALE_S anyway
            files.rm_file(path)


def take(files: Any, path: str, url: str, who: str) -> dict[str, Any]:
    """Write the file `path` of an fsspec file system, saying who works here. Raises StageError naming who does already."""
    mine = {"who": who or "a run", "host": socket.gethostname(), "process": os.getpid()}
    holder = _holder(files, path)
    if holder is not None and _works(files, path, holder):
        raise StageError(
            f"{url}: another run ({holder.get('who')}, process {holder.get('process')} on {holder.get('host')}) is working on "
            f"this session; wait for it or stop it, then run again. One that was killed is forgotten after {STALE_S:.0f} s"
        )
    if holder is not None:
        files.rm_file(path)
    try:
        _write(files, path, mine, "xb")
    except FileExistsError:
        raise StageError(f"{url}: another run began at this very moment; wait for it, then run again") from None
    return mine


def _works(files: Any, path: str, holder: dict[str, Any]) -> bool:
    """Whether a holder's time is fresh. One far ahead of ours is of a clock that was set wrong, there or here: then a holder
    works who renews it."""
    age_s = time.time() - holder.get("at", 0.0)
    if age_s > -STALE_S:
        return bool(age_s < STALE_S)
    time.sleep(2 * RENEW_S)
    return (_holder(files, path) or {}).get("at") != holder["at"]


def _holder(files: Any, path: str) -> dict[str, Any] | None:
    files.invalidate_cache()
    try:
        return dict(json.loads(files.cat_file(path)))
    except (OSError, ValueError):
        return None


def _write(files: Any, path: str, mine: dict[str, Any], mode: str) -> None:
    content = json.dumps(mine | {"at": time.time()}).encode()
    try:
        with files.open(path, mode) as file:
            file.write(content)
    except (ValueError, NotImplementedError):  # a store without exclusive creation
        files.pipe_file(path, content)


def _renew(files: Any, path: str, mine: dict[str, Any], ended: threading.Event) -> None:
    while not ended.wait(RENEW_S):
        with suppress(Exception):  # the next time may do; stores hand on errors of the libraries below them
            _write(files, path, mine, "wb")
