"""What the documentation says is true: commands and options exist, public names are documented."""

import ast
import re
import shlex
from pathlib import Path

import pytest
import typer.main

from docs import make_reference
from flows.cli import app
from pipeline.config import Config

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("calibration", "models", "pipeline", "flows")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "data").glob("*.md")])


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


@pytest.mark.parametrize("page", sorted(make_reference.pages()))
def test_the_reference_is_what_the_code_says(page: str) -> None:
    assert (make_reference.FOLDER / page).read_text() == make_reference.pages()[page], f"{page} is stale: run `make docs`"


def test_the_reference_holds_no_page_that_nobody_writes() -> None:
    assert {path.name for path in make_reference.FOLDER.iterdir()} == set(make_reference.pages())


def _says_something(text: str | None) -> bool:
    """More than two words: what names itself ("seed: the seed") is no description."""
    return len((text or "").split()) > 2


def test_every_command_and_option_says_what_it_does() -> None:
    dumb = [words for words, command in make_reference.commands() if not _says_something(command.help)]
    dumb += [
        f"{words} {option.name}"
        for words, command in make_reference.commands()
        for option in command.params
        if not _says_something(option.help)
    ]
    assert not dumb


def test_every_setting_and_every_key_of_session_yaml_says_what_it_does() -> None:
    sections = [field.annotation for field in Config.model_fields.values()]
    dumb = [
        f"{model.__name__}.{name}"
        for model in (*sections, *make_reference.SESSION_MODELS)
        for name, field in model.model_fields.items()
        if not _says_something(field.description)
    ]
    assert not dumb


def test_every_column_says_what_it_means() -> None:
    tables = make_reference.schemas()
    assert {"FRAMES", "SAMPLES", "RELEASED"} <= set(tables)
    dumb = [f"{table}.{name}" for table, columns in tables.items() for name, _, meaning in columns if not meaning]
    assert not dumb


def test_links_between_documents_lead_somewhere() -> None:
    for document in DOCUMENTS:
        text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#\s]+)", text):
            assert "://" in target or (document.parent / target).exists(), f"{document.relative_to(ROOT)}: no {target}"
