"""review.csv: every row of a finished dataset, so that a reviewer can leave out single ones by marking them.

Rows whose people stand least likely, by the pose prior, come first.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pipeline.atomic import write_atomically
from pipeline.errors import InputError
from pipeline.store import Made
from pipeline.tables import stream_rows
from pipeline.types import Artefact

COLUMNS = ("exclude", "id", "clip", "camera", "time_s", "origin", "people", "joints", "least_p", "least_oks", "parent")
# All that a line needs: images stay on the disk.
_READ = ["id", "clip", "camera", "t_ns", "origin", "visible", "person", "oks", "parent"]
_P = ["t_ns", "person", "p_value"]


def review_file(session: Path, dataset: Artefact) -> Path:
    """Where the list of a dataset's rows is: another dataset has another."""
    return Path(session) / "review" / f"review-{dataset.digest[:8]}.csv"


def write_review(session: Path, dataset: Artefact, made: Made = ()) -> Path:
    """Write the list with nothing marked, unless it is there already: marks are never written over. Returns its path.

    made: what the run made; its audits tell how likely people's poses are.
    """
    path = review_file(session, dataset)
    if not path.exists():
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(COLUMNS)
        lines.writerows(_least_likely_first(dataset_rows(dataset, _READ), p_values(made)))
        write_atomically(path, text.getvalue())
    return path


def dataset_rows(dataset: Artefact, columns: list[str] | None = None, part: str = "data") -> Iterator[dict[str, Any]]:
    """SAMPLES rows of a finished dataset in order; part "rejected": the generated ones that failed their check."""
    for shard in sorted((dataset.path / part).glob("*.parquet")):
        yield from stream_rows(shard, columns)


def p_values(made: Made) -> dict[tuple[str, int, int], float]:
    """The p-value of every pose that was judged, by clip, t_ns and person."""
    rows = ((ref.clip, row) for ref, artefact in made if artefact.kind == "audit" for row in stream_rows(artefact.path, _P))
    return {(clip, row["t_ns"], row["person"]): row["p_value"] for clip, row in rows if row["p_value"] is not None}


def _least_likely_first(rows: Iterable[dict[str, Any]], p: dict[tuple[str, int, int], float]) -> list[list[Any]]:
    """Lines in that order; those of nobody who was judged come last, in their own."""
    least = ((min((p.get((r["clip"], r["t_ns"], who), 2.0) for who in r["person"]), default=2.0), r) for r in rows)
    return [_line(row, value) for value, row in sorted(least, key=lambda each: each[0])]


def _line(row: dict[str, Any], p: float) -> list[Any]:
    joints = sum(v > 0 for person in row["visible"] for v in person)
    oks, told = f"{min(row['oks']):.3f}" if row["oks"] else "", f"{p:.2g}" if p <= 1 else ""
    at = f"{row['t_ns'] / 1e9:.3f}"
    who = [len(row["visible"]), joints, told, oks]
    return ["", row["id"], row["clip"], row["camera"], at, row["origin"], *who, row["parent"]]


def excluded(session: Path, dataset: Artefact) -> tuple[str, ...]:
    """Ids of the rows that are marked: anything in the first column. Children of an excluded image go with it.

    Raises InputError naming the file and line of an id that the dataset does not have.
    """
    path = review_file(session, dataset)
    if not path.is_file():
        return ()
    parents = {row["id"]: row["parent"] for row in dataset_rows(dataset, ["id", "parent"])}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            # Spreadsheets write semicolons where the comma is the decimal sign.
            mark = max(",;\t", key=file.readline().count)
            file.seek(0)
            marked = set(_marked(path, csv.DictReader(file, delimiter=mark), set(parents)))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: expected a table with commas in UTF-8 ({error}); save it again as CSV UTF-8") from error
    return tuple(sorted(own for own, parent in parents.items() if own in marked or parent in marked))


def _marked(path: Path, lines: csv.DictReader[str], known: set[str]) -> Iterator[str]:
    if not {"exclude", "id"} <= set(lines.fieldnames or ()):
        raise InputError(f"{path}: expected the columns exclude and id, found {', '.join(lines.fieldnames or ('none',))}")
    for line in lines:
        if (line["exclude"] or "").strip():
            if line["id"] not in known:
                raise InputError(f"{path}, line {lines.line_num}: the dataset has no row {line['id']!r}; delete the line")
            yield line["id"]
