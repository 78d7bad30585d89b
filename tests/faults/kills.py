"""SIGKILL: at instants drawn evenly over what is left of a run, at operations on files, and of processes started anew."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.job import STAGES
from tests.faults.attempt import Attempt, forked, spawned
from tests.faults.outcome import Outcome, counted
from tests.faults.scene import WHOLE_RUN_S, Scene

ORDER = ["start", *STAGES, "end"]
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir")  # audit events; opening a file to write counts as well
MOST_CHANGES = 16  # a run of the tiny session makes about a hundred
STARTUP_S = 6.0  # of a new process until it holds the session, on two busy cores

# Starts the next run of a session and kills it somewhere; False when it was over before.
Killed = Callable[[Path, Path, np.random.Generator], bool]


@dataclass
class Tally:
    """What several sessions went through: kills by stage, sessions that ended, and what was wrong."""

    stages: Counter[str] = field(default_factory=Counter)
    finished: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """All kills."""
        return sum(self.stages.values())

    def outcome(self, fault: str, how: str) -> Outcome:
        """The row of the table."""
        where = counted(self.stages, ORDER)
        found = f"{self.kills} kills ({where}) over {self.finished} sessions: each ended with the same bytes"
        return Outcome(fault, how.format(self.kills), found, tuple(self.problems))


def at_random_instants(scene: Scene, folder: Path, seed: int, kills: int, until: float) -> Outcome:
    """Forks of a warm process, killed at an instant drawn evenly over what an undisturbed run would still need."""

    def killed(root: Path, log: Path, rng: np.random.Generator) -> bool:
        return _kill_after(forked(root, log), rng.uniform(0, scene.left_s(root)))

    tally = campaign(scene, folder, seed, kills, until, killed)
    return tally.outcome("SIGKILL at a random instant", "forks of a process that has imported all")


def of_new_processes(scene: Scene, folder: Path, seed: int, kills: int, until: float) -> Outcome:
    """`posemill run` as a user starts it, killed between its start and its end."""

    def killed(root: Path, log: Path, rng: np.random.Generator) -> bool:
        return _kill_after(spawned(root, log), rng.uniform(0, STARTUP_S + scene.left_s(root)))

    tally = campaign(scene, folder, seed, kills, until, killed)
    return tally.outcome("SIGKILL of `posemill run`", "new processes, from their first import on")


def at_file_operations(scene: Scene, folder: Path, seed: int, kills: int, until: float) -> Outcome:
    """Forks that are killed just before the n-th rename, removal, new folder or opening of a file to write."""

    def killed(root: Path, log: Path, rng: np.random.Generator) -> bool:
        number = int(rng.integers(1, MOST_CHANGES))
        attempt = forked(root, log, lambda: _die_at_change(root, number))
        return attempt.ended(WHOLE_RUN_S) == -signal.SIGKILL

    tally = campaign(scene, folder, seed, kills, until, killed)
    return tally.outcome("SIGKILL at an operation on a file", "just before the n-th rename, removal, new folder or file")


def _die_at_change(root: Path, number: int) -> None:
    left, inside = number, str(root)

    def watch(event: str, given: tuple[object, ...]) -> None:
        nonlocal left
        writes = event == "open" and str(given[0]).startswith(inside) and isinstance(given[2], int) and given[2] & os.O_ACCMODE
        if event in CHANGES or writes:
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def _kill_after(attempt: Attempt, seconds: float) -> bool:
    if attempt.ended(seconds) is None:
        attempt.kill()
    return attempt.status == -signal.SIGKILL


def campaign(scene: Scene, folder: Path, seed: int, kills: int, until: float, killed: Killed) -> Tally:
    """Sessions one after the other, each run and killed again and again until a run comes to its end, up to so many kills or
    the time `until` (monotonic s); the last one is brought to its end undisturbed."""
    rng, tally, number = np.random.default_rng(seed), Tally(), 0
    while tally.kills < kills and time.monotonic() < until:
        root = scene.copy(folder / f"session{number}")
        log, number = folder / f"session{number}.log", number + 1
        while tally.kills < kills and time.monotonic() < until and killed(root, log, rng):
            started = (root / ".lock").exists() and (root / ".lock").stat().st_size > 0
            tally.stages[scene.stage_of(root) if started else "start"] += 1
            tally.problems += scene.half_made(root)
        last = forked(root, log)
        if last.ended(WHOLE_RUN_S) != 0:
            tally.problems.append(f"{root.name} does not end: {last.said[-2000:]}")
        tally.problems += [f"{root.name}: {name} differs" for name in scene.differences(root)]
        tally.finished += 1
        shutil.rmtree(root)
    return tally
