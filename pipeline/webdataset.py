"""A dataset as WebDataset reads it: numbered tar files in which an image and its labels share a name."""

from __future__ import annotations

import io
import json
import math
import tarfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

PER_TAR = 1000


def write_webdataset(rows: Iterable[tuple[str, dict[str, Any]]], folder: Path) -> list[str]:
    """Write (split, SAMPLES row) pairs to SPLIT-000000.tar, ...: NAME.jpg (or .png) and NAME.json with every other column.

    A coordinate that is missing is null. The same rows give the same bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    counts: dict[str, int] = {}
    with ExitStack() as stack:
        tars: dict[str, tarfile.TarFile] = {}
        for split, row in rows:
            number = counts[split] = counts.get(split, -1) + 1
            if number % PER_TAR == 0:
                if split in tars:
                    tars[split].close()
                tars[split] = stack.enter_context(tarfile.open(folder / f"{split}-{number // PER_TAR:06d}.tar", "w"))
            _add(tars[split], row)
    return []


def _add(tar: tarfile.TarFile, row: dict[str, Any]) -> None:
    labels = {name: _plain(value) for name, value in row.items() if name != "image"}
    # A dot ends the name that files of a sample share.
    name = row["id"].replace(".", "_")
    suffix = Path(row["image"]["path"]).suffix
    for file, content in ((name + suffix, row["image"]["bytes"]), (name + ".json", json.dumps(labels, default=str).encode())):
        told = tarfile.TarInfo(file)
        told.size = len(content)
        tar.addfile(told, io.BytesIO(content))


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
