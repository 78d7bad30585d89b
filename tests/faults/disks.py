"""A disk that is full, a session on a disk mounted read-only, folders that may not be written to."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.attempt import Attempt, forked, spawned
from tests.faults.outcome import Outcome, skipped
from tests.faults.scene import WHOLE_RUN_S, Scene

# Room left to the run, in KiB: nothing, then more each time until its stage is done; then nothing again.
ROOM_KIB = (0, 4, 64, 512, 4096, 65536)
# root may write anywhere: a run that is to be refused goes without that right.
UNPRIVILEGED = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all") if os.geteuid() == 0 else ()


@contextmanager
def disk(folder: Path) -> Iterator[Path]:
    """A file system of its own (tmpfs); OSError where this user may not mount one."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", folder], capture_output=True).returncode:
        raise OSError("a tmpfs of its own needs the right to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def full(scene: Scene, folder: Path) -> Outcome:
    """A tmpfs with room for nothing, then for a little more each time the run says that it is full."""
    fault = "disk full"
    stages: list[str] = []
    problems: list[str] = []
    try:
        with disk(folder / "small") as small:
            root = scene.copy(small / "session")
            while (stage := scene.stage_of(root)) != "end" and (tries := stages.count(stage)) < len(ROOM_KIB):
                used = shutil.disk_usage(small).used
                subprocess.run(["mount", "-o", f"remount,size={used // 1024 + ROOM_KIB[tries]}k", small], check=True)
                attempt = forked(root, folder / "full.log", "--until", stage)
                if attempt.ended(WHOLE_RUN_S) != 0:
                    stages.append(stage)
                    problems += refused(attempt, "the disk is full", "run the same command again") + scene.half_made(root)
            problems += scene.differences(root)
    except OSError as error:
        return skipped(fault, str(error))
    found = f"{len(stages)} runs said that the disk is full (in {', '.join(dict.fromkeys(stages))}); with room, the same bytes"
    return Outcome(fault, "tmpfs with 0 KiB of room, then more until a stage fits, in every stage", found, tuple(problems))


def mounted_read_only(scene: Scene, folder: Path) -> Outcome:
    """The session's disk, read-only before a run, and writable again."""
    fault, problems = "disk mounted read-only", []
    try:
        with disk(folder / "sealed") as sealed:
            root = scene.copy(sealed / "session")
            subprocess.run(["mount", "-o", "remount,ro", sealed], check=True)
            attempt = forked(root, folder / "sealed.log")
            attempt.ended(WHOLE_RUN_S)
            message = attempt.message
            problems += refused(attempt, "Read-only file system", "run the same command again")
            subprocess.run(["mount", "-o", "remount,rw", sealed], check=True)
            problems += scene.end(root, folder / "sealed.log")
    except OSError as error:
        return skipped(fault, str(error))
    return Outcome(
        fault, "tmpfs remounted", f"refused: {_short(message, root)}; writable again, the same bytes", tuple(problems)
    )


def read_only_folders(scene: Scene, folder: Path) -> Outcome:
    """Folders of the session without the right to write, one after the other, between runs that make more and more."""
    root, problems, messages = scene.copy(folder / "locked"), [], []
    for inside, until in (
        ("", "ingest"),
        ("clips", "ingest"),
        ("rig", "calibrate"),
        ("clips/people", "detect"),
        ("export", "export"),
    ):
        locked = root / inside
        locked.mkdir(parents=True, exist_ok=True)
        locked.chmod(0o555)
        attempt = spawned(root, folder / "locked.log", "--until", until, prefix=UNPRIVILEGED)
        attempt.ended(WHOLE_RUN_S)
        messages.append(attempt.message)
        problems += refused(attempt, "Permission denied", "run the same command again") + scene.half_made(root)
        locked.chmod(0o755)
    problems += scene.end(root, folder / "locked.log")
    found = f"{len(messages)} runs refused, e.g. {_short(messages[2], root)}; with the right to write, the same bytes"
    return Outcome(
        "folders without the right to write", "the session, clips, rig, a clip, export in turn", found, tuple(problems)
    )


def refused(attempt: Attempt, *words: str) -> list[str]:
    """What is wrong with how a run was refused: exit status 1, one message with certain words, no traceback."""
    wrong = [f"exit status {attempt.status}, expected 1"] if attempt.status != 1 else []
    wrong += [f"{word!r} is not in the message {attempt.message!r}" for word in words if word not in attempt.message]
    return wrong + (["a traceback is shown"] if attempt.traced else [])


def _short(message: str, root: Path) -> str:
    return "*" + message.removeprefix("posemill: ").replace(str(root), "SESSION") + "*"
