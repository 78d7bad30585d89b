"""The main job on a session, and how it stands."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.terminal import (
    Answer,
    JsonOption,
    PresetOption,
    SetOption,
    answering,
    say_step,
    standings_table,
    step_values,
    steps_table,
)

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.job import Step
    from pipeline.store import Store

SessionArgument = Annotated[Path, typer.Argument(help="Folder of the session (with session.yaml).")]
Runner = Annotated[str, typer.Option("--runner", metavar="local|dask|ray", help="Who works: this process, or several.")]
Address = Annotated[str, typer.Option("--address", help="Of a Dask scheduler or Ray cluster; default: workers of its own.")]
Workers = Annotated[int, typer.Option("--workers", min=1, help="How many workers of its own.")]


def run(
    session: SessionArgument,
    from_stage: Annotated[str, typer.Option("--from", help="Make this stage and all after it again.")] = "",
    until: Annotated[str, typer.Option("--until", help="Last stage to run.")] = "export",
    settings: SetOption = [],  # noqa: B006  (typer reads the default; nobody changes it)
    preset: PresetOption = "",
    runner: Runner = "local",
    address: Address = "",
    workers: Workers = 2,
    as_json: JsonOption = False,
) -> None:
    """The main job: from sources to dataset. Safe to repeat: what is done is not done again."""
    with answering(as_json) as answer:
        from pipeline.config import session_config
        from pipeline.job import LocalRunner, StopAfter, build_dataset, stages_from
        from pipeline.remote import open_store

        stages_from(until)
        store = open_store(session, redo=stages_from(from_stage) if from_stage else ())
        config = session_config(store.session, preset, settings)
        asked = {"runner": runner, "address": address, "count": workers}
        here = LocalRunner(store, until, on_step=say_step)
        with store.lock(), suppress(StopAfter):
            if runner == "local":
                build_dataset(store, config, here)
            else:
                here.steps = _on_workers(store, config, asked, until)
        tell_run(answer, store.root, here.steps)


def _on_workers(store: Store, config: Config, asked: dict[str, Any], until: str) -> list[Step]:
    """The main job on Dask or Ray, by way of Prefect: the server that PREFECT_API_URL names, or one for the time being."""
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")  # a first start makes the database
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    from flows.distributed import Workers, on_workers
    from pipeline.config import parse_section

    steps, _ = on_workers(store, config.model_dump(mode="json"), parse_section(Workers, asked), until)
    return steps


def tell_run(answer: Answer, session: Path, steps: list[Any]) -> None:
    """The result table of a run and where to look; says so when there was nothing to do."""
    made = sum(not step.skipped for step in steps)
    message = f"{made} of {len(steps)} steps made" if made else "nothing to do: everything is done already"
    datasets = sorted(str(path) for path in (session / "export").glob("*") if path.is_dir())
    answer.values |= {"session": str(session), "made": made, "message": message, "steps": step_values(steps)}
    answer.values["datasets"] = datasets
    answer.show(steps_table(steps), message)
    answer.show(f"clips: {session / 'clips'}", *(f"dataset: {path}" for path in datasets))


def status(
    session: SessionArgument,
    settings: SetOption = [],  # noqa: B006
    preset: PresetOption = "",
    as_json: JsonOption = False,
) -> None:
    """What of a session is done, stale, missing or failed, and why. Makes nothing."""
    with answering(as_json) as answer:
        from pipeline.config import session_config
        from pipeline.status import AskedStore
        from pipeline.status import status as standings_of

        store = AskedStore(session)
        standings = standings_of(store, session_config(store.session, preset, settings))
        counts = {state: sum(at.state == state for at in standings) for state in ("done", "stale", "missing", "failed")}
        answer.values |= {"session": str(session), **counts, "steps": [asdict(at) for at in standings]}
        answer.show(standings_table(standings), ", ".join(f"{count} {state}" for state, count in counts.items()))
