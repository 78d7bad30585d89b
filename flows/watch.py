"""A watched folder: a new session that is dropped in starts a run, once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from flows.terminal import say
from pipeline.errors import PosemillError
from pipeline.session import load_session, resolve

EVERY_S = 5.0
# So long nothing of a session may have changed: files are still being copied, or `posemill new` adds the next clip.
SETTLED_S = 60.0


@dataclass
class Watcher:
    """Looks into a folder again and again; `start` is called with each new session once it is whole and at rest.

    New is what has no results yet. What cannot be started (a source is missing) is told once and looked at again.
    """

    folder: Path
    start: Callable[[Path], None]
    settled_s: float = SETTLED_S
    started: set[Path] = field(default_factory=set)
    told: set[str] = field(default_factory=set)

    def look(self, now_s: float) -> list[Path]:
        """One look at a time (s since the epoch); returns the sessions started."""
        ready = [session for session in self._new() if self._at_rest(session, now_s)]
        for session in ready:
            self.start(session)
            self.started.add(session)
            say(f"new session {session}: a run is scheduled")
        return ready

    def _new(self) -> Iterator[Path]:
        for file in sorted(self.folder.glob("*/session.yaml")):
            session = file.parent.resolve()
            if session not in self.started and not any((session / made).exists() for made in ("clips", "export", ".lock")):
                yield session

    def _at_rest(self, session: Path, now_s: float) -> bool:
        try:
            content = load_session(session)
            sources = [resolve(session, source.path) for clip in content.people_clips for source in clip.sources.values()]
            newest = max(path.stat().st_mtime for path in (session / "session.yaml", *sources))
        except (PosemillError, OSError) as error:
            self._tell(f"{session} is not ready: {error}")
            return False
        return bool(sources) and now_s - newest >= self.settled_s

    def _tell(self, text: str) -> None:
        if text not in self.told:
            self.told.add(text)
            say(text)

    def run(self, ended: threading.Event) -> None:
        """Look until `ended` is set; a look that fails is told and made again."""
        while not ended.wait(EVERY_S):
            try:
                self.look(time.time())
            except Exception as error:  # the server may be busy or restarting: the next look will tell
                self._tell(f"watching {self.folder}: {type(error).__name__}: {error}")
