"""What tells one generator folder from another, without torch: a run with nothing to do asks this and no more."""

from __future__ import annotations

import hashlib
from pathlib import Path

CHUNK_BYTES = 1 << 20


def folder_digest(folder: Path) -> str:
    """SHA-256 (hex) over name, size, first and last MiB of each JSON, text and safetensors file: a large model in no time.

    A single file counts as a folder that holds nothing else.
    """
    digest = hashlib.sha256()
    files = [folder] if folder.is_file() else [f for f in folder.rglob("*") if f.suffix in (".json", ".txt", ".safetensors")]
    for file in sorted(f for f in files if f.is_file()):
        size = file.stat().st_size
        digest.update(f"{file.relative_to(folder).as_posix()}|{size}|".encode())
        with file.open("rb") as handle:
            digest.update(handle.read(CHUNK_BYTES))
            handle.seek(max(0, size - CHUNK_BYTES))
            digest.update(handle.read(CHUNK_BYTES))
    return digest.hexdigest()
