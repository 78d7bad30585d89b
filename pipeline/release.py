"""A release: the approved datasets of one or several sessions as one versioned folder that never changes again.

OUT/v1/  data/{train,validation,test}-*.parquet   rows of tables.RELEASED
         trc/SESSION/                             trajectories, as exported
         README.md                                the card
         release.json                             counts, splits, statistics, decisions, lineage, for programs
         SHA256SUMS                               of every file, for `sha256sum --check`
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.atomic import fsync, new_folder
from pipeline.column_statistics import TableStatistics
from pipeline.config import ReleaseConfig, load_config, session_config
from pipeline.decisions import Decision, approved, decided_settings
from pipeline.errors import InputError
from pipeline.parquet import opened
from pipeline.progress import progress
from pipeline.release_card import record, release_card
from pipeline.remote import session_folder
from pipeline.review_rows import dataset_rows
from pipeline.session import Session
from pipeline.shards import ShardWriter
from pipeline.splits import SPLITS, Split, split
from pipeline.status import finished
from pipeline.store import Made, Store
from pipeline.tables import RELEASED, SAMPLES
from pipeline.types import Artefact

BATCH_BYTES, MOST_ROWS = 2**25, 1024  # of images in memory at a time
SUMS, SEALERS = "SHA256SUMS", 4


@dataclass(frozen=True)
class Approved:
    """A finished dataset that may be released: its session, all that led to it, and the decision."""

    root: Path
    session: Session
    made: Made
    dataset: Artefact
    decision: Decision | None


@dataclass(frozen=True)
class Released:
    """A new version: its folder, rows by split, and what was left out by hand."""

    folder: Path
    rows: dict[str, int]
    excluded: int


def release_sessions(
    roots: Sequence[Path | str], out: Path, version: str = "", preset: str = "", settings: Sequence[str] = ()
) -> Released:
    """Release the approved datasets of sessions by the first one's settings. Raises as those two do."""
    with ExitStack() as stack:
        folders = [stack.enter_context(session_folder(root)) for root in roots]
        sources = [approved_dataset(folder, preset, settings) for folder in folders]
        config = session_config(sources[0].session, preset, settings) if sources else load_config(preset or "default")
        return release(sources, out, config.release, version)


@dataclass(frozen=True)
class Finished:
    """A finished run: everything it made, its dataset, and the preset and settings that it is finished under."""

    made: Made
    dataset: Artefact
    preset: str
    settings: tuple[str, ...]


def finished_dataset(root: Path, preset: str = "", settings: Sequence[str] = ()) -> Finished:
    """The finished run of a session: under its own settings and those given, or under those that the last decision was about
    and those given over them. Raises InputError when it is finished under neither."""
    decided, before = decided_settings(root)
    try:
        return _finished(root, preset, tuple(settings))
    except InputError:
        if not decided and not before:
            raise
    return _finished(root, preset or decided, (*before, *settings))


def _finished(root: Path, preset: str, settings: tuple[str, ...]) -> Finished:
    made = finished(root, ("export",), preset, settings)
    return Finished(made, next(artefact for _, artefact in made if artefact.kind == "export"), preset, settings)


def approved_dataset(root: Path, preset: str = "", settings: Sequence[str] = ()) -> Approved:
    """What of a session may be released. Raises InputError when its run is not finished, StageError when nobody approved it
    or somebody rejected it."""
    run = finished_dataset(root, preset, settings)
    session = Store(root).session
    required = session_config(session, run.preset, run.settings).review.required
    return Approved(root, session, run.made, run.dataset, approved(root, run.dataset, required))


def release(sources: Sequence[Approved], out: Path, config: ReleaseConfig, version: str = "") -> Released:
    """Write OUT/<version> (default: the next of v1, v2, ...), whole or not at all, and read-only.

    Rows that were excluded in review stay out, with their generated children. Raises InputError for a version that is there
    and for sessions of one name.
    """
    names = [source.session.name for source in sources]
    if not names or len(set(names)) != len(names):
        raise InputError(f"release: expected sessions of different names, got {', '.join(names) or 'none'}")
    folder = out / (version or next_version(out))
    if folder.exists():
        raise InputError(f"{folder}: this version is there already, and a release is never changed; leave --version out")
    with new_folder(folder) as filling:
        rows = _fill(filling, sources, config, folder.name)
        _seal(filling)
    return Released(folder, rows, sum(len(source.decision.excluded) for source in sources if source.decision))


def next_version(out: Path) -> str:
    """v1 in an empty folder, then one more than the highest."""
    taken = [int(path.name[1:]) for path in out.glob("v*") if path.name[1:].isdigit()]
    return f"v{max(taken, default=0) + 1}"


def _fill(folder: Path, sources: Sequence[Approved], config: ReleaseConfig, version: str) -> dict[str, int]:
    where = _splits(sources, config)
    statistics, counts = _write_rows(folder / "data", sources, where, config)
    for source in sources:
        if (source.dataset.path / "trc").is_dir():
            shutil.copytree(source.dataset.path / "trc", folder / "trc" / source.session.name)
    told = record(version, sources, where, statistics, config) | {"counts": counts}
    (folder / "release.json").write_text(json.dumps(told, indent=1, default=str))
    (folder / "README.md").write_text(release_card(told, [source.made for source in sources]))
    return {name: table.rows for name, table in statistics.items()}


def _splits(sources: Sequence[Approved], config: ReleaseConfig) -> Split:
    columns = ["id", "clip", "t_ns", "person"]
    rows = (
        (source.session, row)
        for source in sources
        for row in dataset_rows(source.dataset, columns)
        if not source.decision or row["id"] not in source.decision.excluded
    )
    shares = {"train": 1.0 - config.validation - config.test, "validation": config.validation, "test": config.test}
    return split(rows, shares, config.seed)


def _write_rows(
    folder: Path, sources: Sequence[Approved], where: Split, config: ReleaseConfig
) -> tuple[dict[str, TableStatistics], dict[str, dict[str, int]]]:
    """Every row into its split; columns are copied as they are, so images are never decoded. Returns what was written."""
    wanted = [name for name in SPLITS if name in where.rows] or ["train"]
    statistics = {name: TableStatistics() for name in wanted}
    counts = {name: dict.fromkeys(("captured", "generated", "people"), 0) for name in wanted}
    with ExitStack() as stack, progress("release", sum(where.rows.values()), "rows") as advance:
        writers = {name: stack.enter_context(ShardWriter(folder, RELEASED, config.rows_per_shard, name)) for name in wanted}
        for source in sources:
            for table, splits in _tables(source, where, config):
                for name in wanted:
                    here = pc.equal(splits, name)
                    chosen = table if pc.all(pc.fill_null(here, False)).as_py() else table.filter(here)
                    writers[name].write_table(chosen)
                    statistics[name].add(chosen)
                    for kind, count in _counts(chosen).items():
                        counts[name][kind] += count
                advance(len(table))
    return statistics, counts


def _counts(table: pa.Table) -> dict[str, int]:
    origins = {kind: pc.sum(pc.equal(table["origin"], kind)).as_py() or 0 for kind in ("captured", "generated")}
    return origins | {"people": pc.sum(pc.list_value_length(table["person"])).as_py() or 0}


def _tables(source: Approved, where: Split, config: ReleaseConfig) -> Iterator[tuple[pa.Table, pa.Array]]:
    """Tables of RELEASED with the split of each row; null where a row is left out."""
    excluded = frozenset(source.decision.excluded if source.decision else ())
    name = source.session.name
    for shard in sorted((source.dataset.path / "data").glob("*.parquet")):
        with opened(shard, SAMPLES.names) as file:
            for batch in file.iter_batches(_batch_rows(file)):
                light = batch.select(["id", "clip", "t_ns", "origin"]).to_pylist()
                splits = [None if row["id"] in excluded else _split_of(row, name, where, config) for row in light]
                yield released_table(name, pa.Table.from_batches([batch])), pa.array(splits, pa.string())


def _batch_rows(file: pq.ParquetFile) -> int:
    """How many rows to take at once, by what a row of this file takes."""
    groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    row_bytes = sum(group.total_byte_size for group in groups) / max(1, file.metadata.num_rows)
    return max(1, min(MOST_ROWS, int(BATCH_BYTES / max(1.0, row_bytes))))


def _split_of(row: dict[str, Any], session: str, where: Split, config: ReleaseConfig) -> str | None:
    name = where.of[session, row["clip"], row["t_ns"]]
    return name if name == "train" or config.generated_in == "all" or row["origin"] == "captured" else None


def released_table(session: str, table: pa.Table) -> pa.Table:
    """Rows of SAMPLES as rows of RELEASED: ids begin with the session's name, so that they differ between sessions."""
    ids = pc.binary_join_element_wise(session, table["id"], "-")
    parents = pc.if_else(pc.equal(table["parent"], ""), "", pc.binary_join_element_wise(session, table["parent"], "-"))
    table = table.set_column(table.schema.get_field_index("id"), "id", ids)
    table = table.set_column(table.schema.get_field_index("parent"), "parent", parents)
    return table.add_column(0, "session", pa.array([session] * len(table), pa.string())).select(RELEASED.names)


def _seal(folder: Path) -> None:
    """Write the sums of all files, see them safely on the disk, and take the right to change them away."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with ThreadPoolExecutor(SEALERS) as sealers:  # reading and waiting for the disk let go of the interpreter
        sums = sealers.map(_sealed, files)
    (folder / SUMS).write_text("".join(f"{told}  {path.relative_to(folder)}\n" for told, path in zip(sums, files, strict=True)))
    _sealed(folder / SUMS)


def _sealed(path: Path) -> str:
    """The SHA-256 of a file that is on the disk now and can be written no more."""
    fsync(path)
    path.chmod(0o444)
    return _sha256(path)


def check_release(folder: Path) -> int:
    """Compare every file with its sum; returns their number. Raises InputError: one changed, is gone, or was added."""
    try:
        sums = dict(line.split("  ", 1)[::-1] for line in (folder / SUMS).read_text().splitlines())
    except FileNotFoundError as error:
        raise InputError(f"{folder}: expected a release (a folder with {SUMS}), found none") from error
    except ValueError as error:
        raise InputError(f"{folder / SUMS}: expected a line SUM, two blanks, FILE for each file of the release") from error
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    del files[SUMS]
    if gone := sorted(sums.keys() - files.keys()):
        raise InputError(f"{folder}: {gone[0]:.200}: this file of the release is gone")
    if added := sorted(files.keys() - sums.keys()):
        raise InputError(f"{folder}: {added[0]:.200}: is no file of this release; take it out of the folder")
    for name, path in files.items():
        if (found := _sha256(path)) != sums[name]:
            raise InputError(f"{path}: changed since its release: expected sha256 {sums[name]:.12}, found {found[:12]}")
    return len(sums)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
