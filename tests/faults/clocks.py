"""A clock that jumps while a run works and between runs: libfaketime below the whole process, C libraries as well."""

from __future__ import annotations

import os
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from tests.faults.attempt import spawned
from tests.faults.outcome import Outcome, skipped
from tests.faults.scene import WHOLE_RUN_S, Scene

JUMPS = ("+1h", "-1h", "+2d", "-40d", "+5y", "-20y")
EVERY_S = (0.3, 3.0)  # a jump so often, drawn evenly


def jumping(scene: Scene, folder: Path, seed: int) -> Outcome:
    """Two runs of one session, the first killed half-way, each with a clock that jumps by hours to years, both ways; what is
    there in between gets times of change in the past and the future."""
    fault = "clock that jumps"
    if (library := faketime()) is None:
        return skipped(fault, "needs libfaketime: pip install libfaketime")
    rng, root, jumps, problems = np.random.default_rng(seed), scene.copy(folder / "clock"), 0, []
    now = folder / "clock.now"
    environment = {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(now), "FAKETIME_NO_CACHE": "1",
                   "NO_FAKE_STAT": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_RESET": "1"}  # fmt: skip
    for kill in (True, False):
        now.write_text(str(rng.choice(JUMPS)))
        attempt = spawned(root, folder / "clock.log", environment=environment)
        until = time.monotonic() + WHOLE_RUN_S
        while attempt.ended(float(rng.uniform(*EVERY_S))) is None and time.monotonic() < until:
            now.write_text(str(rng.choice(JUMPS)))
            jumps += 1
            if kill and scene.stage_of(root) in ("detect", "reconstruct"):
                attempt.kill()
        problems += scene.half_made(root) + (["a traceback is shown"] if attempt.traced else [])
        _shuffle_times(root, rng)
    problems += scene.differences(root) + ([] if attempt.status == 0 else [f"exit status {attempt.status}: {attempt.message}"])
    found = f"{jumps} jumps in two runs and every result dated anew between them: the same bytes"
    return Outcome(fault, f"libfaketime, {JUMPS[-1]} to {JUMPS[-2]}", found, tuple(problems))


def faketime() -> Path | None:
    """The library of the Python package `libfaketime`, if that is installed."""
    if (spec := find_spec("libfaketime")) is None or spec.origin is None:
        return None
    return next(Path(spec.origin).parent.rglob("libfaketime.so.1"), None)


def _shuffle_times(root: Path, rng: np.random.Generator) -> None:
    """Times of change of results from 1980 to 2040; recordings keep theirs, which are part of what names them."""
    for folder in ("clips", "rig", "export"):
        for file in sorted((root / folder).rglob("*")):
            when = float(rng.uniform(3.2e8, 2.2e9))
            os.utime(file, (when, when))
