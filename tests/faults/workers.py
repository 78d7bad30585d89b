"""Dask workers that disappear under a run."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from tests.faults.attempt import Attempt, descendants, forked, spawned
from tests.faults.outcome import Outcome
from tests.faults.scene import WHOLE_RUN_S, Scene

KILLS = 3
STAGES = ("rectify", "detect", "augment")  # in which a worker is killed, if it is met there


def disappearing(scene: Scene, folder: Path, seed: int) -> Outcome:
    """`posemill run --runner dask` with two workers; one of them gets SIGKILL in each of three stages."""
    rng, root, log = np.random.default_rng(seed), scene.copy(folder / "dask"), folder / "dask.log"
    environment = {"PREFECT_HOME": str(folder / "prefect-dask"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
                   "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "600"}  # fmt: skip
    attempt = spawned(root, log, "--runner", "dask", environment=environment)
    killed: list[str] = []
    until = time.monotonic() + WHOLE_RUN_S
    while attempt.ended(float(rng.uniform(0.2, 1.0))) is None and time.monotonic() < until:
        stage = scene.stage_of(root)
        if stage in STAGES and stage not in killed and (workers := dask_workers(attempt)):
            os.kill(int(rng.choice(workers)), signal.SIGKILL)
            killed.append(stage)
    problems = scene.half_made(root)
    ended = "went on by itself"
    if attempt.status != 0:
        attempt.kill()
        ended = f"stopped ({attempt.message[:200]}) and went on when run again"
        if (again := forked(root, folder / "dask-again.log")).ended(WHOLE_RUN_S) != 0:
            problems.append(f"does not end: {again.message}")
    problems += [f"{name} differs" for name in scene.differences(root)]
    if not killed:
        problems.append(f"no worker was met at work: {attempt.message}")
    found = f"{len(killed)} workers killed (in {', '.join(killed)}): the run {ended}; the same bytes"
    return Outcome("Dask worker that disappears", "SIGKILL of one of two workers", found, tuple(problems))


def dask_workers(attempt: Attempt) -> list[int]:
    """The processes of a run's own workers."""
    found = []
    for pid in descendants(attempt.process.pid):
        with suppress(OSError):
            if b"multiprocessing.spawn" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found
