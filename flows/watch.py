"""A watched folder: a new session that is dropped in starts a run, once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from flows.looking import Looking
from flows.terminal import say
from pipeline.errors import PosemillError
from pipeline.session import load_session, resolve

# So long nothing of a session may have changed: files are still being copied, or `posemill new` adds the next clip.
SETTLED_S = 60.0


@dataclass
class Watcher(Looking):
    """Looks into a folder again and again; `start` is called with each new session once it is whole and at rest.

    New is what has no results yet. What cannot be started (a source is missing) is told once and looked at again.
    """

    folder: Path
    start: Callable[[Path], None]
    settled_s: float = SETTLED_S
    started: set[Path] = field(default_factory=set)

    def look(self, now_s: float | None = None) -> list[Path]:
        """One look at a time (s since the epoch; default: now); returns the sessions started."""
        now_s = time.time() if now_s is None else now_s
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
            changed_s = [path.stat().st_mtime for path in (session / "session.yaml", *sources)]
        except (PosemillError, OSError) as error:
            self.tell(f"{session} is not ready: {error}")
            return False
        # Times ahead of ours are those of another clock, or of ours before it was set back: nobody writes in the future.
        return bool(sources) and all(abs(now_s - then_s) >= self.settled_s for then_s in changed_s)
