"""What was left out of a dataset and why: skeletons that failed the audit, generated images that failed their check."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pipeline.store import Ref
from pipeline.tables import stream_rows
from pipeline.types import Artefact

Made = Iterable[tuple[Ref, Artefact]]


def rejections(made: Made) -> Iterator[dict[str, Any]]:
    """A row for each skeleton or image of a run that was rejected: what, clip, time_s, who, reasons in words with numbers."""
    for ref, artefact in made:
        if artefact.kind == "audit":
            yield from _skeletons(ref.clip, artefact)
        elif artefact.kind == "augment":
            yield from _images(artefact)


def _skeletons(clip: str, audit: Artefact) -> Iterator[dict[str, Any]]:
    for row in stream_rows(audit.path, ["t_ns", "person", "accepted", "reasons"]):
        if not row["accepted"]:
            who = f"person {row['person']}"
            yield {"what": "skeleton", "clip": clip, "time_s": _time(row), "who": who, "reasons": "; ".join(row["reasons"])}


def _images(augment: Artefact) -> Iterator[dict[str, Any]]:
    for row in stream_rows(augment.path, ["id", "clip", "t_ns", "verdict", "reasons"]):
        if row["verdict"] == "rejected":
            reasons = "; ".join(row["reasons"])
            yield {"what": "image", "clip": row["clip"], "time_s": _time(row), "who": row["id"], "reasons": reasons}


def _time(row: dict[str, Any]) -> str:
    return f"{row['t_ns'] / 1e9:.3f}"
