"""The main job as Prefect flows: the same stages and the same store as `posemill run`, seen, scheduled and decided about in
Prefect."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Annotated, Any

from prefect import State, flow, get_run_logger
from prefect.deployments import run_deployment
from prefect.runtime import flow_run
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from flows.approval import RUN_ON, Review, ask, can_ask, note, was_asked
from flows.distributed import Workers, on_workers
from flows.names import ON_DEMAND
from flows.review import question, show_review
from flows.tasks import PrefectRunner
from pipeline import job
from pipeline.config import Config, session_config
from pipeline.decisions import Decision, decision_on
from pipeline.errors import InputError
from pipeline.remote import open_store
from pipeline.session import load_session
from pipeline.store import Store
from pipeline.types import Artefact

LONGEST_S = 24 * 3600.0  # of a whole run: what works in a thread of it cannot be interrupted alone

# What they are stands in the docstrings: Prefect takes the descriptions of its forms from there alone.
SessionFolder = Annotated[str, Field(min_length=1)]  # or an address: s3://bucket/session
Setting = Annotated[str, Field(pattern=r"^[a-z0-9_]+\.[a-z0-9_]+=.*$")]
Settings = list[Setting]


def run_name() -> str:
    """Session (or folder of sessions), preset, and when the run was due."""
    wanted = flow_run.parameters
    place = Path(wanted.get("session") or wanted["folder"]).resolve()
    try:
        preset = wanted.get("preset") or load_session(place).preset
    except InputError:
        preset = "own presets"  # a folder of sessions; a session that cannot be read says so itself when the run begins
    return f"{place.name}, {preset}, {flow_run.scheduled_start_time:%d %b %H:%M}"


# One worker: the stages use every core themselves, and two at a time would hold two networks in memory.
ONE_AT_A_TIME: Any = ThreadPoolTaskRunner(max_workers=1)
OPTIONS: Any = {
    "flow_run_name": run_name,
    "task_runner": ONE_AT_A_TIME,
    "persist_result": False,
    "timeout_seconds": LONGEST_S,
}


@flow(name="build-dataset", **OPTIONS)
def build_dataset(
    session: SessionFolder,
    preset: str = "",
    settings: Settings = [],  # noqa: B006
    workers: Workers = Workers(),  # noqa: B008
) -> str | State[str]:
    """From sources to dataset; what is done already is not done again. Returns the folder of the dataset.

    Started from a deployment it then waits for a person's decision, if nobody decided about this very dataset before; with
    other settings it runs on and asks again.

    Args:
        session: folder of the session, with session.yaml
        preset: settings to start from; empty: the session's own preset
        settings: changes to the settings, each as stage.key=value, e.g. audit.max_error_px=10
        workers: who does the work: this process, or Dask or Ray
    """
    store, complaint = open_store(session), ""
    for number in count(1):
        config = session_config(store.session, preset, settings)
        runner = PrefectRunner(store)
        asked = was_asked(number)
        dataset = _build(store, config, runner, workers, shown=asked)
        if decision := decision_on(store.root, dataset):
            return _ended(dataset, decision)
        if not (config.review.required and can_ask()):
            return str(dataset.path)
        text = "" if asked else question(store, runner, dataset, complaint)
        answer = ask(number, text, config.review.wait_hours)
        heard = _heard(answer, store, dataset, preset, settings)
        if isinstance(heard, Decision):
            return _ended(dataset, heard)
        settings, complaint = heard
    raise AssertionError("there is always another question")


def _build(store: Store, config: Config, runner: PrefectRunner, workers: Workers, shown: bool) -> Artefact:
    with store.lock(f"flow run {flow_run.name}"):
        if workers.runner == "local":
            dataset = job.build_dataset(store, config, runner)
        else:
            runner.steps, runner.made = on_workers(store, config.model_dump(mode="json"), workers)
            [(_, dataset)] = runner.of("export")
        if not shown:
            show_review(store, runner, dataset)
            store.send_review()
    return dataset


def _heard(
    answer: Review, store: Store, dataset: Artefact, preset: str, settings: list[str]
) -> Decision | tuple[list[str], str]:
    """The decision, or the settings to run on with and what was wrong with the answer, if anything was."""
    try:
        if answer.decision != RUN_ON:
            decision = note(answer, store.root, dataset, preset, tuple(settings))
            store.send_review()
            return decision
        changed = [*settings, *answer.settings]
        session_config(store.session, preset, changed)
    except InputError as error:
        get_run_logger().warning("the answer cannot be taken: %s", error)
        return settings, str(error)
    return changed, ""


def _ended(dataset: Artefact, decision: Decision) -> State[str]:
    return Completed(name=decision.verdict.capitalize(), message=decision.text, data=str(dataset.path))


@flow(name="build-sessions", flow_run_name=run_name, persist_result=False)
def build_sessions(
    folder: SessionFolder = "data/sessions",
    preset: str = "",
) -> list[str]:
    """Every session below a folder, in a run of its own; one that fails does not keep the others from running.

    Raises InputError naming the sessions that failed, once all have had their turn; of runs that were only scheduled, each
    tells itself.

    Args:
        folder: folder whose sub-folders are sessions
        preset: settings to start from; empty: each session's own preset
    """
    sessions = sorted(path.parent for path in Path(folder).glob("*/session.yaml"))
    get_run_logger().info("%d sessions below %s", len(sessions), Path(folder).resolve())
    if can_ask():  # a run within this one could not wait for a decision
        for session in sessions:
            schedule(session, preset, f"{session.resolve()} {flow_run.id}")
        return [str(session) for session in sessions]
    ended = [build_dataset(str(session), preset, return_state=True) for session in sessions]
    failed = [session.name for session, state in zip(sessions, ended, strict=True) if not state.is_completed()]
    if failed:
        raise InputError(f"{len(failed)} of {len(sessions)} sessions failed: {', '.join(failed)}; see their own runs")
    return [str(session) for session in sessions]


def schedule(session: Path, preset: str, once: str) -> None:
    """Have the worker build a session in a run of its own. once: the same words again schedule nothing."""
    given = {"session": str(session.resolve()), "preset": preset}
    run_deployment(ON_DEMAND, parameters=given, timeout=0, as_subflow=False, idempotency_key=once)
