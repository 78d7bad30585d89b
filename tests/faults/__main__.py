"""Runs the campaign on two cores and prints its table; exit status 1 when a fault was not withstood."""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults import clocks, database, disks, kills, workers
from tests.faults.attempt import import_all
from tests.faults.outcome import Outcome, merged, table
from tests.faults.scene import Scene, made

LANES = 2
Fault = Callable[[Path], Outcome]


def faults(scene: Scene, asked: argparse.Namespace, until: float) -> dict[str, Fault]:
    """Every fault by its name, long ones first. Kills come in two halves, one for each lane."""
    seed, half = asked.seed, asked.kills // LANES
    return {
        "kills-1": lambda folder: kills.at_random_instants(scene, folder, seed, half, until),
        "kills-2": lambda folder: kills.at_random_instants(scene, folder, seed + 1, asked.kills - half, until),
        "processes": lambda folder: kills.of_new_processes(scene, folder, seed, asked.processes, until),
        "operations": lambda folder: kills.at_file_operations(scene, folder, seed, asked.operations, until),
        "dask": lambda folder: workers.disappearing(scene, folder, seed),
        "database": lambda folder: database.locked(scene, folder, seed),
        "clock": lambda folder: clocks.jumping(scene, folder, seed),
        "full": lambda folder: disks.full(scene, folder),
        "sealed": lambda folder: disks.mounted_read_only(scene, folder),
        "folders": lambda folder: disks.read_only_folders(scene, folder),
    }


def main() -> int:
    """The campaign; returns its exit status."""
    asked = arguments()
    begun = time.monotonic()
    # What has no kills to leave out takes some minutes at the end.
    until = begun + 60 * asked.minutes * (1.0 if asked.only else 0.7)
    import_all()
    with tempfile.TemporaryDirectory(prefix="posemill-faults-") as name:
        scene = made(Path(name))
        every = faults(scene, asked, until)
        chosen = {key: every[key] for key in every if not asked.only or key.partition("-")[0] in asked.only}
        outcomes = in_lanes(chosen, Path(name))
    told = merged([one for key in every if (one := outcomes.get(key))])
    print(table(told))
    minutes = (time.monotonic() - begun) / 60
    failed = sum(bool(one.problems) for one in told)
    print(f"\nundisturbed: {scene.whole_s:.0f} s in its stages; {minutes:.1f} min in all; {failed} not withstood")
    return 1 if failed or len(outcomes) < len(chosen) else 0


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=15, help="fewer kills are made when time is short")
    parser.add_argument("--kills", type=int, default=200, help="at random instants of forked runs")
    parser.add_argument("--processes", type=int, default=24, help="kills of new `posemill run` processes")
    parser.add_argument("--operations", type=int, default=40, help="kills at operations on files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", nargs="*", default=[], help="kills processes operations dask database clock full sealed folders"
    )
    return parser.parse_args()


def in_lanes(chosen: dict[str, Fault], folder: Path) -> dict[str, Outcome]:
    """Every fault in one of two processes, which take the next when one is over. No threads: they would not outlive a fork."""
    fork = multiprocessing.get_context("fork")
    waiting, results = fork.SimpleQueue(), fork.SimpleQueue()
    for key in chosen:
        waiting.put(key)
    for _ in range(LANES):
        waiting.put("")
    lanes = [fork.Process(target=_lane, args=(chosen, folder, waiting, results)) for _ in range(LANES)]
    for lane in lanes:
        lane.start()
    outcomes: dict[str, Outcome] = {}
    while any(lane.is_alive() for lane in lanes) or not results.empty():
        if results.empty():
            time.sleep(0.2)
            continue
        key, outcome = results.get()
        outcomes[key] = outcome
        print(f"{key}: {outcome.verdict}: {outcome.told}", *outcome.problems, sep="\n  ", file=sys.stderr, flush=True)
    return outcomes


def _lane(chosen: dict[str, Fault], folder: Path, waiting: Any, results: Any) -> None:
    while key := waiting.get():
        place = folder / key
        place.mkdir()
        try:
            outcome = chosen[key](place)
        except Exception as error:
            traceback.print_exc()
            outcome = Outcome(key, "", "the campaign itself failed", (f"{type(error).__name__}: {error}",))
        results.put((key, outcome))
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
