"""What a person at a terminal sees: progress bars, tables, one clear message per error; or exactly one JSON object.

Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from pipeline.job import Step
    from pipeline.status import Standing

Texts = list[str]
SetOption = Annotated[Texts, typer.Option("--set", metavar="STAGE.KEY=VALUE", help="Change one setting; repeatable.")]
PresetOption = Annotated[str, typer.Option("--preset", help="Settings to start from; default: the session's own preset.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object on stdout.")]


class Answer:
    """What a command has to say: words and tables for a person, `values` for a program."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.shown: list[Any] = []

    def show(self, *things: Any) -> None:
        """Add lines or rich tables for a person."""
        self.shown.extend(things)


@contextmanager
def answering(as_json: bool) -> Iterator[Answer]:
    """Run a command's work: its answer to stdout at the end, all else to stderr; an expected error becomes one message.

    Leaves with typer.Exit(1) when the work failed and typer.Exit(2) when the request was wrong. An error nobody expected
    keeps its traceback on stderr: it is a bug.
    """
    answer = Answer()
    try:
        with stdout_on_stderr(), drawing_progress():
            yield answer
    except typer.Exit as leaving:
        _print_answer(answer, as_json)
        raise leaving
    except KeyboardInterrupt:
        _print_error("stopped; what was finished is kept: run the same command again and it goes on from there", as_json)
        raise typer.Exit(1) from None
    except Exception as error:
        _print_error(_message_of(error), as_json)
        raise typer.Exit(_exit_status(error)) from None
    _print_answer(answer, as_json)


def _message_of(error: Exception) -> str:
    if isinstance(error, expected_errors()):
        return str(error)
    traceback.print_exc(file=sys.stderr)
    return f"unexpected {type(error).__name__}: {error} (a bug in posemill: please report the traceback on stderr)"


def _exit_status(error: Exception) -> int:
    from pipeline.errors import exit_status_of

    return exit_status_of(error)


def expected_errors() -> tuple[type[Exception], ...]:
    """The errors that speak for themselves; those of modules nobody imported yet cannot have been raised."""
    from pipeline.errors import EXPECTED_ERRORS

    named = (("models.weights", "WeightsError"), ("models.backends", "BackendError"))
    return (*EXPECTED_ERRORS, *(getattr(sys.modules[module], name) for module, name in named if module in sys.modules))


def _print_error(message: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"error": message}))
    print(f"posemill: {message}", file=sys.stderr)


def _print_answer(answer: Answer, as_json: bool) -> None:
    if as_json:
        print(json.dumps(answer.values, default=str))
        return
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 160, soft_wrap=False, highlight=False)
    for thing in answer.shown:
        console.print(thing)


@contextmanager
def stdout_on_stderr() -> Iterator[None]:
    """Whatever libraries print on stdout meanwhile, from Python or from C, goes to stderr."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


@contextmanager
def drawing_progress() -> Iterator[None]:
    """Progress of everything inside as bars on stderr, with rate and time left; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from pipeline.progress import listen

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    console = Console(stderr=True)
    bars = Progress(*columns, TimeRemainingColumn(), console=console, transient=True, redirect_stdout=False)
    with bars, listen(lambda label, total, unit: _bar(bars, label, total, unit)):
        yield


@contextmanager
def _bar(bars: Any, label: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    task = bars.add_task(label, total=total, rate=unit)

    def advance(n: int) -> None:
        bars.advance(task, n)
        speed = next((each.speed for each in bars.tasks if each.id == task), None)
        bars.update(task, rate=f"{speed:.1f} {unit}/s" if speed else unit)

    try:
        yield advance
    finally:
        bars.remove_task(task)


def say(line: str) -> None:
    """One line of log on stderr."""
    print(line, file=sys.stderr, flush=True)


def say_step(step: Step) -> None:
    """One line of log when a step is finished; steps that were done already are not worth one."""
    if not step.skipped:
        name = " ".join(word for word in (step.stage, step.clip, step.part) if word)
        say(f"{name}: {step.rows} rows in {step.wall_s:.1f} s")
        if warning := step.summary.get("warning"):
            say(f"{name}: warning: {warning}")


def step_values(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Steps as JSON-able rows."""
    return [asdict(step) for step in steps]


def steps_table(steps: Sequence[Step]) -> Table:
    """The result table of a run: one row per call of a stage."""
    table = new_table("stage", "clip", "part", "state", ">rows", ">wall s", ">cpu s", ">peak MB", "figures")
    for step in steps:
        cost = [f"{step.wall_s:.1f}", f"{step.cpu_s:.1f}", f"{step.peak_mb:.0f}"] if not step.skipped else ["", "", ""]
        state = "was done" if step.skipped else "made"
        table.add_row(step.stage, step.clip, step.part, state, str(step.rows), *cost, figures(step.summary))
    return table


def standings_table(standings: Sequence[Standing]) -> Table:
    """How every call of a stage stands."""
    colours = {"done": "green", "stale": "yellow", "missing": "dim", "failed": "red"}
    table = new_table("stage", "clip", "part", "state", ">rows", "why, or figures")
    for at in standings:
        state = f"[{colours[at.state]}]{at.state}[/]"
        table.add_row(at.stage, at.clip, at.part, state, str(at.rows or ""), at.why or figures(at.summary))
    return table


def rows_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Rows of one kind as a table, a column for every key; numbers stand to the right."""
    numbers = {name for row in rows for name, value in row.items() if isinstance(value, int | float)}
    table = new_table(*(f">{name}" if name in numbers else name for name in rows[0])) if rows else new_table()
    for row in rows:
        table.add_row(*map(_short, row.values()))
    return table


def new_table(*columns: str) -> Table:
    """An empty rich table; a column that starts with > holds numbers and stands to the right."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    return table


def figures(summary: Mapping[str, Any]) -> str:
    """A summary as one line of `name value` pairs; reals with four digits, figures of several cameras once where they agree."""
    return ", ".join(f"{name} {_short(value)}" for name, value in summary.items() if value not in ("", None, {}))


def _short(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        words = {name: _short(each) for name, each in value.items()}
        if len(words) > 1 and len(set(words.values())) == 1:
            return next(iter(words.values()))
        return " ".join(f"{name} {word}" for name, word in words.items()) or "none"
    if isinstance(value, list | tuple):
        return " ".join(_short(one) for one in value) or "none"
    return str(value)
