"""The card of a release: what it holds, who decided, how it was split, where it came from, under which terms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import yaml

from pipeline.card import LABELS, markdown_table
from pipeline.column_statistics import TableStatistics
from pipeline.config import ReleaseConfig
from pipeline.lineage import lineage, mermaid, revision
from pipeline.splits import Split
from pipeline.store import Made

if TYPE_CHECKING:
    from pipeline.release import Approved

UNSTATED = "The recordings belong to whoever made them; their terms were not stated."
FILES = """## Files

- `data/`: Parquet for `datasets.load_dataset` or any other reader, images inside
- `trc/`: the accepted skeletons of each person over time, y-up, in metres
- `release.json`: the same for programs: counts, splits, statistics of every column, decisions, lineage with settings
- `SHA256SUMS`: of every file"""
# Columns whose statistics say something to a reader of the card; release.json has them all.
TOLD = ("width_px", "height_px", "x_px", "y_px", "x_m", "y_m", "z_m", "visible", "oks", "drift_px")


def record(
    version: str, sources: Sequence[Approved], where: Split, statistics: Mapping[str, TableStatistics], config: ReleaseConfig
) -> dict[str, Any]:
    """Everything about a release that a program may want to know: the content of release.json."""
    return {
        "version": version,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "posemill": revision(),
        "rows": {name: table.rows for name, table in statistics.items()},
        "splits": {name: list(where.holds.get(name, ())) for name in statistics},
        "settings": config.model_dump(mode="json"),
        "sessions": [_session(source) for source in sources],
        "statistics": {name: table.to_dict() for name, table in statistics.items()},
    }


def _session(source: Approved) -> dict[str, Any]:
    steps = lineage(source.made)
    return {
        "name": source.session.name,
        "dataset": source.dataset.digest,
        "counts": source.dataset.summary,
        "decision": None if source.decision is None else source.decision.model_dump(mode="json"),
        "networks": sorted(set(_networks(steps))),
        "lineage": steps,
    }


def _networks(steps: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """Every network that took part: name, hash, licence."""
    for step in steps:
        told = step["summary"] or {}
        if "weights_sha256" in told:
            licence = told.get("weights_licence", "not stated")
            yield f"{step['stage']}: weights {told['weights']}, sha256 {told['weights_sha256']}, licence: {licence}"
        if "generator" in told:
            yield f"{step['stage']}: generator {told['generator']}, licence: {told.get('generator_licence', 'not stated')}"


def release_card(told: Mapping[str, Any], made: Sequence[Made]) -> str:
    """README.md from the record, with a flowchart for each session."""
    sections = [
        _front_matter(told),
        f"# {', '.join(session['name'] for session in told['sessions'])}: {told['version']}\n\n"
        f"People in several calibrated views, made with posemill {told['posemill']} on {told['made_at'][:10]}. This version "
        "does not change any more; `sha256sum --check SHA256SUMS` tells whether it did.",
        _decisions(told["sessions"]),
        _splits(told),
        LABELS,
        "## Networks\n\n" + "\n".join(f"- {name}: {net}" for name, net in _all_networks(told)),
        "## Lineage\n\n" + "\n\n".join(
            f"### {session['name']}\n\n{mermaid(steps)}" for session, steps in zip(told["sessions"], made, strict=True)
        ),
        "## Statistics of train\n\n" + _statistics(told["statistics"].get("train", {})),
        f"## Licence\n\n{told['settings']['licence'] or UNSTATED}\n\nNetworks have terms of their own, stated above.",
        FILES,
        *(_settings(session) for session in told["sessions"]),
    ]  # fmt: skip
    return "\n\n".join(sections) + "\n"


def _settings(session: Mapping[str, Any]) -> str:
    """What every stage was told, folded away."""
    stages = {step["stage"]: step["config"] for step in session["lineage"]}
    text = yaml.safe_dump(stages)
    return f"<details><summary>Settings of {session['name']}</summary>\n\n```yaml\n{text}```\n\n</details>"


def _front_matter(told: Mapping[str, Any]) -> str:
    files = [{"split": name, "path": f"data/{name}-*.parquet"} for name in told["rows"]]
    content = {
        "pretty_name": ", ".join(session["name"] for session in told["sessions"]),
        "license": "other" if told["settings"]["licence"] else "unknown",
        "task_categories": ["keypoint-detection"],
        "tags": ["human-pose", "multi-view", "3d-pose"],
        "configs": [{"config_name": "default", "data_files": files}],
    }
    return f"---\n{yaml.safe_dump(content, sort_keys=False)}---"


def _decisions(sessions: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for session in sessions:
        decision = session["decision"] or {
            "verdict": "not asked for",
            "by": "-",
            "at": "-",
            "reason": "",
            "settings": [],
            "excluded": [],
        }
        changed = ", ".join(decision["settings"]) or "-"
        at = decision["at"][:16].replace("T", " ")
        left_out = str(len(decision["excluded"]))
        rows.append([session["name"], decision["verdict"], decision["by"], at, decision["reason"] or "-", changed, left_out])
    head = ["session", "decision", "by", "at (UTC)", "reason", "settings of the run", "rows left out by hand"]
    return "## Decisions\n\n" + markdown_table(
        head, [[cell.replace("|", "/").replace("\n", " ") for cell in row] for row in rows]
    )


def _splits(told: Mapping[str, Any]) -> str:
    kinds = ("captured", "generated", "people")
    rows = [
        [name, str(count), *(str(told["counts"][name][kind]) for kind in kinds), _some(told["splits"][name])]
        for name, count in told["rows"].items()
    ]
    which = "in `train` alone" if told["settings"]["generated_in"] == "train" else "in every split"
    text = markdown_table(["split", "rows", *kinds, "holds"], rows)
    lacking = [name for name in ("validation", "test") if told["settings"][name] and name not in told["rows"]]
    note = (
        f"\n\nThere is no {' and no '.join(lacking)}: all these rows hang together. Name the people of each clip in "
        "session.yaml (`people:`), or release several sessions at once."
    ) if lacking else ""  # fmt: skip
    return (
        "## Splits\n\nNo person, session, instant or parent is in two splits. People without a name count as their session. "
        f"Generated images are {which}.\n\n{text}{note}"
    )


def _some(names: Sequence[str], limit: int = 12) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more or "-"


def _all_networks(told: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for session in told["sessions"]:
        yield from ((session["name"], network) for network in session["networks"])


def _statistics(columns: Mapping[str, Mapping[str, Any]]) -> str:
    keys = ("values", "missing", "min", "mean", "std", "max")
    rows = [[name, *(_number(columns[name].get(key)) for key in keys)] for name in TOLD if name in columns]
    return markdown_table(["column", *keys], rows)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"
