"""What the documentation says is true: commands and options exist, public names are documented."""

import ast
import re
import shlex
from pathlib import Path

import pytest
import typer.main

from flows.cli import app

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("calibration", "models", "pipeline", "flows")
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "data").glob("*.md")])


def _command_lines(text: str) -> list[list[str]]:
    """Every `posemill ...` line of the code blocks and inline code, cut into words; continued lines are joined."""
    blocks = re.findall(r"```(?:bash|sh|console|shell)\n(.*?)```", text, re.DOTALL)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`((?:\.venv/bin/)?posemill [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    words = [shlex.split(line, comments=True) for line in lines if re.match(r"(\S*/)?posemill ", line)]
    return [line[1:] for line in words]


def _check(words: list[str]) -> None:
    command = typer.main.get_command(app)
    while words and hasattr(command, "commands"):
        if words[0].startswith("-"):
            break
        assert words[0] in command.commands, f"no command {words[0]!r}; there are {', '.join(command.commands)}"
        command, words = command.commands[words[0]], words[1:]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
    for word in words:
        option = word.strip("[]").split("=")[0]
        assert not option.startswith("--") or option in known, (
            f"{command.name}: no option {option!r}; there are {sorted(known)}"
        )


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_in_the_documents_exists_with_its_options(document: Path) -> None:
    for words in _command_lines(document.read_text()):
        _check(words)


def test_the_readme_shows_the_two_commands_and_how_to_run_footage() -> None:
    text = (ROOT / "README.md").read_text()
    assert {"make demo", "make test"} <= set(re.findall(r"make (?:demo|test)\b", text))
    assert {"new", "run", "status"} <= {words[0] for words in _command_lines(text)}


def test_an_unknown_option_is_noticed() -> None:
    with pytest.raises(AssertionError, match="no option '--untill'"):
        _check(["run", "session", "--untill", "detect"])
    with pytest.raises(AssertionError, match="no command 'runn'"):
        _check(["runn", "session"])


def test_make_targets_in_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?m)(?:^|`)make ([a-z-]+)", (ROOT / "README.md").read_text())) <= targets


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_has_a_docstring(package: str) -> None:
    missing = []
    for module in sorted((ROOT / package).rglob("*.py")):
        tree = ast.parse(module.read_text())
        where = module.relative_to(ROOT)
        if not ast.get_docstring(tree):
            missing.append(str(where))
        for node in tree.body:
            if (
                isinstance(node, ast.FunctionDef | ast.ClassDef)
                and not node.name.startswith("_")
                and not ast.get_docstring(node)
            ):
                missing.append(f"{where}: {node.name}")
    assert not missing, f"without a docstring: {', '.join(missing)}"
