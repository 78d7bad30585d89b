"""The main job on several workers: the same flow, its tasks run by Dask or Ray, on this machine or on a cluster.

Workers see the session's folder under the same path as the flow does: one machine, or a shared file system.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

from prefect import flow
from pydantic import Field

from flows.tasks import PrefectRunner
from pipeline import job
from pipeline.config import parse_config
from pipeline.config_section import Section
from pipeline.errors import InputError, StageError
from pipeline.job import Step, StopAfter
from pipeline.remote import open_store
from pipeline.store import Ref, Store
from pipeline.types import Artefact


class Workers(Section):
    """Who does the work."""

    runner: Literal["local", "dask", "ray"] = Field("local", description="local: this process, stage after stage")
    address: str = Field("", description="of a Dask scheduler or a Ray cluster that runs already; empty: workers of its own")
    count: int = Field(2, ge=1, description="how many workers of its own; each takes its share of the cores")


Made = list[tuple[Ref, Artefact]]
NO_SERVER = "connect to ephemeral"  # in what Prefect raises, a RuntimeError like many others


@flow(name="run-stages", persist_result=False, flow_run_name="{runner} workers")
def run_stages(root: str, config: dict[str, Any], until: str, redo: list[str], runner: str) -> tuple[list[Step], Made]:
    """Every stage up to one, by the task runner it was given; returns what was done and made."""
    store = open_store(root, redo)
    tasks = PrefectRunner(store, until)
    with suppress(StopAfter):
        job.build_dataset(store, parse_config(config), tasks)
    return tasks.steps, tasks.made


def on_workers(store: Store, config: dict[str, Any], workers: Workers, until: str = "export") -> tuple[list[Step], Made]:
    """Run the stages of a session on Dask or Ray; whoever calls holds the session. Raises InputError when the runner is not
    installed or does not answer, StageError when Prefect's own server does not start in time."""
    shared = run_stages.with_options(task_runner=task_runner(workers))
    root = getattr(store, "url", str(store.root.resolve()))
    try:
        with one_server(workers):
            return shared(root, config, until, sorted(store.redo), workers.runner)
    except RuntimeError as error:
        if NO_SERVER not in str(error):
            raise
        raise StageError(
            "Prefect's temporary server did not start in time; the machine is busy: run the same command again, or start "
            "`posemill serve` and name it: PREFECT_API_URL=http://127.0.0.1:4200/api"
        ) from error


@contextmanager
def one_server(workers: Workers) -> Iterator[None]:
    """Prefect's server for this process and its own workers: the one that is named, else a temporary one of this process.
    Without its address every worker begins one of its own, and one that is killed leaves it running. Workers of a cluster may
    run on other machines, which cannot reach a server on 127.0.0.1: they are told of none."""
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, temporary_settings

    if workers.address or PREFECT_API_URL.value():
        yield
        return
    server = SubprocessASGIServer()  # the one that Prefect begins itself where it needs one; it ends with the process
    server.start(timeout=PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value())
    with temporary_settings({PREFECT_API_URL: server.api_url}):
        yield


def task_runner(workers: Workers) -> Any:
    """Prefect's task runner for Dask or Ray."""
    try:
        if workers.runner == "dask":
            from prefect_dask import DaskTaskRunner

            own = {"n_workers": workers.count, "threads_per_worker": 1, "dashboard_address": None}
            return DaskTaskRunner(address=workers.address) if workers.address else DaskTaskRunner(cluster_kwargs=own)
        from prefect_ray import RayTaskRunner

        init = {"num_cpus": workers.count, "include_dashboard": False}
        return RayTaskRunner(address=workers.address) if workers.address else RayTaskRunner(init_kwargs=init)
    except ImportError as error:
        raise InputError(
            f"runner {workers.runner}: not installed here ({error}); install it: pip install 'posemill[{workers.runner}]'"
        ) from error
