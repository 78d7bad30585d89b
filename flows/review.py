"""What a reviewer sees in the Prefect UI of a run: results, calibration checks, contact sheets, generated images beside their
sources, what was rejected and why, lineage; and the question that ends with a decision."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from flows.report_server import report_url
from flows.tasks import PrefectRunner, slug
from flows.terminal import figures
from pipeline.calibration_report import GATES, REPORT
from pipeline.generated_sheet import generated_sheet
from pipeline.job import Step
from pipeline.lineage import mermaid
from pipeline.rejections import rejections
from pipeline.report import contact_sheet
from pipeline.review_rows import write_review
from pipeline.store import Made, Ref, Store
from pipeline.types import Artefact

COLUMNS = ("stage", "clip", "part", "state", "rows", "wall s", "cpu s", "peak MB")
HEADLINE = {"rms_px": "RMS px", "sigma_mm": "1 sigma mm", "sigma_mrad": "1 sigma mrad"}
MOST_REJECTIONS = 1000  # lines of a table that pages and searches in the browser


def show_review(store: Store, runner: PrefectRunner, dataset: Artefact) -> None:
    """Everything that a decision about a dataset needs, as artifacts of the run."""
    for _, artefact in runner.made:
        store.fetch(artefact)
    write_review(store.root, dataset, runner.made)
    show_results(store, runner.steps, runner.made)
    show_gates(store, runner.of("calibrate"))
    show_contact_sheets(store, runner.of("detect"))
    show_generated(store, runner.of("augment"))
    show_rejections(store, runner.made)
    show_lineage(store, runner.made)


def show_lineage(store: Store, made: Made) -> None:
    """What came from what, as a flowchart; of Prefect's two UIs the second draws it, the first shows its text."""
    told = "Drawn as a flowchart in the UI's second version: *Switch to V2 UI*, below on the left."
    create_markdown_artifact(f"{told}\n\n{mermaid(made)}", slug(f"lineage-{store.session.name}"), "What came from what")


def show_results(store: Store, steps: Sequence[Step], made: Made = ()) -> None:
    """The result table of a run: one row per call of a stage, below it where the calibration's report is and the figures of
    each call.

    In markdown, with the figures outside the table: cells of Prefect's tables cut long text off.
    """
    name = store.session.name
    markdown = "\n".join([*_result_lines(steps), "", *calibration_links(store, made), *_told(steps)])
    create_markdown_artifact(markdown, slug(f"results-{name}"), f"What was made of {name}")


def _result_lines(steps: Sequence[Step]) -> list[str]:
    return [_line(COLUMNS), _line(["---"] * len(COLUMNS)), *(_line(_cells(step)) for step in steps)]


def _told(steps: Sequence[Step]) -> list[str]:
    named = ((" ".join((step.stage, step.clip, step.part)).strip(), step.summary) for step in steps if step.summary)
    return [f"- **{name}** {figures(summary)}" for name, summary in named]


def calibration_links(store: Store, made: Made) -> list[str]:
    """A line of markdown for every calibration: a link to its report, the path to copy, and the headline: checks, worst RMS
    (px) and worst 1 sigma (mm, mrad)."""
    lines = []
    for _, artefact in made:
        report = artefact.path.resolve() / REPORT
        if artefact.kind == "calibrate" and report.is_file():
            worst = (_worst(artefact.summary.get(key), unit) for key, unit in HEADLINE.items())
            told = [f"checks {artefact.summary.get('gates', 'unknown')}", *filter(None, worst)]
            link = report_url(store.root, report)
            lines += [f"- **calibration report** [{REPORT}]({link}): {'; '.join(told)}. File: `{report}`"]
    return lines


def _worst(by_camera: Mapping[str, float] | None, unit: str) -> str:
    if not by_camera:
        return ""
    camera = max(by_camera, key=lambda name: by_camera[name])
    return f"{unit} at most {by_camera[camera]:.3g} ({camera})"


def _cells(step: Step) -> list[str]:
    cost = ["", "", ""] if step.skipped else [f"{step.wall_s:.1f}", f"{step.cpu_s:.1f}", f"{step.peak_mb:.0f}"]
    return [step.stage, step.clip, step.part, "was done" if step.skipped else "made", str(step.rows), *cost]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def show_gates(store: Store, rigs: Made) -> None:
    """Every check of the rig with what was found and expected, failed ones first."""
    for _, rig in rigs:
        if (rig.path / GATES).is_file():
            gates = sorted(json.loads((rig.path / GATES).read_text()), key=lambda gate: gate["passed"])
            rows = [
                {"check": gate["name"], "passed": "yes" if gate["passed"] else "NO", "found": gate["found"],
                 "expected": gate["expected"]} for gate in gates
            ]  # fmt: skip
            create_table_artifact(rows, slug(f"calibration-{store.session.name}"), f"Checks of the rig {rig.path.name}")


def show_contact_sheets(store: Store, poses: Made) -> None:
    """A contact sheet of every camera of every clip with people."""
    for ref, artefact in poses:
        named = show_contact_sheet.with_options(task_run_name=f"contact sheet {ref.clip} {ref.part}")
        named.submit(store, ref, artefact).result()


@task(name="contact sheet", cache_policy=NO_CACHE, persist_result=False)
def show_contact_sheet(store: Store, ref: Ref, poses: Artefact) -> None:
    """Twelve instants of one camera with the people detected, as a picture in a markdown artifact."""
    store.prepare("detect", ref)
    jpeg = contact_sheet(store, store.here(ref).only("ingest"), store.fetch(poses), ref.clip, ref.part)
    heading = f"{store.session.name}: {ref.clip}, {ref.part}"
    markdown = f"## {heading}\n\n{figures(poses.summary)}\n\n![people detected by {ref.part}]({_data_uri(jpeg)})\n"
    create_markdown_artifact(markdown, slug(f"contact-sheet-{heading}"), heading)


def show_generated(store: Store, generated: Made) -> None:
    """Generated images beside the captured ones whose poses they have, framed by their verdicts."""
    for ref, artefact in generated:
        named = show_generated_sheet.with_options(task_run_name=f"generated sheet {ref.clip}")
        named.submit(store, ref, artefact).result()


@task(name="generated sheet", cache_policy=NO_CACHE, persist_result=False)
def show_generated_sheet(store: Store, ref: Ref, generated: Artefact) -> None:
    """A dozen pairs of one clip as a picture in a markdown artifact; nothing where nothing was generated."""
    store.prepare("augment", ref)
    if jpeg := generated_sheet(store, store.here(ref), store.fetch(generated)):
        heading = f"{store.session.name}: generated for {ref.clip}"
        told = "Left as filmed, right as generated under the same pose; green: accepted, red: rejected, and why."
        markdown = f"## {heading}\n\n{told}\n\n{figures(generated.summary)}\n\n![generated images]({_data_uri(jpeg)})\n"
        create_markdown_artifact(markdown, slug(f"generated-{heading}"), heading)


def _data_uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def show_rejections(store: Store, made: Made) -> None:
    """What was left out and why, a line for each skeleton and image; beyond a thousand the dataset's card counts them."""
    rows = list(islice(rejections(made), MOST_REJECTIONS)) or [{"what": "nothing was rejected"}]
    told = f"Rejected: {len(rows) if 'who' in rows[0] else 0} lines" + (", the first" if len(rows) == MOST_REJECTIONS else "")
    create_table_artifact(rows, slug(f"rejected-{store.session.name}"), told)


def question(store: Store, runner: PrefectRunner, dataset: Artefact, complaint: str = "") -> str:
    """The text above the form: what there is to decide about, where to look and where to mark rows; first what was wrong with
    the last answer."""
    marks = write_review(store.root, dataset, runner.made).resolve()
    # Two pairs: a window that is not tall squeezes more of them into nothing.
    sheets = [generated_sheet(store, ref, made, pairs=2, columns=2, max_bytes=60_000) for ref, made in runner.of("augment")]
    lines = [
        f"**The last answer could not be taken: {complaint}**" if complaint else "",
        f"## May this dataset of {store.session.name} be released?",
        f"{dataset.rows} rows: {figures(dataset.summary)}",
        "\n".join(calibration_links(store, runner.made)),
        "The run's **Artifacts** show results, checks, contact sheets, generated images and what was rejected.",
        f"To leave out single rows, mark them in the first column of [{marks.name}]({report_url(store.root, marks)}) before "
        f"you answer. File: `{marks}`",
        *(f"![generated images]({_data_uri(jpeg)})" for jpeg in sheets if jpeg),
    ]
    return "\n\n".join(filter(None, lines))
