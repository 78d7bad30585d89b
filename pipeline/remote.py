"""Sessions on any fsspec store (s3://, gs://, memory://, ...): a folder of this machine mirrors what is worked with.

Whoever works (the flow, a Dask or Ray worker on another machine) has a mirror of its own: inputs are fetched before a stage
begins, its result is sent when it is done, manifest last, so that a result is there whole or not at all. Nothing else differs:
digests, names and "already done" are those of a session on a disk.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.atomic import remove
from pipeline.errors import InputError, PosemillError, StageError
from pipeline.lineage import manifest_of
from pipeline.remote_lock import held, take
from pipeline.store import Ref, Slot, Store
from pipeline.types import Artefact

CACHE = "POSEMILL_CACHE"  # environment: where mirrors are kept
RAW_STAGES = ("ingest", "calibrate", "rectify", "detect", "augment", "export")  # those that look at recordings
RESULTS = ("clips", "rig", "export", "review")


def open_store(root: Path | str, redo: Collection[str] = ()) -> Store:
    """The store of a session in a folder, or at an fsspec address. Raises InputError when there is no session."""
    url = address_of(root)
    return RemoteStore(url, redo) if url else Store(root, redo)


def address_of(root: Path | str) -> str:
    """The fsspec address that a word of the command line means, or "" for a folder; a Path has lost one of the two slashes."""
    found = re.match(r"^([a-z][a-z0-9+.-]+):/+(.*)$", str(root))
    if not found:
        return ""
    host = "/" if found[1] == "file" else ""  # a file's address has an empty host
    return f"{found[1]}://{host}{found[2]}".rstrip("/")


@contextmanager
def session_folder(root: Path | str) -> Iterator[Path]:
    """A session's folder to look at and to decide about: for one at an address its mirror with everything; what was written to
    its review/ is sent back."""
    store = open_store(root)
    if isinstance(store, RemoteStore):
        store.prepare("calibrate", Ref())  # whether results are up to date is told by comparing recordings, too
        remove(store.root / "export")  # whose name stays while its content changes
        store.pull(RESULTS)
    yield store.root
    store.send_review()


class RemoteStore(Store):
    """The store of a session at an fsspec address. Raises InputError naming the address when it cannot be read."""

    def __init__(self, url: str, redo: Collection[str] = (), sender: Path | None = None) -> None:
        """sender: mirror of the process that this store was sent by, whose artefacts name their paths in it."""
        import fsspec

        self.url, self.sender = url, sender
        try:
            self._files, self._base = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise InputError(f"{url}: such an address cannot be opened here ({error}); for s3: pip install s3fs") from error
        root = mirror_of(url)
        root.mkdir(parents=True, exist_ok=True)
        self._get("session.yaml", root)
        super().__init__(root, redo)
        self.pull(["review"], anew=True)

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteStore, (self.url, self.redo, self.root)

    def slot(self, *args: Any, **kwargs: Any) -> Slot:
        """As in Store; results are looked for at the address, and sent there."""
        return RemoteSlot(**vars(super().slot(*args, **kwargs)), store=self)

    def here(self, ref: Ref) -> Ref:
        """The same inputs in this process's mirror, fetched."""
        return replace(ref, inputs=tuple(self.fetch(artefact) for artefact in ref.inputs))

    def fetch(self, artefact: Artefact) -> Artefact:
        """A result in this process's mirror."""
        mine = replace(artefact, path=self.root / artefact.path.relative_to(self.sender or self.root))
        self.pull_result(mine)
        return mine

    def pull_result(self, wanted: Artefact) -> None:
        """Fetch a result that the mirror does not have, in place of another one of its name: that of an export stays while its
        content changes. Where there is no manifest, another process may be fetching it too, so nothing is removed."""
        digest = manifest_of(wanted).get("digest")
        if digest not in (None, wanted.digest):
            remove(wanted.path)
            remove(wanted.manifest_path)
        if digest != wanted.digest:
            self.pull(file.relative_to(self.root).as_posix() for file in (wanted.path, wanted.manifest_path))

    def sent(self, artefact: Artefact) -> Artefact:
        """A result of this process as its sender knows it."""
        return replace(artefact, path=(self.sender or self.root) / artefact.path.relative_to(self.root))

    def forget(self, artefact: Artefact) -> None:
        """As in Store, at the address as well."""
        super().forget(artefact)
        self._drop(artefact.path, artefact.manifest_path)

    def has(self, pattern: str) -> bool:
        """As in Store, or at the address."""
        return super().has(pattern) or bool(self._call(self._files.glob, f"{self._base}/{pattern}"))

    def _drop(self, path: Path, manifest: Path) -> None:
        """Remove a result at the address, if it is there, its manifest first."""
        for file in (manifest, path):
            name = f"{self._base}/{file.relative_to(self.root).as_posix()}"
            if self._call(self._files.exists, name):
                self._call(self._files.rm, name, True)

    def prepare(self, stage: str, ref: Ref) -> None:
        """Fetch the recordings that a stage will look at: those of its clip, or all."""
        if stage in RAW_STAGES:
            clips = [clip for clip in self.session.clips if ref.clip in ("", clip.name)]
            names = {source.path for clip in clips for source in clip.sources.values()}
            names |= {path for clip in clips for path in clip.detections.values()}
            if stage in ("calibrate", "rectify"):
                given = self.session.calibration
                names |= {given.rig, *given.intrinsics.values()} - {""}
            self.pull(sorted(self._inside(name) for name in names))

    def _inside(self, name: str) -> str:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(f"{self.url}: {name}: a session at an address needs its recordings below it; copy it there")
        return name

    def pull(self, names: Iterable[str], anew: bool = False) -> None:
        """Fetch files and folders that are not in the mirror yet, or those that may have changed (anew); what the address does
        not have is passed over."""
        for name in names:
            for file in self._call(self._files.find, f"{self._base}/{name}"):
                relative = file.removeprefix(self._base).lstrip("/")
                if "/." not in f"/{relative}" and (anew or not (self.root / relative).is_file()):
                    self._get(relative, self.root)

    def send(self, path: Path, manifest: Path) -> None:
        """A result to the address in place of what is there under its name, its manifest last."""
        self._drop(path, manifest)
        files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
        for file in (*files, manifest):
            self._put(file)

    def send_review(self) -> None:
        """The lists and decisions of reviewers to the address."""
        for file in sorted((self.root / "review").glob("*")):
            self._put(file)

    @contextmanager
    def lock(self, who: str = "") -> Iterator[None]:
        """Hold the session for one run, on every machine. Raises StageError naming the run that holds it."""
        path = f"{self._base}/.lock"
        with super().lock(who), held(self._files, path, self._call(take, self._files, path, self.url, who)):
            yield

    def _get(self, name: str, root: Path) -> None:
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".fetching-")
        os.close(handle)
        try:
            self._call(self._files.get_file, f"{self._base}/{name}", temporary)
            os.utime(temporary, ns=2 * (self._changed_ns(name),))
            Path(temporary).replace(target)
        finally:
            remove(Path(temporary))

    def _changed_ns(self, name: str) -> int:
        """When the address says a file was changed, to the microsecond: every mirror's copy bears that time, by which
        recordings are known again."""
        try:
            return round(self._files.modified(f"{self._base}/{name}").timestamp() * 1e6) * 1000
        except NotImplementedError:
            return 0

    def _put(self, file: Path) -> None:
        target = f"{self._base}/{file.relative_to(self.root).as_posix()}"
        if self._files.protocol in ("file", ("file", "local")):  # buckets have no folders
            self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
        self._call(self._files.put_file, str(file), target)

    def _call(self, what: Any, *args: Any) -> Any:
        """Ask the address for something. InputError: it is not there or denies; StageError: it does not answer."""
        try:
            self._files.invalidate_cache()
            return what(*args)
        except PosemillError:
            raise
        except FileNotFoundError as error:
            raise InputError(f"{self.url}: expected a session with {Path(str(args[0])).name}, found none ({error})") from error
        except PermissionError as error:
            raise InputError(f"{self.url}: access is denied ({error}); check the credentials and their rights") from error
        except OSError as error:
            raise StageError(f"{self.url}: the store does not answer as it should ({error}); what is done is kept") from error
        except Exception as error:  # fsspec's stores hand on errors of the libraries below them, which it does not name
            raise InputError(f"{self.url}: {type(error).__name__}: {error}; check address and credentials") from error


def mirror_of(url: str) -> Path:
    """The folder of this machine that mirrors an address: below POSEMILL_CACHE, or the user's cache."""
    cache = os.environ.get(CACHE) or str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "posemill")
    return Path(cache) / "sessions" / f"{url.rsplit('/', 1)[-1]}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class RemoteSlot(Slot):
    """The place of one result at an address."""

    store: RemoteStore | None = None

    def done(self) -> Artefact | None:
        """As in Slot; a result that only the address has is fetched."""
        found = super().done()
        if found is None and not self.redo and self.store is not None:
            self.store.pull_result(Artefact(self.kind, self.path, self.digest, 0))
            found = super().done()
        return found

    def commit(self, *args: Any, **kwargs: Any) -> Artefact:
        """As in Slot, then sent."""
        made = super().commit(*args, **kwargs)
        if self.store is not None:
            self.store.send(self.path, self.manifest_path)
        return made
