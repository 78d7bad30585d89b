"""A campaign: every target gets its share of the inputs, in a process of its own with limits, from one seed.

python -m tests.fuzz --inputs 100000 --seed 0      all targets
python -m tests.fuzz --target rig-toml --seed 0 --inputs 1700      one of them: the same inputs as in a campaign of that share
python -m tests.fuzz --target rig-toml --replay FILE      one input
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.sandbox import Finding, Sandbox
from tests.fuzz.target import Ready, Target

LOOK_S = 2.0
SILENT_S = 120.0  # a process that has not come further for so long hangs where no signal reaches it


@dataclass
class Told:
    """What became of a target's inputs. findings: place of the error: its story and the number of inputs."""

    target: str
    seed: int
    inputs: int = 0
    refused: int = 0
    seconds: float = 0.0
    peak_mb: float = 0.0
    findings: dict[str, dict[str, Any]] = field(default_factory=dict)


def shares(targets: tuple[Target, ...], inputs: int) -> dict[str, int]:
    """How many inputs each target gets."""
    whole = sum(target.share for target in targets)
    return {target.name: max(1, round(inputs * target.share / whole)) for target in targets}


def try_target(name: str, seed: int, inputs: int, keep: Path, seconds: float, replay: bytes | None = None) -> Told:
    """In this process: an input's number and place are on the disk before it is tried, for whoever looks after a crash."""
    from tests.fuzz.targets import TARGETS, expected

    target, told, began = TARGETS[name], Told(name, seed), time.monotonic()
    keep.mkdir(parents=True, exist_ok=True)
    box = Sandbox(expected())
    ready = Ready(target, box.session)
    _ = ready.samples
    ready.read(ready.samples[0])  # imports what is imported late; a valid file must pass
    box.limit_memory()

    def one(data: bytes) -> None:
        if time.monotonic() - began > seconds:
            return
        (keep / f"{name}.last").write_bytes(data)
        shutil.rmtree(box.session / "out", ignore_errors=True)
        refused: list[int] = []
        finding = box.tried(lambda: _reading(ready, data, refused, box.expected))
        told.inputs += 1
        told.refused += len(refused)
        if finding:
            _note(told, finding, data, keep)

    try:
        if replay is not None:
            one(replay)
        else:
            _numbered(ready, seed, inputs, one)
    finally:
        box.close()
    told.seconds = time.monotonic() - began
    told.peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (keep / f"{name}.last").unlink(missing_ok=True)
    (keep / f"{name}.json").write_text(json.dumps(asdict(told), indent=1))
    return told


def _reading(ready: Ready, data: bytes, refused: list[int], expected: tuple[type[Exception], ...]) -> None:
    try:
        ready.read(data)
    except expected:
        refused.append(1)
        raise


def _numbered(ready: Ready, seed: int, inputs: int, one: Callable[[bytes], None]) -> None:
    """Broken bytes and words by number, and where the target has them as many hostile documents."""
    documents = ready.target.documents
    plain = inputs if documents is None else inputs - inputs // 2
    for number in range(plain):
        one(ready.input(seed, number))
    if documents is not None and inputs > plain:
        _drawn(documents(ready.samples), seed, inputs - plain, one)


def _drawn(strategy: Any, seed: int, inputs: int, one: Callable[[bytes], None]) -> None:
    import hypothesis

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=inputs,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    @hypothesis.given(strategy)
    def each(data: bytes) -> None:
        one(data)

    each()


def _note(told: Told, finding: Finding, data: bytes, keep: Path) -> None:
    known = told.findings.setdefault(finding.where, {"story": finding.story, "inputs": 0})
    known["inputs"] += 1
    if known["inputs"] == 1:
        known["file"] = f"{told.target}-{len(told.findings)}"
        (keep / known["file"]).write_bytes(data)


def watched(name: str, seed: int, inputs: int, keep: Path, seconds: float) -> Told:
    """`try_target` in a process of its own; one that crashes or hangs is a finding, with the input that did it."""
    process = multiprocessing.get_context("fork").Process(target=try_target, args=(name, seed, inputs, keep, seconds))
    (keep / f"{name}.json").unlink(missing_ok=True)
    process.start()
    last, looks, seen = keep / f"{name}.last", 0, 0.0
    while process.is_alive():
        process.join(LOOK_S)
        told = last.stat().st_mtime if last.is_file() else 0.0
        looks, seen = (looks + 1 if told == seen else 0), told
        if told and looks * LOOK_S > SILENT_S:  # looks are counted: a machine that slept has given it no time either
            process.kill()
    if (keep / f"{name}.json").is_file():
        return Told(**json.loads((keep / f"{name}.json").read_text()))
    found = Told(name, seed)
    data = last.read_bytes() if last.is_file() else b""
    _note(found, Finding(f"process ended with status {process.exitcode}", "crashed or hung"), data, keep)
    return found
