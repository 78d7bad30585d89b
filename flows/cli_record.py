"""`posemill record`: the live cameras of a session become a clip of it, with their figures shown while it goes on."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli_run import SessionArgument
from flows.terminal import JsonOption, answering, new_table, rows_table, say

if TYPE_CHECKING:
    from rich.table import Table

    from pipeline.preflight import Look
    from pipeline.record import Now

# Of the manifest's figures, what a person reads first.
_SHOWN = ("frames", "fps", "dropped", "jitter_ms", "delay_ms", "timed_by", "reconnects", "failure")


def record(
    session: SessionArgument,
    seconds: Annotated[float | None, typer.Option("--seconds", min=0.1, help="How long; default: until Ctrl-C.")] = None,
    clip: Annotated[str, typer.Option("--clip", help="Name of the new clip.")] = "",
    board: Annotated[bool, typer.Option("--board", help="The board moves in this clip; it must be in view.")] = False,
    view: Annotated[bool, typer.Option("--view", help="Show the cameras on a local page meanwhile.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Record whatever the look before finds.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Record the live cameras without re-encoding, after a look at exposure, focus, board and disk. Ctrl-C ends it cleanly."""
    with answering(as_json) as answer:
        from pipeline.record_session import Request, record_session

        asked = Request(seconds, clip, board, force)
        looks: list[Look] = []
        with stopping() as stop, drawing_figures() as draw, _showing(session, board) if view else _not_showing() as shown:
            watch = _both(draw, shown.watch)
            name, made = record_session(session, asked, stop, watch, lambda found: _tell_looks(found, looks), shown.tap)
        answer.values |= {"session": str(session), "clip": name, "folder": str(made.folder), **made.manifest}
        answer.values["looks"] = [asdict(look) for look in looks]
        cameras = made.manifest["cameras"]
        answer.show(rows_table([{"camera": each, **{key: cameras[each][key] for key in _SHOWN}} for each in cameras]))
        for event in made.manifest["events"]:
            if event["kind"] != "connected":
                answer.show(f"{event['t_ns'] / 1e9:.3f} s, {event['camera']}: {event['kind']}: {event['detail']}")
        for each in (name for name, figures in cameras.items() if figures["variable_rate"]):
            answer.show(f"{each}: films at a variable rate; its frames are matched by their times")
        skew = made.manifest["skew_ms"]
        told = f"; frames of an instant lie {skew['p99']:g} ms apart (99 %)" if skew else ""
        answer.show(f"{made.folder}: ended {made.manifest['ended']}{told}; next: posemill run {session}")
        if any(figures["failure"] for figures in cameras.values()):
            raise typer.Exit(1)


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set; a second one ends the program as ever."""
    asked = threading.Event()

    def ask(number: int, frame: Any) -> None:
        asked.set()
        say("stopping: the files are completed")
        for each, handler in before.items():
            signal.signal(each, handler)

    before = {each: signal.signal(each, ask) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@dataclass(frozen=True)
class Shown:
    """What a local page needs of a recording: every packet, and how it does."""

    tap: Callable[..., None] | None
    watch: Callable[[Now], None]


@contextmanager
def _not_showing() -> Iterator[Shown]:
    yield Shown(None, lambda now: None)


@contextmanager
def _showing(session: Path, board: bool) -> Iterator[Shown]:
    """The page of a recording; with the board its coverage, else people."""
    from flows.live_page import State, serving_view
    from pipeline.live_people import PeopleFinder
    from pipeline.live_view import view_of

    view, state = view_of(session, board), State()
    finder = None if board else PeopleFinder(view)
    with serving_view(view, state) as url:
        say(f"the cameras are shown at {url}")
        if finder is not None:
            finder.start()
        try:
            yield Shown(view.tap, state.watch)
        finally:
            if finder is not None:
                finder.stop()


def _both(one: Callable[[Now], None], other: Callable[[Now], None]) -> Callable[[Now], None]:
    def watch(now: Now) -> None:
        one(now)
        other(now)

    return watch


@contextmanager
def drawing_figures() -> Iterator[Callable[[Now], None]]:
    """A table of the cameras that is kept up to date on a terminal; elsewhere a line every ten seconds."""
    if not sys.stderr.isatty():
        yield _every_ten_seconds()
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as drawn:
        yield lambda now: drawn.update(now_table(now), refresh=True)


def _every_ten_seconds() -> Callable[[Now], None]:
    told = [0]

    def watch(now: Now) -> None:
        if now.since_s >= 10 * (told[0] + 1):
            told[0] = int(now.since_s // 10)
            cameras = ", ".join(f"{each.camera} {each.frames} frames, {each.dropped} lost" for each in now.cameras)
            say(f"{now.since_s:.0f} s: {cameras}")

    return watch


def now_table(now: Now) -> Table:
    """How a recording does: a row per camera."""
    colours = {"recording": "green", "silent": "yellow", "failed": "red"}
    table = new_table("camera", "state", ">fps", ">frames", ">lost (10 s)", ">jitter ms", ">Mbit/s", ">reconnects")
    for each in now.cameras:
        figures = (f"{each.fps:.2f}", each.frames, each.dropped, f"{each.jitter_ms:.2f}", f"{each.mbit_s:.1f}", each.reconnects)
        table.add_row(each.camera, f"[{colours[each.state]}]{each.state}[/]", *map(str, figures))
    skew = "" if now.skew_ms is None else f", skew {now.skew_ms:.2f} ms (99 %)"
    table.caption = f"{now.since_s:.1f} s{skew}, {now.free_bytes / 1e9:.1f} GB free; Ctrl-C ends the recording"
    return table


def _tell_looks(found: Sequence[Look], kept: list[Look]) -> None:
    kept.extend(found)
    for look in found:
        board = "" if look.board is None else f", board {'seen' if look.board else 'not seen'}"
        size = f"{look.size_wh[0]}x{look.size_wh[1]}, {look.mbit_s:.1f} Mbit/s"
        say(f"{look.camera}: {size}, {look.dark:.1%} black, {look.bright:.1%} white, sharpness {look.sharpness:.3f}{board}")
