"""What of a session is done, stale, missing or failed, found out without making anything.

The stages themselves are asked: the store they are given hands out slots that never come back empty, so a stage stops at
the very point where it would begin to work.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config import Config, Section, session_config
from pipeline.errors import EXPECTED_ERRORS, InputError
from pipeline.failures import failure_of
from pipeline.job import STAGES, build_dataset
from pipeline.plain_text import table_of
from pipeline.store import Ref, Slot, Store
from pipeline.types import Artefact

_SAME = ("stage", "clip", "part")
_MANIFEST = {*_SAME, "digest", "version", "config", "inputs", "given"}
_UNREADABLE: tuple[type[Exception], ...] = (*EXPECTED_ERRORS, OSError, LookupError)


@dataclass(frozen=True)
class Standing:
    """How one call of a stage stands. state: done, stale (made before, under other settings or inputs), missing or failed."""

    stage: str
    clip: str
    part: str
    state: str
    why: str = ""
    rows: int = 0
    summary: dict[str, Any] = field(default_factory=dict)


class NotDone(Exception):  # noqa: N818  (no error: the answer to a question)
    """Raised by a slot that was asked whether it is done and is not."""

    def __init__(self, slot: Slot) -> None:
        super().__init__(slot.path.name)
        self.slot = slot


class _AskedSlot(Slot):
    def done(self) -> Artefact:
        found = super().done()
        if found is None:
            raise NotDone(self)
        return found


class AskedStore(Store):
    """A store whose stages only tell: a slot that is not done raises NotDone instead of letting the stage begin."""

    def slot(self, *args: Any, **kwargs: Any) -> Slot:
        """As in Store; the slot's `done` raises NotDone where Store's returns None."""
        return _AskedSlot(**vars(super().slot(*args, **kwargs)))


@dataclass
class Inspector:
    """A runner that asks every stage how it stands and runs none."""

    store: AskedStore
    standings: list[Standing] = field(default_factory=list)
    made: list[tuple[Ref, Artefact]] = field(default_factory=list)

    def map(self, stage: str, refs: Sequence[Ref], config: Section) -> list[Artefact]:
        """The artefacts as they are, or would be: one that is missing has its digest and no rows."""
        return [self._ask(stage, ref, config) for ref in refs]

    def _ask(self, stage: str, ref: Ref, config: Section) -> Artefact:
        failure = failure_of(self.store, stage, ref)
        try:
            artefact: Artefact = STAGES[stage].run(self.store, ref, config)
            self.made.append((ref, artefact))
            self._tell(stage, ref, "done", rows=artefact.rows, summary=artefact.summary)
        except NotDone as answer:
            artefact = Artefact(stage, answer.slot.path, answer.slot.digest, 0)
            why = failure or why_stale(answer.slot)
            self._tell(stage, ref, "failed" if failure else "stale" if why else "missing", why)
        except _UNREADABLE as error:
            # Its inputs cannot be read: because they are not made yet, or because raw files are gone.
            artefact = Artefact(stage, self.store.root / "unknown", f"unknown-{stage}-{ref.clip}-{ref.part}", 0)
            waiting = ref.inputs and not all(made.path.exists() for made in ref.inputs)
            self._tell(stage, ref, "missing" if waiting else "failed", "waits for its inputs" if waiting else str(error))
        return artefact

    def _tell(self, stage: str, ref: Ref, state: str, why: str = "", **found: Any) -> None:
        self.standings.append(Standing(stage, ref.clip, ref.part, state, why, **found))


def status(store: AskedStore, config: Config) -> list[Standing]:
    """How every call of the main job stands, in the order of the job; nothing is read but manifests and file sizes."""
    inspector = Inspector(store)
    build_dataset(store, config, inspector)
    return inspector.standings


def finished(
    root: Path | str, stages: Sequence[str], preset: str = "", settings: Sequence[str] = ()
) -> list[tuple[Ref, Artefact]]:
    """Every result of a session that is done under its settings. Raises InputError when one of `stages` is not done."""
    store = AskedStore(root)
    inspector = Inspector(store)
    build_dataset(store, session_config(store.session, preset, settings), inspector)
    for at in inspector.standings:
        if at.stage in stages and at.state != "done":
            name = " ".join(word for word in (at.stage, at.clip, at.part) if word)
            raise InputError(f"{root}: expected a finished run, found {name} {at.state}; make it with `posemill run {root}`")
    return inspector.made


def reconstructed(root: Path | str, clip: str, preset: str = "", settings: Sequence[str] = ()) -> tuple[Ref, Artefact]:
    """What reconstruct got and made of a clip. Raises InputError as `finished`, and for a clip without people."""
    done = finished(root, ("ingest", "calibrate", "detect", "reconstruct"), preset, settings)
    found = {ref.clip: (ref, made) for ref, made in done if made.kind == "reconstruct"}
    if clip not in found:
        raise InputError(f"--clip: expected one of {', '.join(found)} (clips with people), got {clip!r}")
    return found[clip]


def why_stale(slot: Slot) -> str:
    """What differs from the nearest result made before for the same stage, clip and part; "" when there is none."""
    differences = [tuple(_differences(old, slot.provenance)) for old in _older(slot)]
    nearest: tuple[str, ...] = min(differences, key=len, default=())
    return "; ".join(nearest)


def _older(slot: Slot) -> Iterator[dict[str, Any]]:
    for file in sorted(slot.manifest_path.parent.glob("*.json")):
        old = table_of(file)
        whole = old.keys() >= _MANIFEST and isinstance(old["config"], dict)
        if whole and all(old[key] == slot.provenance[key] for key in _SAME) and old["digest"] != slot.digest:
            yield old


def _differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    new = json.loads(json.dumps(new, default=str))
    if old["version"] != new["version"]:
        yield f"version {old['version']} -> {new['version']}"
    for key in sorted(old["config"].keys() | new["config"].keys()):
        before, after = old["config"].get(key), new["config"].get(key)
        if before != after:
            yield f"{key} {before} -> {after}"
    if old["inputs"] != new["inputs"]:
        yield "inputs changed"
    if old["given"] != new["given"]:
        yield "session or raw files changed"
