"""The house stays small and holds nothing that nobody uses: sizes of tests and tools too, no module for odds and ends."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("calibration", "models", "pipeline", "flows")
CODE = sorted(path for package in (*PACKAGES, "docs") for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
# Whoever runs them, by name: Prefect's deployments and the entry point of `posemill`.
NAMED = [ROOT / "prefect.yaml", ROOT / "pyproject.toml"]
ODDS_AND_ENDS = {"utils", "util", "helpers", "common", "misc"}


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("folder", ["calibration", "models", "pipeline", "flows", "docs", "tests"])
def test_modules_and_functions_keep_the_limits(folder: str) -> None:
    for path in (path for path in (*CODE, *TESTS) if path.relative_to(ROOT).parts[0] == folder):
        text, where = path.read_text(), path.relative_to(ROOT)
        assert len(text.splitlines()) <= 300, f"{where}: {len(text.splitlines())} lines"
        for node in _functions(ast.parse(text)):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 60, f"{where}:{node.lineno} {node.name}: {length} lines"


def test_no_module_is_for_odds_and_ends() -> None:
    assert not [path for path in (*CODE, *TESTS) if path.stem in ODDS_AND_ENDS]


def _defined(tree: ast.Module) -> Iterator[str]:
    """Names of a module's own functions, classes and constants. What a decorator takes (a command) is used by it."""
    for node in tree.body:
        if (
            isinstance(node, ast.FunctionDef | ast.ClassDef)
            and not node.decorator_list
            or isinstance(node, ast.ClassDef)
            and "dataclass" in ast.unparse(node.decorator_list[0])
        ):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name) and target.id != "__all__")


def _unused(sources: dict[Path, str], others: list[str]) -> list[str]:
    """Names that stand nowhere but where they are defined."""
    words = Counter(word for text in (*sources.values(), *others) for word in re.findall(r"\w+", text))
    return [f"{path.stem}.{name}" for path, text in sources.items() for name in _defined(ast.parse(text)) if words[name] == 1]


def test_every_name_is_used_somewhere() -> None:
    sources = {path: path.read_text() for path in CODE}
    unused = _unused(sources, [path.read_text() for path in (*TESTS, *NAMED)])
    assert not unused, f"nothing uses {', '.join(unused)}: use it, or take it out"


def test_a_name_that_nothing_uses_is_noticed() -> None:
    source = {Path("a.py"): "LIMIT = 3\ndef used(): ...\ndef _forgotten(): ...\n@app.command()\ndef command(): ...\n"}
    assert _unused(source, ["used()"]) == ["a.LIMIT", "a._forgotten"]
