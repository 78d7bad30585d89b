"""Writing a release against the `datasets` library's own writer: rows a second and peak memory, in one run.

    python -m tests.benchmarks.bench_export --rows 100000     (bars: at least as fast; below 1 GiB)

Both begin with the same exported Parquet shards (images of about 20 kB inside) and write Parquet shards with the Hugging Face
features. Each runs in a process of its own, so that its peak memory is its own; `datasets` reads with `load_dataset` and
writes with `to_parquet`. The release also splits, filters, makes statistics and sums every file; `datasets` only copies.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pipeline.bench import samples
from pipeline.config import ReleaseConfig
from pipeline.release import Approved, release
from pipeline.samples import sample_rows
from pipeline.session import Clip, Session
from pipeline.shards import ShardWriter
from pipeline.tables import SAMPLES
from pipeline.types import Artefact

PER_SHARD = 5000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--write", nargs=3, metavar=("WHO", "FROM", "TO"), help="one of the two, in this process")
    asked = parser.parse_args()
    if asked.write:
        write(*asked.write)
        return
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "export"
        make_export(source, asked.rows)
        size_mb = sum(file.stat().st_size for file in source.rglob("*.parquet")) / 1e6
        print(f"{asked.rows} rows, {size_mb:.0f} MB", flush=True)
        found: dict[str, list[tuple[float, float]]] = {"release": [], "datasets": []}
        for number in range(asked.rounds):
            for who in found:
                found[who].append(in_own_process(who, source, Path(folder) / f"{who}{number}"))
    for who, told in found.items():
        seconds, peak_mb = min(each[0] for each in told), max(each[1] for each in told)
        print(f"{who}: {seconds:.1f} s ({asked.rows / seconds:.0f} rows/s), peak memory {peak_mb:.0f} MB")
    ratio = min(each[0] for each in found["datasets"]) / min(each[0] for each in found["release"])
    print(f"the release is {ratio:.2f} times as fast (bar 1)")


def make_export(folder: Path, rows: int) -> None:
    with ShardWriter(folder / "data", SAMPLES, 1000) as shards:
        for row in sample_rows(samples(rows)):
            shards.write(row)


def in_own_process(who: str, source: Path, target: Path) -> tuple[float, float]:
    """Seconds and peak MB."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_export", "--write", who, str(source), str(target)]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    return told["seconds"], told["peak_mb"]


def write(who: str, source: str, target: str) -> None:
    """One of the two; prints seconds and peak memory as JSON. What is imported and read before does not count as time."""
    if who == "release":
        dataset = Artefact("export", Path(source), "ab" * 32, 0)
        session = Session(name="s", cameras=("cam1",), clips=(Clip(name="walk", sources={}),))
        begin = time.perf_counter()
        release([Approved(Path(source), session, [], dataset, None)], Path(target), ReleaseConfig())
    else:
        from datasets import load_dataset

        begin = time.perf_counter()
        rows = load_dataset(source, cache_dir=f"{target}-cache")["train"]
        Path(target).mkdir()
        for number in range(-(-len(rows) // PER_SHARD)):
            part = rows.select(range(number * PER_SHARD, min((number + 1) * PER_SHARD, len(rows))))
            part.to_parquet(f"{target}/train-{number:05d}.parquet")
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": time.perf_counter() - begin, "peak_mb": peak_mb}))


if __name__ == "__main__":
    main()
