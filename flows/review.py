"""What a reviewer sees in the Prefect UI: the result table of a run and a contact sheet per camera."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from flows.tasks import slug
from flows.terminal import figures
from pipeline.job import Step
from pipeline.report import contact_sheet
from pipeline.store import Ref, Store
from pipeline.types import Artefact


def show_results(session: str, steps: Sequence[Step]) -> None:
    """The result table of a run as an artifact: one row per call of a stage."""
    rows = [
        {
            "stage": step.stage,
            "clip": step.clip,
            "part": step.part,
            "state": "was done" if step.skipped else "made",
            "rows": step.rows,
            "wall s": round(step.wall_s, 1),
            "cpu s": round(step.cpu_s, 1),
            "peak MB": round(step.peak_mb),
            "figures": figures(step.summary),
        }
        for step in steps
    ]
    create_table_artifact(rows, slug(f"results-{session}"), f"What was made of {session}, and what was done already")


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
