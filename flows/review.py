"""What a reviewer sees in the Prefect UI: the result table of a run and a contact sheet per camera."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from flows.tasks import slug
from flows.terminal import figures
from pipeline.calibration_report import REPORT
from pipeline.job import Step
from pipeline.report import contact_sheet
from pipeline.store import Ref, Store
from pipeline.types import Artefact

COLUMNS = ("stage", "clip", "part", "state", "rows", "wall s", "cpu s", "peak MB")
HEADLINE = {"rms_px": "RMS px", "sigma_mm": "1 sigma mm", "sigma_mrad": "1 sigma mrad"}


def show_results(session: str, steps: Sequence[Step], made: Sequence[tuple[Ref, Artefact]] = ()) -> None:
    """The result table of a run as an artifact: one row per call of a stage, below it where the calibration's report is and
    the figures of each call.

    In markdown, with the figures outside the table: cells of Prefect's tables cut long text off.
    """
    table = [_line(COLUMNS), _line(["---"] * len(COLUMNS)), *(_line(_cells(step)) for step in steps)]
    told = [
        f"- **{' '.join((step.stage, step.clip, step.part)).strip()}** {figures(step.summary)}"
        for step in steps
        if step.summary
    ]
    markdown = "\n".join([*table, "", *calibration_links(made), *told])
    create_markdown_artifact(markdown, slug(f"results-{session}"), f"What was made of {session}")


def calibration_links(made: Iterable[tuple[Ref, Artefact]]) -> list[str]:
    """A line of markdown for every calibration: a link to its report, the path to copy where a browser follows no link from
    a page to a file, and the headline: checks, worst RMS (px) and worst 1 sigma (mm, mrad)."""
    lines = []
    for _, artefact in made:
        report = artefact.path.resolve() / REPORT
        if artefact.kind == "calibrate" and report.is_file():
            worst = (_worst(artefact.summary.get(key), unit) for key, unit in HEADLINE.items())
            told = [f"checks {artefact.summary.get('gates', 'unknown')}", *filter(None, worst)]
            lines += [f"- **calibration report** [{REPORT}]({report.as_uri()}): {'; '.join(told)}. File: `{report}`"]
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


def show_contact_sheets(store: Store, made: Sequence[tuple[Ref, Artefact]]) -> None:
    """A contact sheet of every camera of every clip with people, as an artifact."""
    for ref, artefact in made:
        if artefact.kind == "detect":
            name = f"contact sheet {ref.clip} {ref.part}"
            show_contact_sheet.with_options(task_run_name=name).submit(store, ref, artefact).result()


@task(name="contact sheet", cache_policy=NO_CACHE, persist_result=False)
def show_contact_sheet(store: Store, ref: Ref, poses: Artefact) -> None:
    """Twelve instants of one camera with the people detected, as a picture in a markdown artifact."""
    jpeg = contact_sheet(store, ref.only("ingest"), poses, ref.clip, ref.part)
    picture = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
    heading = f"{store.session.name}: {ref.clip}, {ref.part}"
    markdown = f"## {heading}\n\n{figures(poses.summary)}\n\n![people detected by {ref.part}]({picture})\n"
    create_markdown_artifact(markdown, slug(f"contact-sheet-{heading}"), heading)
