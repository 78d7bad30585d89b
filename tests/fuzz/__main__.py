"""The command line of a campaign; exit status 1 when an input did what it must not."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.campaign import shares, try_target, watched
from tests.fuzz.targets import TARGETS


def main() -> int:
    """Print a line per target and, at the end, what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Broken files for every reader.")
    parser.add_argument("--inputs", type=int, default=100_000, help="inputs in all")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same inputs")
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="only this one; repeatable")
    parser.add_argument("--seconds", type=float, default=1800.0, help="of all targets together; inputs beyond are left out")
    parser.add_argument("--keep", type=Path, default=None, help="folder for inputs that did what they must not")
    parser.add_argument("--replay", type=Path, default=None, help="try this one file, with --target")
    asked = parser.parse_args()
    keep = (asked.keep or Path(tempfile.mkdtemp(prefix="findings-"))).resolve()
    chosen = tuple(TARGETS[name] for name in asked.target or TARGETS)
    if asked.replay:
        told = [try_target(chosen[0].name, asked.seed, 1, keep, asked.seconds, asked.replay.read_bytes())]
    else:
        keep.mkdir(parents=True, exist_ok=True)
        told, until = [], time.monotonic() + asked.seconds
        for name, inputs in shares(chosen, asked.inputs).items():
            told.append(watched(name, asked.seed, inputs, keep, until - time.monotonic()))
            each = told[-1]
            print(f"{name:14} {each.inputs:6} inputs {each.refused:6} refused {each.seconds:6.1f} s {each.peak_mb:6.0f} MB "
                  f"{len(each.findings):3} findings", flush=True)  # fmt: skip
    for each in told:
        for where, found in each.findings.items():
            print(f"\n{each.target}: {where}: {found['inputs']} inputs, the first: {keep / found['file']}\n{found['story']}")
    found = sum(len(each.findings) for each in told)
    print(f"{sum(each.inputs for each in told)} inputs, {found} findings, seed {asked.seed}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
