"""The stages as Prefect tasks: a runner that submits them, and progress that is seen in the UI.

Prefect's own cache and result storage stay off: the store's manifests are the one owner of "already done".
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from prefect import State, get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.concurrency.sync import concurrency

from flows.names import DISK_SLOT, GPU_SLOT
from flows.terminal import figures
from pipeline.config import Section
from pipeline.job import Step, StopAfter, chunks_of, stages_from, timed_call
from pipeline.progress import listen
from pipeline.store import Ref, Store
from pipeline.types import Artefact

UPDATE_EVERY_S = 1.0
# The work waits while the server answers, and it answers late where a network has every core: so many times as long as the last
# answer took nothing is sent.
PATIENCE = 50.0
DISK_HEAVY = ("rectify",)  # taking a slot costs about two seconds: only for what takes longer


def can_heal(_: Any, __: Any, state: State) -> bool:
    """Whether trying again may help: a network or device was busy; never a wrong request, or footage that is not enough."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, OSError | TimeoutError | MemoryError) or "OutOfMemoryError" in type(error).__name__


@task(
    cache_policy=NO_CACHE,
    persist_result=False,
    log_prints=True,
    retries=2,
    retry_delay_seconds=[10, 60],
    retry_condition_fn=can_heal,
)
def run_stage(store: Store, stage: str, ref: Ref, config: Section) -> tuple[Artefact, Step]:
    """One call of one stage; its progress is an artifact of the run."""
    with listen(progress_in_ui), slots(stage, config):
        artefact, step = timed_call(store, stage, store.here(ref), config)
    state = "was done already" if step.skipped else f"{step.rows} rows in {step.wall_s:.1f} s"
    get_run_logger().info("%s: %s; %s", title(stage, ref), state, figures(step.summary))
    return store.sent(artefact), step


@contextmanager
def slots(stage: str, config: Section) -> Iterator[None]:
    """Hold the slots that a stage needs: one of the GPU's, one of the disk's. `posemill serve` makes them; a server without
    them lets everything run at once."""
    needed = [GPU_SLOT] if on_gpu(stage, config) else []
    needed += [DISK_SLOT] if stage in DISK_HEAVY else []
    if not needed:
        yield
        return
    with concurrency(needed, occupy=1, strict=False):
        yield


def on_gpu(stage: str, config: Section) -> bool:
    """Whether a stage will use a GPU of this machine."""
    if stage == "augment":
        return getattr(config, "enabled", True) and getattr(config, "device", "cpu").startswith("cuda")
    return stage == "detect" and getattr(config, "backend", "") in ("auto", "torch") and Path("/dev/nvidia0").exists()


@dataclass
class PrefectRunner:
    """Submits every call of a stage as a task, named after stage, clip and part, and waits for all of them.

    until: last stage to run.
    """

    store: Store
    until: str = "export"
    steps: list[Step] = field(default_factory=list)
    made: list[tuple[Ref, Artefact]] = field(default_factory=list)

    def map(self, stage: str, refs: Sequence[Ref], config: Section) -> list[Artefact]:
        """The stage's artefact for every ref, in order. Raises what the first failing call raised, and StopAfter behind
        `until`."""
        if stage in stages_from(self.until)[1:]:
            raise StopAfter
        self._call(stage, chunks_of(self.store, stage, refs, config), config)
        results = self._call(stage, refs, config)
        self.steps += [step for _, step in results]
        artefacts = [artefact for artefact, _ in results]
        self.made += zip(refs, artefacts, strict=True)
        return artefacts

    def _call(self, stage: str, refs: Sequence[Ref], config: Section) -> list[tuple[Artefact, Step]]:
        futures = []
        for ref in refs:
            named = run_stage.with_options(name=stage, task_run_name=title(stage, ref))
            futures.append(named.submit(self.store, stage, ref, config))
        return [future.result() for future in futures]

    def of(self, kind: str) -> list[tuple[Ref, Artefact]]:
        """What was made of one kind, with what it was made from."""
        return [(ref, artefact) for ref, artefact in self.made if artefact.kind == kind]


def title(stage: str, ref: Ref) -> str:
    """What a call of a stage is called in the UI: stage, clip, part."""
    return " ".join(word for word in (stage, ref.clip, ref.part) if word)


def slug(text: str) -> str:
    """Text as an artifact key: lowercase letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


@contextmanager
def progress_in_ui(label: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """A listener of `pipeline.progress` that draws into a Prefect progress artifact, about once a second."""
    bar = ProgressBar(label, total, unit, cast(UUID, create_progress_artifact(0.0, slug(label), label)))
    try:
        yield bar.advance
    except BaseException:
        bar.show()
        raise
    bar.finish()


@dataclass
class ProgressBar:
    """A progress artifact: how much is done, units per second and seconds left."""

    label: str
    total: int
    unit: str
    artifact: UUID
    done: int = 0
    begun_s: float = field(default_factory=time.monotonic)
    next_s: float = field(default_factory=lambda: time.monotonic() + UPDATE_EVERY_S)

    def advance(self, n: int) -> None:
        """n more units are done."""
        self.done += n
        if time.monotonic() >= self.next_s:
            self.show()

    def finish(self) -> None:
        """The work is over; what had less to do than it thought is done as well."""
        self.total = self.done
        self.show()

    def show(self) -> None:
        """Bring the artifact up to date."""
        begin_s = time.monotonic()
        rate = self.done / max(begin_s - self.begun_s, 1e-9)
        left = f", {(self.total - self.done) / rate:.0f} s left" if 0 < self.done < self.total else ""
        text = f"{self.label}: {self.done}/{self.total} {self.unit}, {rate:.1f} {self.unit}/s{left}"
        share = self.done / self.total if self.total else 1.0
        update_progress_artifact(self.artifact, min(100.0, 100.0 * share), text)
        now_s = time.monotonic()
        self.next_s = now_s + max(UPDATE_EVERY_S, PATIENCE * (now_s - begin_s))
