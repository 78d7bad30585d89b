"""Options of `posemill new` as they are typed, NAME=VALUE, as dicts of the values meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pipeline.errors import InputError
from pipeline.session import NAME_PATTERN


def pairs_of_texts(texts: Sequence[str], option: str) -> dict[str, str]:
    """NAME=VALUE texts as a dict. Raises InputError showing the text."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not value or not re.fullmatch(NAME_PATTERN, name):
            raise InputError(f"{option}: expected NAME=VALUE, got {text!r:.200}")
        if name in found:
            raise InputError(f"{option}: {name} is given twice: {found[name]} and {value}")
        found[name] = value
    return found


def recorded_path(root: Path, path: str) -> str:
    """A path as session.yaml keeps it: relative inside the session (which may move), absolute elsewhere."""
    absolute = Path(path).expanduser().resolve()
    return absolute.relative_to(root).as_posix() if absolute.is_relative_to(root) else str(absolute)


def paths_of_texts(root: Path, texts: Sequence[str], option: str, cameras: tuple[str, ...]) -> dict[str, str]:
    """NAME=PATH texts of known cameras as session.yaml keeps them. Raises InputError for another camera or no such path."""
    found = pairs_of_texts(texts, option)
    for name, path in found.items():
        if name not in cameras:
            raise InputError(f"{option}: camera {name!r} is not one of {', '.join(cameras)}")
        if not Path(path).expanduser().exists():
            raise InputError(f"{option}: camera {name}: {path}: not found")
    return {name: recorded_path(root, path) for name, path in found.items()}


def readouts_of_texts(texts: Sequence[str]) -> dict[str, float | Literal["solve"]]:
    """NAME=MS and NAME=solve texts as a dict. Raises InputError showing the text."""
    found: dict[str, float | Literal["solve"]] = {}
    for name, text in pairs_of_texts(texts, "--readout").items():
        try:
            found[name] = "solve" if text == "solve" else float(text)
        except ValueError:
            raise InputError(f"--readout: expected NAME=MS or NAME=solve, got {name}={text}") from None
    return found
