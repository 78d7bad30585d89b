"""Writing so that a reader sees the old file or the new one, never half of it."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from pipeline.errors import StageError


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write text (UTF-8) or bytes under a temporary name, fsync, rename. Raises StageError on a full disk."""
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        fsync(temporary)
        temporary.replace(path)
        fsync(path.parent)
    except OSError as error:
        raise disk_error(error, path) from error
    finally:
        remove(temporary)


def fsync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(path: Path) -> None:
    """Delete a file or a whole folder; nothing there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def disk_error(error: OSError, path: Path) -> Exception:
    """The error a user should see when writing `path` failed: StageError with what to do when the disk is full."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return error if error.errno is None else StageError(f"{path}: cannot be written ({os.strerror(error.errno)})")
    free_mb = shutil.disk_usage(path.parent if path.parent.exists() else path.anchor).free / 1e6
    return StageError(
        f"{path}: the disk is full ({free_mb:.1f} MB free). Finished stages are kept: free some space, then run the same "
        "command again and it goes on from here"
    )
