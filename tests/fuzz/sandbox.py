"""What an input may do: end soon, in bounded memory, with the house's errors, and write nothing outside of its session."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 8.0  # of processor time; the slowest valid sample takes a hundredth
GROWN_MB = 700.0  # resident, by one input: an image of Pillow's limit in pixels and its copy stay below
ADDRESS_SPACE = 3 << 30  # bytes over what the process has when all is imported
# Audit events whose first argument is a path that is changed, and those that no reader has any business with.
_CHANGES = (
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "shutil.rmtree",
)
_NEVER = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect", "pickle.find_class")


class TooSlow(BaseException):
    """An input took more than SECONDS; no reader's `except Exception` swallows it."""


@dataclass(frozen=True)
class Finding:
    """What one input did that it must not: where (the innermost line of posemill), and the whole story."""

    where: str
    story: str


class Sandbox:
    """A session's folder with a canary tree around it, and limits on the process: for a process of its own."""

    def __init__(self, expected: tuple[type[Exception], ...]) -> None:
        self.expected = expected
        self.base = Path(tempfile.mkdtemp(prefix="fuzz-")).resolve()
        self.session = self.base / "a" / "b" / "session"
        self.session.mkdir(parents=True)
        for folder in (self.base, self.base / "a", self.base / "a" / "b"):
            (folder / "canary.txt").write_text("unharmed")
        os.environ["TMPDIR"] = tempfile.tempdir = str(self._folder("tmp"))
        os.environ |= {"HOME": str(self._folder("home")), "XDG_CACHE_HOME": str(self._folder("home"))}
        os.chdir(self._folder("cwd"))
        self._strayed: list[str] = []
        self._watching = False
        sys.addaudithook(self._audit)
        signal.signal(signal.SIGPROF, _too_slow)
        warnings.simplefilter("ignore")
        sys.dont_write_bytecode = True
        self._before = self._canaries()

    def _folder(self, name: str) -> Path:
        (self.session / name).mkdir(exist_ok=True)
        return self.session / name

    def limit_memory(self) -> None:
        """From now on the process may grow by ADDRESS_SPACE."""
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + ADDRESS_SPACE
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))

    def close(self) -> None:
        """Remove everything."""
        os.chdir("/")
        shutil.rmtree(self.base, ignore_errors=True)

    def tried(self, work: Callable[[], Any]) -> Finding | None:
        """Do one input's work; what it must not do, or None."""
        self._strayed.clear()
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        try:
            with self._limited():
                work()
        except self.expected as error:
            if len(str(error)) > 20_000:
                return _finding(error, f"a message of {len(str(error))} letters")
        except (Exception, TooSlow) as error:  # noqa: BLE001  (whatever else comes out is what is looked for)
            return _finding(error, "")
        grown_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - peak_mb
        if grown_mb > GROWN_MB:
            return Finding("memory", f"resident memory grew by {grown_mb:.0f} MB")
        if self._strayed:
            return Finding("outside", "; ".join(self._strayed[:5]))
        if (after := self._canaries()) != self._before:
            return Finding("canary", f"{sorted(set(after.items()) ^ set(self._before.items()))[:5]}")
        return None

    @contextmanager
    def _limited(self) -> Iterator[None]:
        self._watching = True
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            self._watching = False

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._watching:
            return
        if event == "subprocess.Popen" and "pipeline.c3d_child" in args[1]:
            return  # the one process that a reader has
        if event in _NEVER:
            self._strayed.append(f"{event} {args!r:.200}")
        elif event == "open" and isinstance(args[0], str | bytes | os.PathLike):
            mode, flags = args[1] or "", args[2] or 0
            if set(str(mode)) & set("wax+") or flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
                self._note(event, args[0])
        elif event in _CHANGES:
            for path in args[:2]:
                if isinstance(path, str | bytes | os.PathLike):
                    self._note(event, path)

    def _note(self, event: str, path: str | bytes | os.PathLike[Any]) -> None:
        whole = os.path.realpath(os.fsdecode(path))
        if not whole.startswith(f"{self.session}/") and whole != os.devnull:
            self._strayed.append(f"{event} {whole:.200}")

    def _canaries(self) -> dict[str, tuple[int, int]]:
        """Everything around the session: name, size and time."""
        found = {}
        for folder in (self.base, self.base / "a", self.base / "a" / "b"):
            for entry in os.scandir(folder):
                state = entry.stat(follow_symlinks=False)
                found[entry.path] = (0, 0) if entry.is_dir() else (state.st_size, state.st_mtime_ns)
        return found


def _too_slow(signum: int, frame: Any) -> None:
    raise TooSlow(f"more than {SECONDS:g} s of processor time")


def _finding(error: BaseException, more: str) -> Finding:
    """Known again by the kind of error and the innermost line that is ours."""
    root = str(Path(__file__).resolve().parents[2])
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if f.filename.startswith(root) and "/tests/" not in f.filename] or frames
    where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno} {type(error).__name__}"
    return Finding(where, f"{more}{''.join(traceback.format_exception(error, limit=-12))[-3000:]}")
