"""The dataset card: what a dataset holds, how it was made, what was left out and why (README.md with YAML front matter)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from pipeline.config import ExportConfig
from pipeline.lineage import manifest_of
from pipeline.store import Ref
from pipeline.tables import stream_rows
from pipeline.types import DEFAULT_TOPOLOGY, Artefact


@dataclass
class Counts:
    """What went into the dataset, and what did not."""

    captured: int = 0
    generated: int = 0
    rejected_generated: int = 0
    people: int = 0
    joints_seen: int = 0
    joints_hidden: int = 0
    ignore_boxes: int = 0
    per_view: Counter[tuple[str, str]] = field(default_factory=Counter)
    generators: Counter[str] = field(default_factory=Counter)

    def add(self, row: dict[str, Any]) -> None:
        """Count an accepted SAMPLES row."""
        flat = [v for person in row["visible"] for v in person]
        self.captured += row["origin"] == "captured"
        self.generated += row["origin"] == "generated"
        self.people += len(row["visible"])
        self.joints_seen += flat.count(2)
        self.joints_hidden += flat.count(1)
        self.ignore_boxes += len(row["ignore_xywh_px"])
        self.per_view[row["clip"], row["camera"]] += 1
        self.generators[row["generator"]] += bool(row["generator"])

    def reject(self, row: dict[str, Any]) -> None:
        """Count a generated SAMPLES row that failed its check."""
        self.rejected_generated += 1
        self.generators[row["generator"]] += bool(row["generator"])

    def figures(self) -> dict[str, Any]:
        """For the result table."""
        names = ("captured", "generated", "rejected_generated", "people", "joints_seen", "joints_hidden", "ignore_boxes")
        return {name: getattr(self, name) for name in names}


def card(session: str, clips: Sequence[Ref], counts: Counts, config: ExportConfig) -> str:
    """README.md. It holds nothing that changes from run to run."""
    sections = [
        _front_matter(session, counts),
        f"# {session}: people in several calibrated views\n\n"
        "Made with posemill from synchronised recordings: people detected in every view, matched, triangulated, checked, and "
        "projected back into the images as labels.",
        _contents(counts, config),
        LABELS,
        _making(clips, counts),
        _rejections(clips, counts),
        "## Settings\n\n```yaml\n" + yaml.safe_dump(_settings(clips) | {"export": config.model_dump(mode="json")}) + "```",
        "## Licence\n\nThe recordings belong to whoever made them: state their terms here, and the consent of the people "
        "shown, before passing this dataset on.",
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(session: str, counts: Counts) -> str:
    rows = counts.captured + counts.generated
    sizes = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    content = {
        "pretty_name": session,
        "license": "unknown",
        "task_categories": ["keypoint-detection"],
        "tags": ["human-pose", "multi-view", "3d-pose"],
        "size_categories": [next((name for limit, name in sizes if rows < limit), "1M<n<10M")],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}],
    }
    return f"---\n{yaml.safe_dump(content, sort_keys=False)}---"


def _contents(counts: Counts, config: ExportConfig) -> str:
    views = [[clip, camera, str(count)] for (clip, camera), count in sorted(counts.per_view.items())]
    return (
        "## Contents\n\n"
        f"{counts.captured} captured and {counts.generated} generated images with {counts.people} labelled people: "
        f"{counts.joints_seen} joints seen, {counts.joints_hidden} hidden or not detected, {counts.ignore_boxes} boxes around "
        f"people without a label. Captured images have a long side of at most {config.image_long_side_px} px.\n\n"
        + markdown_table(["clip", "camera", "images"], views)
        + "\n\nThere is one split, `train`. To make others, split by `clip` or by `t_ns`, never by camera: all views of an "
        "instant show the same pose.\n\n"
        "- `data/`: Parquet for `datasets.load_dataset` or any other reader, images inside\n"
        "- `coco/annotations.json` with `coco/images/`: the same as COCO keypoints\n"
        "- `trc/`: the accepted skeletons of each person over time, y-up, in metres\n"
        "- `rejected/`: generated images that failed their check, if there were any"
    )


LABELS = (
    "## Labels\n\n"
    f"Joints of `{DEFAULT_TOPOLOGY.name}`: {', '.join(DEFAULT_TOPOLOGY.joints)}. `x_px`, `y_px`: pixels of the stored image, "
    "(0, 0) being the centre of the top-left pixel. `x_m`, `y_m`, `z_m`: world metres, z up. `visible`: 2 where the joint was "
    "also detected in this image, 1 where it is only projected from other views (hidden, or missed), 0 outside the image or "
    "unknown (then NaN). `ignore_xywh_px`: left, top, width, height of boxes around people without a label: mask the loss there"
    " (crowd boxes in COCO). `person`: who it is, a number within the clip."
)


def _making(clips: Sequence[Ref], counts: Counts) -> str:
    found = sorted({_finder(artefact.summary) for clip in clips for artefact in clip.all("detect")})
    lines = [f"- 2D joints: {finder}" for finder in found]
    lines += [
        f"- rig: {_figures(artefact.summary)}"
        for artefact in {clip.only("calibrate").digest: clip.only("calibrate") for clip in clips}.values()
    ]
    for clip in clips:
        told = {name: value for name, value in clip.only("reconstruct").summary.items() if name != "bumps"}
        lines.append(f"- 3D joints, {clip.clip}: {_figures(told)}")  # of bumps the warning speaks, in words
    lines += [f"- generated images: {name} ({count})" for name, count in sorted(counts.generators.items()) if count]
    return "## How it was made\n\n" + "\n".join(lines)


def _finder(figures: Mapping[str, Any]) -> str:
    if "imported" in figures:
        return f"imported from another tool ({figures['imported']}, sha256 {figures['imported_sha256'][:12]})"
    licence = figures.get("weights_licence", "not stated")
    return f"posemill's detector, weights {figures['weights']} (sha256 {figures['weights_sha256'][:12]}, licence: {licence})"


def _rejections(clips: Sequence[Ref], counts: Counts) -> str:
    rows = []
    for clip in clips:
        figures = clip.only("audit").summary
        why = ", ".join(f"{gate} {count}" for gate, count in figures["rejected_by"].items()) or "-"
        rows.append([clip.clip, str(figures["accepted"]), str(figures["rejected"]), why])
    text = "## What was left out\n\n" + markdown_table(
        ["clip", "skeletons accepted", "rejected", "by gate (one can fail several)"], rows
    )
    examples = _examples(clips)
    if examples:
        text += "\n\nFor example:\n\n" + "\n".join(f"- {example}" for example in examples)
    if counts.rejected_generated:
        text += (
            f"\n\n{counts.rejected_generated} generated images failed their check; `rejected/` holds them with their reasons."
        )
    return text


def _examples(clips: Sequence[Ref], limit: int = 5) -> list[str]:
    """The first rejections of every gate, in words."""
    seen: set[tuple[str, str]] = set()
    examples = []
    for clip in clips:
        for row in stream_rows(clip.only("audit").path, ["t_ns", "person", "gates", "reasons"]):
            new = {(clip.clip, gate) for gate in row["gates"]} - seen
            if new:
                seen |= new
                examples.append(f"{clip.clip}, {row['t_ns'] / 1e9:.3f} s, person {row['person']}: {'; '.join(row['reasons'])}")
    return examples[:limit]


def _settings(clips: Iterable[Ref]) -> dict[str, Any]:
    """The settings of every stage that led here, as its manifest has them."""
    return {artefact.kind: _config_of(artefact) for clip in clips for artefact in clip.inputs}


def _config_of(artefact: Artefact) -> Any:
    return manifest_of(artefact).get("config", {})


def _figures(figures: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items())


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows as a table in markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
