"""SIGKILL: at instants drawn evenly over a run, at operations on files, and of processes started anew."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.faults.attempt import Attempt, forked, spawned
from tests.faults.outcome import Outcome
from tests.faults.scene import WHOLE_RUN_S, Scene

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir")  # audit events; opening a file to write counts as well
MOST_CHANGES = 16  # a run of the tiny session makes about a hundred
STARTUP_S = 6.0  # of a new process until it holds the session, on two busy cores

PER_SESSION = 8  # kills of one session before it may come to its end

# Starts the next run of a session and kills it at a share of an undisturbed run's time; False when it was over before.
Killed = Callable[[Path, Path, float], bool]


def at_random_instants(scene: Scene, folder: Path, seed: int, kills: int, until: float) -> Outcome:
    """Forks of a warm process, killed at instants drawn evenly over an undisturbed run."""

    def killed(root: Path, log: Path, share: float) -> bool:
        return _kill_after(forked(root, log), share * scene.whole_s - scene.done_s(root))

    how = "instants drawn evenly over a run; forks of a process that has imported all"
    return campaign(Outcome("SIGKILL at random", how), scene, folder, seed, kills, until, killed)


def of_new_processes(scene: Scene, folder: Path, seed: int, kills: int, until: float) -> Outcome:
    """`posemill run` as a user starts it, killed between its start and its end."""

    def killed(root: Path, log: Path, share: float) -> bool:
        return _kill_after(spawned(root, log), share * (STARTUP_S + scene.whole_s) - scene.done_s(root))

    row = Outcome("SIGKILL of new processes", "the same, of `posemill run` as a shell starts it, from its first import on")
    return campaign(row, scene, folder, seed, kills, until, killed)


def at_file_operations(scene: Scene, folder: Path, seed: int, kills: int, until: float) -> Outcome:
    """Forks that are killed just before the n-th rename, removal, new folder or opening of a file to write."""
    rng = np.random.default_rng(seed + 1)

    def killed(root: Path, log: Path, _: float) -> bool:
        number = int(rng.integers(1, MOST_CHANGES))
        attempt = forked(root, log, before=lambda: _die_at_change(root, number))
        return attempt.ended(WHOLE_RUN_S) == -signal.SIGKILL

    row = Outcome("SIGKILL at an operation on a file", "just before the n-th rename, removal, new folder or file; forks")
    return campaign(row, scene, folder, seed, kills, until, killed)


def _die_at_change(root: Path, number: int) -> None:
    left, inside = number, str(root)

    def watch(event: str, given: tuple[object, ...]) -> None:
        nonlocal left
        writes = event == "open" and isinstance(given[2], int) and given[2] & os.O_ACCMODE
        if (event in CHANGES or writes) and str(given[0]).startswith(inside):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def _kill_after(attempt: Attempt, seconds: float) -> bool:
    if attempt.ended(seconds) is None:
        attempt.kill()
    return attempt.status == -signal.SIGKILL


def campaign(row: Outcome, scene: Scene, folder: Path, seed: int, kills: int, until: float, killed: Killed) -> Outcome:
    """Sessions one after the other, each killed at some instants in ascending order and then brought to its end, up to so many
    kills or the time `until` (monotonic s). Returns the row with what came of it."""
    rng, number = np.random.default_rng(seed), 0
    stages: Counter[str] = Counter()
    problems: list[str] = []
    while stages.total() < kills and time.monotonic() < until:
        root = scene.copy(folder / f"session{number}")
        log, lock, number = folder / f"session{number}.log", root / ".lock", number + 1
        for share in sorted(rng.uniform(0, 1, PER_SESSION)):
            if stages.total() == kills or time.monotonic() > until or not killed(root, log, share):
                break
            stages[scene.stage_of(root) if lock.exists() else "start"] += 1
            problems += scene.half_made(root)
            lock.unlink(missing_ok=True)  # tells whether the next one came as far as holding the session
        problems += [f"{root.name}: {problem}" for problem in scene.end(root, log)]
        shutil.rmtree(root)
    return replace(row, problems=tuple(problems), kills=stages, sessions=number)
