"""Where a result came from: the chain of manifests that led to it, as records and as a mermaid graph."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline.plain_text import table_of
from pipeline.store import Made, Ref
from pipeline.types import Artefact

Box = tuple[str, str]  # stage and clip
ROOT = Path(__file__).resolve().parent.parent


def manifest_of(artefact: Artefact) -> dict[str, Any]:
    """What the store wrote beside a result: stage, version, config, inputs, summary. {} where it is not there any more."""
    return table_of(artefact.manifest_path)


def lineage(made: Made) -> list[dict[str, Any]]:
    """Every result of a run, in its order: stage, clip, part, digest, version, config, digests of inputs, rows, summary."""
    keys = ("stage", "clip", "part", "digest", "version", "config", "inputs", "rows", "summary")
    return [{key: manifest.get(key) for key in keys} for _, artefact in made if (manifest := manifest_of(artefact))]


def mermaid(made: Made) -> str:
    """A flowchart of a run: one box per stage and clip, its parts joined, with rows and digest; arrows from inputs."""
    boxes: dict[Box, list[tuple[Ref, Artefact]]] = {}
    box_of: dict[str, Box] = {}
    for ref, artefact in made:
        boxes.setdefault((artefact.kind, ref.clip), []).append((ref, artefact))
        box_of[artefact.digest] = (artefact.kind, ref.clip)
    ids = {box: f"n{number}" for number, box in enumerate(boxes)}
    lines = [f'    {ids[box]}["{_label(box, members)}"]' for box, members in boxes.items()]
    lines += sorted(f"    {ids[a]} --> {ids[b]}" for a, b in _arrows(boxes, box_of))
    return "\n".join(["```mermaid", "flowchart LR", *lines, "```"])


def _arrows(boxes: Mapping[Box, list[tuple[Ref, Artefact]]], box_of: Mapping[str, Box]) -> set[tuple[Box, Box]]:
    """Between boxes, without those that go by way of another box anyway: a stage gets all that came before it."""
    direct = {
        box: {box_of[made.digest] for ref, _ in members for made in ref.inputs if made.digest in box_of} - {box}
        for box, members in boxes.items()
    }
    above = {box: set().union(*(direct[parent] for parent in parents)) for box, parents in direct.items()}
    return {(parent, box) for box, parents in direct.items() for parent in parents - above[box]}


def _label(box: Box, members: list[tuple[Ref, Artefact]]) -> str:
    stage, clip = box
    rows = sum(artefact.rows for _, artefact in members)
    parts = f", {len(members)} parts" if len(members) > 1 else ""
    digest = members[0][1].digest[:8] if len(members) == 1 else ""
    return "<br>".join(filter(None, [f"<b>{stage}</b> {clip}".strip(), f"{rows} rows{parts}", digest]))


def revision() -> str:
    """posemill's version and, in a git checkout, its commit: ``0.1.0+g0123abcd``, with ``.changed`` when files differ."""
    told = version("posemill")
    try:
        commit = _git("rev-parse", "--short=8", "HEAD")
        return f"{told}+g{commit}" + (".changed" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return told


def _git(*words: str) -> str:
    if not (ROOT / ".git").exists():
        raise OSError("no checkout")
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
