"""Writes docs/reference/ from the code: `make docs`. tests/test_docs.py fails when it is stale.

Every page is made from the one place that owns what it tells: commands from the typer app, settings and session.yaml from
their pydantic models, columns from the comments of `pipeline/tables.py`, names from signatures and docstrings.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main
from pydantic import BaseModel

from flows.cli import app
from pipeline import session, tables
from pipeline.config import Config

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "reference"
MADE = "Made from the code by `make docs`; change it there.\n"
KINDS = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}
SESSION_MODELS: tuple[type[BaseModel], ...] = (
    session.Session, session.CalibrationInputs, session.Clip, session.Source, session.ClipClock, session.Live,
)  # fmt: skip
# What outside tools and benchmarks rely on: these names and signatures stay.
NAMES = (
    "calibration.triangulate.triangulate", "calibration.triangulate.triangulate_robust", "calibration.extrinsics.calibrate_rig",
    "calibration.bundle.refine", "calibration.formats.load_rig", "calibration.formats.save_rig",
    "models.losses.associative_embedding_loss", "models.grouping.group", "models.detector.load_detector",
    "models.detector.Detector.detect", "models.diffusion.likelihood.log_likelihood", "pipeline.evaluate.oks_ap",
    "pipeline.evaluate.pck", "pipeline.evaluate.pcp", "pipeline.evaluate.mpjpe",
)  # fmt: skip


def pages() -> dict[str, str]:
    """Every page of the reference by its file name."""
    return {
        "commands.md": _commands(),
        "settings.md": _settings(),
        "session.md": _session(),
        "columns.md": _columns(),
        "names.md": _names(),
    }


def commands() -> Iterator[tuple[str, Any]]:
    """Every command of `posemill` with its words, in the order of its help."""
    yield from _below("posemill", typer.main.get_command(app))


def _below(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    for name, inner in getattr(command, "commands", {}).items():
        yield from _below(f"{words} {name}", inner)
    if not hasattr(command, "commands"):
        yield words, command


def _commands() -> str:
    status = "Exit status: 0 done, 1 the work failed, 2 the request was wrong."
    parts = ["# Commands\n", MADE, f"Every command takes `--json` and then prints one JSON object on stdout. {status}\n"]
    for words, command in commands():
        parts.append(f"## {words}\n\n{_folded(command.help)}\n")
        rows = [_option(each) for each in command.params if "--json" not in each.opts]
        parts.append(_table(("option", "default", "does"), rows))
    return "\n".join(parts)


def _option(option: Any) -> tuple[str, str, str]:
    """A row for an option or argument: how it is written, what it is by default, and what it does."""
    limits = [f"{word} {limit:g}" for word, limit in (("at least", option.min), ("at most", option.max)) if limit is not None]
    does = (option.help or "") + (f" ({', '.join(limits)})" if limits else "")
    return f"`{_written(option)}`", _default(option), does


def _written(option: Any) -> str:
    if option.param_type_name == "argument":
        return option.metavar or option.name.upper()
    if _is_switch(option):
        return "/".join((*option.opts, *option.secondary_opts))
    annotation = str(option.type_descriptor.annotation)
    kinds = (("Path", "PATH"), ("int", "N"), ("float", "X"))
    return f"{option.opts[0]} {option.metavar or next((shown for kind, shown in kinds if kind in annotation), 'TEXT')}"


def _default(option: Any) -> str:
    if option.required:
        return "needed"
    if _is_switch(option):
        return f"`{option.opts[0]}`" if option.default else f"`{option.secondary_opts[0]}`" if option.secondary_opts else "off"
    return "" if option.default in (None, "", []) else f"`{_text(option.default)}`"


def _is_switch(option: Any) -> bool:
    return getattr(option, "is_flag", False)


def _settings() -> str:
    ways = "with `--set stage.key=value`, for a session under `config:` of session.yaml, or together as a `--preset`"
    parts = ["# Settings\n", MADE, f"They are set {ways}.\n"]
    for name, field in Config.model_fields.items():
        section: Any = field.annotation
        parts += [f"## {name}\n\n{_folded(section.__doc__)}\n", _fields(section, f"{name}.")]
    return "\n".join(parts)


def _session() -> str:
    parts = ["# session.yaml\n", MADE, "`posemill new` writes it; every stage reads it.\n"]
    for model in SESSION_MODELS:
        parts += [f"## {model.__name__}\n\n{_folded(model.__doc__)}\n", _fields(model, "")]
    return "\n".join(parts)


def _fields(model: type[BaseModel], prefix: str) -> str:
    schema = model.model_json_schema()
    rows = []
    for name, about in schema["properties"].items():
        default = f"`{_text(about['default'])}`" if "default" in about else "needed"
        rows.append((f"`{prefix}{name}`", default, _kind(about), about.get("description", "")))
    return _table(("key", "default", "takes", "meaning"), rows)


def _kind(about: dict[str, Any]) -> str:
    """What a field takes, in words, from its JSON schema."""
    if "anyOf" in about:
        return " or ".join(_kind(each) for each in about["anyOf"])
    if "enum" in about or "const" in about:
        return " or ".join(f"`{value}`" for value in about.get("enum", [about.get("const")]))
    if "$ref" in about:
        return about["$ref"].rpartition("/")[2]
    kind = about.get("type", "anything")
    if kind == "null":
        return "null"
    if kind == "array":
        return _several(about["prefixItems"]) if "prefixItems" in about else f"list of: {_kind(about['items'])}"
    if kind == "object":
        inner = about.get("additionalProperties")
        return f"mapping to: {_kind(inner)}" if isinstance(inner, dict) else "mapping"
    return KINDS[kind] + _range(about)


def _several(items: list[dict[str, Any]]) -> str:
    kinds = [_kind(each) for each in items]
    return f"{len(kinds)} × {kinds[0]}" if len(set(kinds)) == 1 else " and ".join(kinds)


def _range(about: dict[str, Any]) -> str:
    words = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<", "multipleOf": "multiple of"}
    limits = [f"{word} {about[key]:g}" for key, word in words.items() if key in about]
    limits += [f"as `{about['pattern']}`"] if "pattern" in about else []
    return f" {', '.join(limits)}" if limits else ""


def schemas() -> dict[str, list[tuple[str, str, str]]]:
    """Every table of `pipeline/tables.py`: name, type and meaning of its columns. The meaning is the comment of its line."""
    source = (ROOT / "pipeline" / "tables.py").read_text()
    comment = {number: line.partition("  # ")[2] for number, line in enumerate(source.splitlines(), 1)}
    told: dict[str, dict[str, str]] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and "pa.schema" in ast.unparse(node.value):
            told[node.targets[0].id] = dict(_commented(node, comment, told))
    return {
        name: [
            (field.name, re.sub("item: |element: ", "", str(field.type)), meanings.get(field.name, ""))
            for field in getattr(tables, name)
        ]
        for name, meanings in told.items()
    }


def _commented(node: ast.AST, comment: dict[int, str], told: dict[str, dict[str, str]]) -> Iterator[tuple[str, str]]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Starred) and isinstance(inner.value, ast.Name):
            yield from told[inner.value.id].items()
        elif isinstance(inner, ast.Tuple) and isinstance(inner.elts[0], ast.Constant):
            yield str(inner.elts[0].value), comment[inner.lineno]


def _columns() -> str:
    source = (ROOT / "pipeline" / "tables.py").read_text()
    parts = [
        "# Columns\n",
        MADE,
        "Units stand in the names; times are nanoseconds; lists are nested lists, not tensor types.\n",
    ]
    for name, fields in schemas().items():
        above = re.search(rf"((?:^# .*\n)+){name} = ", source, re.MULTILINE)
        about = _folded(above[1].replace("# ", "")) if above else ""
        rows = [(f"`{column}`", f"`{kind}`", meaning) for column, kind, meaning in fields]
        parts += [f"## {name}\n\n{about}\n", _table(("column", "type", "meaning"), rows)]
    return "\n".join(parts)


def _names() -> str:
    where = "[calibration/__init__.py](../../calibration/__init__.py)"
    about = f"Other tools may rely on these names and signatures. Frames, pixels and units are those of {where}."
    parts = ["# Names that stay\n", MADE, f"{about}\n"]
    for name in NAMES:
        function = _definition(name)
        told = (ast.get_docstring(function) or "").partition("\n\n")[0]
        returns = f" -> {ast.unparse(function.returns)}" if function.returns else ""
        signature = f"{function.name}({ast.unparse(function.args)}){returns}"
        parts.append(f"## {name}\n\n```python\n{signature}\n```\n\n{_folded(told)}\n")
    return "\n".join(parts)


def _definition(name: str) -> ast.FunctionDef:
    """The function of a dotted name, read without importing it (and torch)."""
    words = name.split(".")
    depth = next(k for k in range(len(words), 0, -1) if (ROOT / "/".join(words[:k])).with_suffix(".py").is_file())
    found: Any = ast.parse((ROOT / "/".join(words[:depth])).with_suffix(".py").read_text())
    for word in words[depth:]:
        [found] = [node for node in found.body if getattr(node, "name", "") == word]
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, default=str).strip('"') or '""'


def _folded(text: str | None) -> str:
    """Paragraphs with each on one line."""
    return "\n\n".join(" ".join(part.split()) for part in (text or "").split("\n\n")).strip()


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines) + "\n"


def write() -> None:
    """Write every page, and nothing else."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    write()
