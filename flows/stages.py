"""Flows over parts of the main job: the rig alone, and generated images for a session that is captured already."""

from __future__ import annotations

from contextlib import suppress

from prefect import flow
from prefect.runtime import flow_run

from flows.build_dataset import OPTIONS, SessionFolder, Settings
from flows.review import show_contact_sheets, show_gates, show_generated, show_rejections, show_results
from flows.tasks import PrefectRunner
from pipeline import job
from pipeline.config import session_config
from pipeline.job import StopAfter
from pipeline.remote import open_store


@flow(name="calibrate-rig", **OPTIONS)
def calibrate_rig(session: SessionFolder, preset: str = "", settings: Settings = []) -> str:  # noqa: B006
    """The rig of a session, with its checks and a link to its report. Returns the folder of the rig; raises CalibrationError
    naming the check that it does not pass.

    Args:
        session: folder of the session, with session.yaml
        preset: settings to start from; empty: the session's own preset
        settings: changes to the settings, each as stage.key=value, e.g. audit.max_error_px=10
    """
    runner = _run_until("calibrate", session, preset, settings)
    show_gates(runner.store, runner.of("calibrate"))
    [(_, rig)] = runner.of("calibrate")
    return str(rig.path)


@flow(name="augment-dataset", **OPTIONS)
def augment_dataset(session: SessionFolder, preset: str = "", settings: Settings = []) -> list[str]:  # noqa: B006
    """Generated images under the poses of a session, seen beside what was filmed, before anything is exported: to try models
    and prompts. Returns the files of the samples, one for each clip.

    Args:
        session: folder of the session, with session.yaml
        preset: settings to start from; empty: the session's own preset
        settings: changes to the settings, each as stage.key=value, e.g. audit.max_error_px=10
    """
    runner = _run_until("augment", session, preset, settings)
    show_contact_sheets(runner.store, runner.of("detect"))
    show_generated(runner.store, runner.of("augment"))
    show_rejections(runner.store, runner.made)
    return [str(made.path) for _, made in runner.of("augment")]


def _run_until(stage: str, session: str, preset: str, settings: list[str]) -> PrefectRunner:
    store = open_store(session)
    config = session_config(store.session, preset, settings)
    runner = PrefectRunner(store, stage)
    with store.lock(f"flow run {flow_run.name}"), suppress(StopAfter):
        job.build_dataset(store, config, runner)
    show_results(store, runner.steps, runner.made)
    return runner
