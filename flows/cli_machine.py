"""Commands about the machine: serve the flows, examine what is installed, measure how fast it is."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flows.terminal import JsonOption, answering, new_table, rows_table, say


def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Install missing Debian packages (as root).")] = False,
    as_json: JsonOption = False,
) -> None:
    """Examine this machine: what is missing, and which command mends it."""
    with answering(as_json) as answer:
        from flows import doctor as machine

        checks = machine.examine()
        if fix:
            checks = machine.fix(checks)
        missing = [check for check in checks if check.state == "missing"]
        table = new_table("", "what", "found", "mend with")
        for check in checks:
            mark = {"ok": "[green]ok[/]", "missing": "[red]missing[/]", "optional": "[yellow]optional[/]"}[check.state]
            table.add_row(mark, check.name, check.found, check.mend)
        command = machine.mend(checks)
        answer.values |= {"ok": not missing, "command": command, "checks": [asdict(check) for check in checks]}
        answer.show(table, f"as root: {command}" if command else "")
        answer.show("this machine is fit for posemill" if not missing else f"{len(missing)} missing")
        if missing:
            raise typer.Exit(1)


def bench(as_json: JsonOption = False) -> None:
    """How fast every part runs here, as a share of what this machine allows, and what twice as much costs. Takes minutes; on a
    machine that does nothing else."""
    with answering(as_json) as answer:
        from pipeline.bench import doublings, parts

        measured = []
        for part in parts():
            say(f"{part.part}: {part.rate:,.1f} {part.unit}, {part.share:.0%} of {part.limited_by}")
            measured.append(part)
        rows = [
            {"part": one.part, "rate": one.rate, "unit": one.unit, "at most": one.limit, "share %": 100 * one.share,
             "limited by": one.limited_by} for one in measured
        ]  # fmt: skip
        grown = [asdict(one) for one in doublings()]
        answer.values |= {"parts": rows, "twice": grown}
        answer.show(rows_table(rows), "times as long with twice as many:", rows_table(grown))


def serve(
    port: Annotated[int, typer.Option("--port", help="Port of Prefect's server and UI; the next is the reports'.")] = 4200,
    watch: Annotated[Path, typer.Option("--watch", metavar="DIR", help="New sessions in it are run, once.")] = Path(
        "data/sessions"
    ),
    as_json: JsonOption = False,
) -> None:
    """Prefect's server, a worker and the deployments of prefect.yaml, on 127.0.0.1, until Ctrl-C."""
    with answering(as_json) as answer:
        from flows.serve import serve as serve_until_stopped

        serve_until_stopped(port, watch)
        answer.values |= {"stopped": True}
        answer.show("stopped")
