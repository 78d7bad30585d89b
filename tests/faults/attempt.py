"""A run of the main job in a process of its own, which may be killed: a new one, or a fork of one that has imported all."""

from __future__ import annotations

import multiprocessing
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "onnxruntime", "open3d", "matplotlib.figure", "scipy.optimize", "av", "peft", "diffusers.loaders.peft",
         "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion", "diffusers.models.controlnets.controlnet",
         "pipeline.job", "pipeline.remote", "models.detector", "models.plausible", "models.prior_score",
         "models.diffusion.controlnet", "flows.cli")  # fmt: skip


@dataclass
class Attempt:
    """One run under way. log: what it prints on stdout and stderr."""

    process: Any  # multiprocessing's or subprocess's
    log: Path

    @property
    def status(self) -> int | None:
        """Its exit status (negative: the signal), None while it runs."""
        if isinstance(self.process, subprocess.Popen):
            return self.process.poll()
        return self.process.exitcode

    def ended(self, within_s: float) -> int | None:
        """Its exit status once it ended by itself; None when it did not within s."""
        until = time.monotonic() + within_s
        while self.status is None and time.monotonic() < until:
            time.sleep(0.01)
        return self.status

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        self.process.kill()
        self.process.wait() if isinstance(self.process, subprocess.Popen) else self.process.join()

    @property
    def said(self) -> str:
        """What it printed so far."""
        return self.log.read_text(errors="replace")

    @property
    def message(self) -> str:
        """The last line of error, as a user reads it."""
        return next((line for line in reversed(self.said.splitlines()) if line.startswith("posemill:")), "")

    @property
    def traced(self) -> bool:
        """Whether it showed a traceback."""
        return "Traceback (most recent call last)" in self.said


def import_all() -> None:
    """Import what a run imports, so that forks of this process need not."""
    for module in HEAVY:
        __import__(module)


def forked(session: Path, log: Path, *words: str, before: Callable[[], None] = lambda: None) -> Attempt:
    """`posemill run SESSION --json` in a fork of this process, begun with `before`."""
    process = multiprocessing.get_context("fork").Process(target=_command, args=(session, log, words, before))
    process.start()
    return Attempt(process, log)


def _command(session: Path, log: Path, words: Sequence[str], before: Callable[[], None]) -> None:
    from flows.cli import main

    with log.open("wb") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    before()
    try:
        main(["run", str(session), "--json", *words])
    finally:
        sys.stdout.flush()


def spawned(
    session: Path, log: Path, *words: str, prefix: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Attempt:
    """`posemill run SESSION --json` as a new process, under the program `prefix` where one is given."""
    return started([*prefix, sys.executable, "-m", "flows.cli", "run", str(session), "--json", *words], log, environment)


def started(command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> Attempt:
    """Any command as a new process, in posemill's own folder."""
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, env=os.environ | dict(environment or {}))
    return Attempt(process, log)


def descendants(pid: int) -> list[int]:
    """Processes that a process began, and those that they began."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = re.sub(r"\(.*\)", "()", stat.read_text()).split()
            parents[int(fields[0])] = int(fields[3])
    found = [pid]
    for parent in found:
        found += [child for child, its in parents.items() if its == parent]
    return found[1:]
