"""What was left out of a dataset and why: skeletons that failed the audit, generated images that failed their check."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.store import Made
from pipeline.tables import stream_rows
from pipeline.types import Artefact


def rejections(made: Made) -> Iterator[dict[str, Any]]:
    """A row for each reason why a skeleton or an image of a run was rejected: what, clip, time_s, who, and the reason in words
    with numbers."""
    for ref, artefact in made:
        if artefact.kind == "audit":
            yield from _skeletons(ref.clip, artefact)
        elif artefact.kind == "augment":
            yield from _images(artefact)


def _skeletons(clip: str, audit: Artefact) -> Iterator[dict[str, Any]]:
    """Least likely poses first, then those that were not judged, in the order of time."""
    rows = stream_rows(audit.path, ["t_ns", "person", "accepted", "reasons", "p_value"])
    rejected = [row for row in rows if not row["accepted"]]
    for row in sorted(rejected, key=lambda row: 2.0 if row["p_value"] is None else row["p_value"]):
        yield from _reasons("skeleton", clip, f"person {row['person']}", row)


def _images(augment: Artefact) -> Iterator[dict[str, Any]]:
    for row in stream_rows(augment.path, ["id", "clip", "camera", "t_ns", "verdict", "reasons"]):
        if row["verdict"] == "rejected":
            variant = row["id"].rpartition("-g")[2]
            yield from _reasons("image", row["clip"], f"{row['camera']}, variant {variant}", row)


def _reasons(what: str, clip: str, who: str, row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    at = f"{row['t_ns'] / 1e9:.3f}"
    yield from ({"what": what, "clip": clip, "time_s": at, "who": who, "reason": reason} for reason in row["reasons"])
