"""The tiny session that faults happen to, what one undisturbed run makes of it, and whether a disturbed one ends the same."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.demo import make_demo_session
from pipeline.job import STAGES
from pipeline.session import CalibrationInputs, load_session, save_session
from pipeline.studio import StudioConfig
from tests.faults.attempt import Attempt, forked

STUDIO = StudioConfig(people=1, people_instants=4, board_instants=3, size_wh=(640, 480))
# Small images, one pass of the network, the true rig: this is about what is done when, not about how well it is done.
SETTINGS = {
    "detect": {"size_px": 192, "flip": False, "scales": [1.0]},
    "augment": {"every": 4, "steps": 2, "detector_guidance": 0.0, "size_px": 64, "check_size_px": 96},
    "rectify": {"depth_every": 4},
}
RESULTS = ("clips", "rig", "export")
WHOLE_RUN_S = 600.0


@dataclass(frozen=True)
class Scene:
    """A session that nobody has run (`filmed`), the sums of an undisturbed run's files, and s that each stage took in it."""

    filmed: Path
    sums: dict[str, str]
    seconds: dict[str, float]

    def copy(self, to: Path) -> Path:
        """The session elsewhere, its recordings with their times, which are part of what names them."""
        return Path(shutil.copytree(self.filmed, to, copy_function=shutil.copy2, dirs_exist_ok=True))

    def stage_of(self, root: Path) -> str:
        """The stage that a run of `root` has come to; "end" when all are done."""
        for stage in STAGES:
            wanted = (name for name in self.sums if name.endswith(".json") and _stage_of_manifest(name) == stage)
            if not all((root / name).exists() for name in wanted):
                return stage
        return "end"

    @property
    def whole_s(self) -> float:
        """How long an undisturbed run takes, its imports aside."""
        return sum(self.seconds.values())

    def done_s(self, root: Path) -> float:
        """How much of that lies behind `root`: its finished stages."""
        order = [*STAGES, "end"]
        return sum(self.seconds[stage] for stage in order[: order.index(self.stage_of(root))])

    def end(self, root: Path, log: Path) -> list[str]:
        """Run a session to its end; what is wrong with it then."""
        attempt = forked(root, log)
        if attempt.ended(WHOLE_RUN_S) != 0:
            return [f"does not end: {attempt.said[-2000:]}"]
        return [f"{name} differs" for name in self.differences(root)]

    def half_made(self, root: Path) -> list[str]:
        """What must not be, whenever a run was disturbed: changed recordings, and results with a manifest that differ from
        those of the undisturbed run."""
        sums = sums_of(root)
        wrong = [name for name in self.sums if name.startswith("raw/") and sums.get(name) != self.sums[name]]
        for manifest in (name for name in sums if _is_manifest(name)):
            result = _result_of(root / manifest)
            theirs = {n: s for n, s in self.sums.items() if _belongs(n, result.relative_to(root).as_posix())}
            mine = {n: s for n, s in sums.items() if _belongs(n, result.relative_to(root).as_posix())}
            if mine != theirs and not (not theirs and _whole(result)):
                wrong.append(f"{manifest}: its result is not that of the undisturbed run")
        return wrong

    def differences(self, root: Path) -> list[str]:
        """Where a finished session is not, byte for byte, the undisturbed one; also files that are too many."""
        sums = sums_of(root)
        return sorted(name for name in sums.keys() | self.sums.keys() if sums.get(name) != self.sums.get(name))


def _stage_of_manifest(name: str) -> str:
    folder, _, rest = name.partition("/")
    return {"rig": "calibrate", "export": "export"}.get(folder, rest.rpartition("/")[2].partition("-")[0])


def _is_manifest(name: str) -> bool:
    folder, *rest = name.split("/")
    depth = {"clips": 2, "rig": 1, "export": 1}.get(folder)
    return name.endswith(".json") and len(rest) == depth and not rest[-1].startswith(".")


def _result_of(manifest: Path) -> Path:
    folder = manifest.with_suffix("")
    return folder if folder.is_dir() else folder.with_suffix(".parquet")


def _belongs(name: str, result: str) -> bool:
    return name == result or name.startswith(result + "/")


def _whole(result: Path) -> bool:
    """Whether a Parquet file can be read: chunks are gone from the undisturbed run, so there is nothing to compare."""
    try:
        return result.suffix == ".parquet" and pq.ParquetFile(result).scan_contents() >= 0
    except (OSError, pa.ArrowInvalid):
        return False


def sums_of(root: Path) -> dict[str, str]:
    """SHA-256 of every file of a session but the lock and notes of failures, by its path in it."""
    files = (file for folder in ("raw", *RESULTS) for file in (root / folder).rglob("*") if file.is_file())
    return {file.relative_to(root).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def made(folder: Path) -> Scene:
    """Film the session below `folder` and run it once, undisturbed. Raises RuntimeError with the log when that fails."""
    filmed = folder / "filmed"
    film = multiprocessing.get_context("fork").Process(target=_film, args=(filmed,))  # its threads end with it
    film.start()
    film.join()
    root = Path(shutil.copytree(filmed, folder / "undisturbed", copy_function=shutil.copy2))
    attempt = forked(root, folder / "undisturbed.log")
    if attempt.ended(WHOLE_RUN_S) != 0:
        raise RuntimeError(f"the undisturbed run failed ({attempt.status}):\n{attempt.said}")
    seconds = dict.fromkeys(STAGES, 0.0)
    for step in _steps(attempt):
        seconds[step["stage"]] += step["wall_s"]
    return Scene(filmed, sums_of(root), seconds)


def _film(root: Path) -> None:
    make_demo_session(root, STUDIO)
    session = load_session(root)
    true = CalibrationInputs(rig="truth/rig.yaml")
    changed = {"config": SETTINGS, "calibration": true, "clips": tuple(c for c in session.clips if c.name == "people")}
    save_session(session.model_copy(update=changed), root)


def _steps(attempt: Attempt) -> Iterator[dict[str, Any]]:
    lines = [line for line in attempt.said.splitlines() if line.startswith("{")]
    yield from json.loads(lines[-1])["steps"]
