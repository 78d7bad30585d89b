"""The store of a session: the one owner of "already done".

A slot is named by a digest of the stage's version, its config and the digests of its inputs. A result is written under a
temporary name, fsynced and renamed; its manifest goes last. No manifest: not done.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pipeline.atomic import disk_error, fsync, remove, write_atomically
from pipeline.errors import InputError, StageError
from pipeline.plain_text import table_of
from pipeline.session import Session, load_session
from pipeline.types import Artefact, manifest_beside


@dataclass(frozen=True)
class Ref:
    """What a stage works on: a clip (or the whole session, ""), a part of it (a camera, or ""), and its input artefacts."""

    inputs: tuple[Artefact, ...] = ()
    clip: str = ""
    part: str = ""

    def only(self, kind: str) -> Artefact:
        """The one input of that kind."""
        found = self.all(kind)
        if len(found) != 1:
            raise ValueError(f"Ref: expected one input of kind {kind}, got {len(found)}")
        return found[0]

    def all(self, kind: str) -> tuple[Artefact, ...]:
        """Every input of that kind, in order."""
        return tuple(artefact for artefact in self.inputs if artefact.kind == kind)


def digest_of(value: Any) -> str:
    """SHA-256 (hex) of a JSON-able value, independent of key order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _as_read_again(summary: dict[str, Any]) -> dict[str, Any]:
    """A summary as its manifest will give it back: what is written from it must not tell a run in one go from a resumed one."""
    again: dict[str, Any] = json.loads(json.dumps(summary, default=str))
    return again


# What a run made, each with what it was made from.
Made = Iterable[tuple[Ref, Artefact]]


@dataclass(frozen=True)
class Slot:
    """The place of one result. `path` is where it will stand: a Parquet file, or a folder."""

    kind: str
    path: Path
    digest: str
    provenance: dict[str, Any] = field(default_factory=dict)
    redo: bool = False

    @property
    def manifest_path(self) -> Path:
        """The manifest beside the result."""
        return manifest_beside(self.path)

    def done(self) -> Artefact | None:
        """The finished artefact, or None when there is no manifest, it is of another digest, its result is gone, or
        the user asked to make it again."""
        if self.redo:
            return None
        manifest = table_of(self.manifest_path)
        rows, summary = manifest.get("rows"), manifest.get("summary")
        if manifest.get("digest") != self.digest or not isinstance(rows, int) or not isinstance(summary, dict):
            return None
        return Artefact(self.kind, self.path, self.digest, rows, summary) if self.path.exists() else None

    def commit(self, write: Callable[[Path], Any], rows: int | None = None, summary: dict[str, Any] | None = None) -> Artefact:
        """Let `write` fill a temporary path, then move it into place, manifest last. Raises StageError on a full disk.

        rows None: `write` returns (rows, summary), for results that are counted while they are written.
        """
        temporary = self.path.with_name(f".{os.getpid()}-{self.path.name}")
        remove(temporary)  # a link of that name would be written through
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            told = write(temporary)
            if rows is None:
                rows, summary = told
            summary = _as_read_again(summary or {})
            self._publish(temporary, rows, summary)
        except OSError as error:
            raise disk_error(error, self.path) from error
        finally:
            with suppress(OSError):  # on a read-only disk; the next run forgets leftovers
                remove(temporary)
        return Artefact(self.kind, self.path, self.digest, rows, summary, made=True)

    def _publish(self, temporary: Path, rows: int, summary: dict[str, Any]) -> None:
        for file in [temporary] if temporary.is_file() else sorted(temporary.rglob("*")):
            fsync(file)
        self.manifest_path.unlink(missing_ok=True)
        if temporary.is_dir():
            remove(self.path)
        temporary.replace(self.path)
        manifest = {"kind": self.kind, "digest": self.digest, "rows": rows, "summary": summary, **self.provenance}
        write_atomically(self.manifest_path, json.dumps(manifest, indent=1, default=str))


class Store:
    """The folder of one session: hands out slots for stages. Raises InputError when the folder is no session."""

    def __init__(self, root: Path | str, redo: Collection[str] = ()) -> None:
        """Stages named in `redo` are made again even where they are done."""
        self.root = Path(root)
        self.redo = frozenset(redo)
        if not (self.root / "session.yaml").is_file():
            raise InputError(f"{self.root}: expected a session (a folder with session.yaml); make one with `posemill new`")
        _refuse_links_out(self.root)

    @cached_property
    def session(self) -> Session:
        """What session.yaml says, read once."""
        return load_session(self.root)

    def slot(
        self,
        stage: str,
        version: str,
        config: BaseModel,
        ref: Ref,
        *,
        suffix: str = ".parquet",
        given: Any = None,
        name: str = "",
    ) -> Slot:
        """The slot of a stage for a ref: clips/<clip>/<stage>[-part]-<digest8>.parquet, or <stage's folder>/<name or digest8>.

        suffix "" makes it a folder. `given` is whatever else decides the result (parts of the session, fingerprints of raw
        files); JSON-able.
        """
        provenance = {
            "stage": stage,
            "version": version,
            "clip": ref.clip,
            "part": ref.part,
            "config": config.model_dump(mode="json"),
            "inputs": [artefact.digest for artefact in ref.inputs],
            "given": given,
        }
        digest = digest_of(provenance)
        if ref.clip:
            name = "-".join(word for word in (stage, ref.part, digest[:8]) if word)
        folder = self.root / "clips" / ref.clip if ref.clip else self.root / _SESSION_FOLDERS[stage]
        name = (name or digest[:8]) + suffix
        for word in filter(None, (name, ref.clip)):
            if Path(word).name != word or word in (".", ".."):
                raise InputError(f"{self.root}: {stage}: {word!r}: a result's name must not lead to another folder")
        return Slot(stage, folder / name, digest, provenance, stage in self.redo)

    def here(self, ref: Ref) -> Ref:
        """The inputs where this process finds them; stores at an address have to fetch them."""
        return ref

    def fetch(self, artefact: Artefact) -> Artefact:
        """A result where this process finds it."""
        return artefact

    def sent(self, artefact: Artefact) -> Artefact:
        """A result as the process knows it that sent this store here."""
        return artefact

    def forget(self, artefact: Artefact) -> None:
        """Remove a result that another one holds now: its manifest first, so that it is never there in part."""
        remove(artefact.manifest_path)
        remove(artefact.path)

    def has(self, pattern: str) -> bool:
        """Whether a file or folder of the session has a name like `pattern` (below its folder, as in glob)."""
        return any(self.root.glob(pattern))

    def prepare(self, stage: str, ref: Ref) -> None:
        """Have the recordings here that a stage will look at."""

    def send_review(self) -> None:
        """Keep what reviewers wrote where the session is."""

    @contextmanager
    def lock(self, who: str = "") -> Iterator[None]:
        """Hold the session for one run, `who` being its name. Raises StageError naming the run that holds it already, or
        saying that the session cannot be written to."""
        path = self.root / ".lock"
        with ExitStack() as held:
            try:
                self._take(held.enter_context(_opened(path)), who)
            except OSError as error:
                raise disk_error(error, path) from error
            yield
            self._forget_leftovers()  # of workers that died on the way

    def _take(self, handle: FileIO, who: str) -> None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            handle.seek(0)
            raise StageError(
                f"{self.root}: another run (process {handle.read().decode().strip() or 'unknown'}) is working on this session; "
                "wait for it or stop it, then run again"
            ) from error
        self._forget_leftovers()
        handle.truncate(0)
        handle.write(", ".join(filter(None, [str(os.getpid()), who])).encode())

    def _forget_leftovers(self) -> None:
        """Remove what a killed run left half-written (`.PID-name`): only called while the session is locked."""
        for folder in ("clips", *_SESSION_FOLDERS.values()):
            for leftover in (self.root / folder).rglob(".[0-9]*-*"):
                remove(leftover)


def _opened(lock: Path) -> FileIO:
    """The lock's file, never one that a link in its place leads to: it is emptied. Unbuffered, so that a full disk is noticed
    when it is written to and not when it is closed."""
    try:
        return FileIO(os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644), "r+")
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise InputError(f"{lock}: expected a file, found a link; remove it") from error
        raise


def _refuse_links_out(root: Path) -> None:
    """Raises InputError for a folder of results that is a link out of the session: a copied session must not say where on this
    machine is written."""
    inside, folders = root.resolve(), [root / name for name in ("clips", "review", "failed", *_SESSION_FOLDERS.values())]
    for folder in (*folders, *(root / "clips").glob("*")):
        if folder.is_symlink() and not folder.resolve().is_relative_to(inside):
            raise InputError(
                f"{folder}: expected a folder of the session's results, found a link to {folder.resolve()}; put a folder in "
                "its place, or move the whole session there"
            )


# Stages that work on the whole session, and the folder their results stand in.
_SESSION_FOLDERS = {"calibrate": "rig", "export": "export"}
