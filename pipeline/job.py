"""The main job: every stage in order, each result asked of the store before it is made."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Protocol

from pipeline import audit, augment, calibrate, detect, export, ingest, reconstruct, rectify
from pipeline.config import Config, Section
from pipeline.errors import InputError
from pipeline.failures import forget_failure, note_failure
from pipeline.store import Ref, Store
from pipeline.types import Artefact

STAGES: dict[str, ModuleType] = {
    "ingest": ingest,
    "calibrate": calibrate,
    "rectify": rectify,
    "detect": detect,
    "reconstruct": reconstruct,
    "audit": audit,
    "augment": augment,
    "export": export,
}


@dataclass(frozen=True)
class Step:
    """One finished call of a stage. skipped: the store had it already; times in s; peak_mb: resident memory so far."""

    stage: str
    clip: str
    part: str
    skipped: bool
    wall_s: float
    cpu_s: float
    peak_mb: float
    rows: int
    summary: dict[str, Any] = field(default_factory=dict)


class Runner(Protocol):
    """Something that calls stages: in this process, or as Prefect tasks."""

    def map(self, stage: str, refs: Sequence[Ref], config: Section) -> list[Artefact]:
        """The stage's artefact for every ref, in order."""
        ...


class StopAfter(Exception):  # noqa: N818  (no error: the user asked to stop here)
    """Raised by a runner when the stage the user wanted last is behind."""


def build_dataset(store: Store, config: Config, runner: Runner) -> Artefact:
    """From sources to dataset; returns the export. Whatever is done already is not done again."""
    session = store.session
    clips = dict(
        zip(
            [clip.name for clip in session.clips],
            runner.map("ingest", [Ref(clip=clip.name) for clip in session.clips], config.ingest),
            strict=True,
        )
    )
    [rig] = runner.map("calibrate", [Ref(tuple(clips.values()))], config.calibrate)
    people = [(clip, clips[clip.name]) for clip in session.people_clips]
    pairs = [Ref((frames, rig), clip.name, "-".join(p)) for clip, frames in people for p in session.pairs_of(clip)]
    depth = list(zip(pairs, runner.map("rectify", pairs, config.rectify), strict=True))
    views = [Ref((frames,), clip.name, camera) for clip, frames in people for camera in clip.sources]
    poses = list(zip(views, runner.map("detect", views, config.detect), strict=True))
    seen = [Ref((frames, rig, *(pose for view, pose in poses if view.clip == clip.name)), clip.name) for clip, frames in people]
    for stage in ("reconstruct", "audit", "augment"):
        if stage == "audit":
            seen = [Ref((*ref.inputs, *(made for pair, made in depth if pair.clip == ref.clip)), ref.clip) for ref in seen]
        made = runner.map(stage, seen, getattr(config, stage))
        seen = [Ref((*ref.inputs, artefact), ref.clip) for ref, artefact in zip(seen, made, strict=True)]
    everything = {artefact.digest: artefact for ref in seen for artefact in ref.inputs}
    return runner.map("export", [Ref(tuple(everything.values()))], config.export)[0]


def chunks_of(store: Store, stage: str, refs: Sequence[Ref], config: Section) -> list[Ref]:
    """The chunks that several workers can share before the calls of a stage are made; none for stages that have no chunks,
    and for calls of a single one."""
    split = getattr(STAGES[stage], "chunks", None)
    by_call = [split(store, store.here(ref), config) for ref in refs] if split else []
    return [chunk for chunks in by_call if len(chunks) > 1 for chunk in chunks]


def stages_from(stage: str) -> tuple[str, ...]:
    """A stage and all after it. Raises InputError listing the stages."""
    if stage not in STAGES:
        raise InputError(f"stage: expected one of {', '.join(STAGES)}, got {stage!r}")
    order = list(STAGES)
    return tuple(order[order.index(stage) :])


@dataclass
class LocalRunner:
    """Calls stages one after the other in this process; keeps the Step and the artefact of each and tells `on_step`.

    until: last stage to run.
    """

    store: Store
    until: str = "export"
    on_step: Callable[[Step], None] = lambda step: None
    steps: list[Step] = field(default_factory=list)
    made: list[tuple[Ref, Artefact]] = field(default_factory=list)

    def map(self, stage: str, refs: Sequence[Ref], config: Section) -> list[Artefact]:
        """Run one stage for every ref. Raises StopAfter when it lies behind `until`."""
        if stage in stages_from(self.until)[1:]:
            raise StopAfter
        return [self._call(stage, ref, config) for ref in refs]

    def _call(self, stage: str, ref: Ref, config: Section) -> Artefact:
        artefact, step = timed_call(self.store, stage, ref, config)
        self.steps.append(step)
        self.made.append((ref, artefact))
        self.on_step(step)
        return artefact


def timed_call(store: Store, stage: str, ref: Ref, config: Section) -> tuple[Artefact, Step]:
    """Run one stage on one ref and measure it; a failure is noted for `posemill status`."""
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        store.prepare(stage, ref)
        artefact: Artefact = STAGES[stage].run(store, ref, config)
    except Exception as error:
        note_failure(store, stage, ref, error)
        raise
    forget_failure(store, stage, ref)
    step = Step(
        stage=stage,
        clip=ref.clip,
        part=ref.part,
        skipped=not artefact.made,
        wall_s=time.perf_counter() - wall,
        cpu_s=time.process_time() - cpu,
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,  # Linux reports KiB
        rows=artefact.rows,
        summary=artefact.summary,
    )
    return artefact, step
