"""Writing so that a reader sees the old file or the new one, never half of it."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import models.atomic
from models.atomic import fsync
from pipeline.errors import StageError

__all__ = ["disk_error", "fsync", "new_folder", "remove", "replacing", "write_atomically"]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """As `models.atomic.replacing`. Raises StageError on a full disk."""
    try:
        with models.atomic.replacing(path) as temporary:
            yield temporary
    except OSError as error:
        raise disk_error(error, path) from error


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder to fill: afterwards it is on the disk and becomes `path`, after an error it is gone.

    Raises StageError on a full disk.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        remove(temporary)
        temporary.mkdir(parents=True)
        yield temporary
        for file in sorted(temporary.rglob("*")):
            fsync(file)
        temporary.replace(path)
    except OSError as error:
        raise disk_error(error, path) from error
    finally:
        remove(temporary)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write text (UTF-8) or bytes under a temporary name, fsync, rename. Raises StageError on a full disk."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def remove(path: Path) -> None:
    """Delete a file or a whole folder; nothing there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def disk_error(error: OSError, path: Path) -> Exception:
    """The error a user should see when writing `path` failed: StageError with what to do about it."""
    if error.errno is None:
        return error
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return StageError(
            f"{path}: cannot be written ({os.strerror(error.errno)}). Finished stages are kept: see that this user may write "
            "there, then run the same command again and it goes on from here"
        )
    free_mb = shutil.disk_usage(path.parent if path.parent.exists() else path.anchor).free / 1e6
    return StageError(
        f"{path}: the disk is full ({free_mb:.1f} MB free). Finished stages are kept: free some space, then run the same "
        "command again and it goes on from here"
    )
