"""JSON and YAML that others wrote, as plain values: bounded in size and depth, no code, one clear error for all else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from calibration.format_text import NESTED, UNREADABLE, UNWIELDY
from models.errors import brief
from pipeline.errors import InputError

# A thousand clips of a dozen cameras stay below; PyYAML takes ten seconds for as much.
LARGEST_YAML_BYTES = 1 << 20
# Detections of an hour of one camera stay below.
LARGEST_JSON_BYTES = 1 << 30
# Nodes of a YAML document once its aliases are written out: a few lines of them unfold to gigabytes.
MOST_NODES = 100_000


class _Loader(yaml.SafeLoader):
    """Plain values only; what aliases unfold to is counted before it is made."""

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None and _unfolded(node, {}) > MOST_NODES:
            raise yaml.composer.ComposerError(None, None, f"aliases unfold to more than {MOST_NODES} values", node.start_mark)
        return node


def _unfolded(node: yaml.Node, known: dict[int, int]) -> int:
    """How many nodes stand below this one, each alias written out; one that contains itself has no end."""
    if id(node) not in known:
        known[id(node)] = MOST_NODES + 1
        inside = node.value if isinstance(node, yaml.CollectionNode) else []
        children = [each for item in inside for each in (item if isinstance(item, tuple) else (item,))]
        known[id(node)] = 1 + sum(_unfolded(child, known) for child in children)
    return known[id(node)]


def yaml_value(text: str, where: str) -> Any:
    """What a YAML text says. Raises InputError, beginning with `where`, for text that is none, too long, or nested too deep."""
    if len(text) > LARGEST_YAML_BYTES:
        raise InputError(f"{where}: expected at most {LARGEST_YAML_BYTES >> 20} MiB of YAML, found {len(text)} letters")
    if NESTED.search(text):
        raise InputError(f"{where}: not readable as YAML: brackets nested deeper than in any such file")
    if UNWIELDY.search(text):
        raise InputError(f"{where}: not readable as YAML: a number of more than 3000 digits")
    try:
        return yaml.load(text, _Loader)
    except UNREADABLE as error:
        raise InputError(f"{where}: not readable as YAML: {brief(error)}") from error


def yaml_of(path: Path) -> Any:
    """What a YAML file says. Raises InputError as `yaml_value`, and FileNotFoundError where there is none."""
    return yaml_value(_text(path, LARGEST_YAML_BYTES), str(path))


def json_of(path: Path) -> Any:
    """What a JSON file says. Raises InputError for one that is none, too large, or nested too deep, or that cannot be read."""
    try:
        return json.loads(_text(path, LARGEST_JSON_BYTES))
    except FileNotFoundError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a JSON file ({brief(error)}); write it again with the tool that made it") from error


def table_of(path: Path) -> dict[str, Any]:
    """What a JSON file of ours says where it holds an object; {} where it is missing or damaged, as if it were not there."""
    try:
        told = json_of(path)
    except InputError:
        return {}
    return told if isinstance(told, dict) else {}


def _text(path: Path, largest_bytes: int) -> str:
    try:
        if (size := path.stat().st_size) > largest_bytes:
            raise InputError(f"{path}: expected at most {largest_bytes >> 20} MiB, found {size} bytes")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise
    except UnicodeDecodeError as error:
        found = f"{error.object[error.start]:#04x} at byte {error.start}"
        raise InputError(f"{path}: expected text in UTF-8, found {found}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
