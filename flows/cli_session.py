"""Commands on a session: make one, simulate one, run it, see how it stands."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.terminal import Answer, JsonOption, answering, say_step, standings_table, step_values, steps_table

SessionArgument = Annotated[Path, typer.Argument(help="Folder of the session (with session.yaml).")]
SetOption = Annotated[list[str], typer.Option("--set", metavar="STAGE.KEY=VALUE", help="Change one setting; repeatable.")]
PresetOption = Annotated[str, typer.Option("--preset", help="Settings to start from; default: the session's own preset.")]


def run(
    session: SessionArgument,
    from_stage: Annotated[str, typer.Option("--from", help="Make this stage and all after it again.")] = "",
    until: Annotated[str, typer.Option("--until", help="Last stage to run.")] = "export",
    settings: SetOption = [],  # noqa: B006  (typer reads the default; nobody changes it)
    preset: PresetOption = "",
    as_json: JsonOption = False,
) -> None:
    """The main job: from sources to dataset. Safe to repeat: what is done is not done again."""
    with answering(as_json) as answer:
        from pipeline.config import session_config
        from pipeline.job import LocalRunner, StopAfter, build_dataset, stages_from
        from pipeline.store import Store

        stages_from(until)
        store = Store(session, redo=stages_from(from_stage) if from_stage else ())
        runner = LocalRunner(store, until, on_step=say_step)
        config = session_config(store.session, preset, settings)
        with store.lock(), suppress(StopAfter):
            build_dataset(store, config, runner)
        tell_run(answer, session, runner.steps)


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
        from dataclasses import asdict

        from pipeline.config import session_config
        from pipeline.status import AskedStore
        from pipeline.status import status as standings_of

        store = AskedStore(session)
        standings = standings_of(store, session_config(store.session, preset, settings))
        counts = {state: sum(at.state == state for at in standings) for state in ("done", "stale", "missing", "failed")}
        answer.values |= {"session": str(session), **counts, "steps": [asdict(at) for at in standings]}
        answer.show(standings_table(standings), ", ".join(f"{count} {state}" for state, count in counts.items()))
