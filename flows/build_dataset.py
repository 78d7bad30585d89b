"""The main job as a Prefect flow: the same stages and the same store as `posemill run`, seen and scheduled in Prefect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import Field

from flows.review import show_contact_sheets, show_results
from flows.tasks import PrefectRunner
from pipeline import job
from pipeline.config import session_config
from pipeline.errors import InputError
from pipeline.session import load_session
from pipeline.store import Store

Settings = Annotated[list[str], Field(description="changes to the settings, each as stage.key=value")]
Preset = Annotated[str, Field(description="settings to start from; empty: the session's own preset")]


def _run_name() -> str:
    """Session (or folder of sessions), preset, and when the run was due."""
    wanted = flow_run.parameters
    place = Path(wanted.get("session") or wanted["folder"]).resolve()
    try:
        preset = wanted.get("preset") or load_session(place).preset
    except InputError:
        preset = "own presets"  # a folder of sessions; a session that cannot be read says so itself when the run begins
    return f"{place.name}, {preset}, {flow_run.scheduled_start_time:%d %b %H:%M}"


# One worker: the stages use every core themselves, and two at a time would hold two networks in memory.
_ONE_AT_A_TIME: Any = ThreadPoolTaskRunner(max_workers=1)


@flow(name="build-dataset", flow_run_name=_run_name, task_runner=_ONE_AT_A_TIME, persist_result=False)
def build_dataset(
    session: Annotated[str, Field(description="folder of the session, with session.yaml")],
    preset: Preset = "",
    settings: Settings = [],  # noqa: B006  (a parameter's default in the form of the UI)
) -> str:
    """From sources to dataset; what is done already is not done again. Returns the folder of the dataset."""
    store = Store(session)
    runner = PrefectRunner(store)
    config = session_config(store.session, preset, settings)
    with store.lock():
        dataset = job.build_dataset(store, config, runner)
        show_results(store.session.name, runner.steps, runner.made)
        show_contact_sheets(store, runner.made)
    return str(dataset.path)


@flow(name="build-sessions", flow_run_name=_run_name, persist_result=False)
def build_sessions(
    folder: Annotated[str, Field(description="folder whose sub-folders are sessions")] = "data/sessions",
    preset: Preset = "",
) -> list[str]:
    """Every session below a folder, one after the other; one that fails does not keep the others from running.

    Raises InputError naming the sessions that failed, once all have had their turn.
    """
    sessions = sorted(path.parent for path in Path(folder).glob("*/session.yaml"))
    get_run_logger().info("%d sessions below %s", len(sessions), Path(folder).resolve())
    ended = [build_dataset(str(session), preset, return_state=True) for session in sessions]
    failed = [session.name for session, state in zip(sessions, ended, strict=True) if not state.is_completed()]
    if failed:
        raise InputError(f"{len(failed)} of {len(sessions)} sessions failed: {', '.join(failed)}; see their own runs")
    return [str(session) for session in sessions]
