"""Releasing as a flow: approved datasets become one version that never changes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.concurrency.sync import concurrency
from prefect.runtime import flow_run
from pydantic import Field

from flows.build_dataset import Settings
from flows.names import DISK_SLOT
from flows.tasks import progress_in_ui, slug
from pipeline.progress import listen
from pipeline.release import release_sessions

Sessions = Annotated[list[str], Field(min_length=1)]
Out = Annotated[str, Field(min_length=1)]
Version = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]*$")]


def _run_name() -> str:
    wanted = flow_run.parameters
    names = ", ".join(Path(session).name for session in wanted["sessions"])
    return f"{names}, {Path(wanted['out']).name} {wanted.get('version') or ''}".strip()


@flow(name="release-dataset", flow_run_name=_run_name, persist_result=False, timeout_seconds=12 * 3600.0)
def release_dataset(
    sessions: Sessions,
    out: Out = "data/releases/dataset",
    version: Version = "",
    preset: str = "",
    settings: Settings = [],  # noqa: B006
) -> str:
    """Release sessions together, split by person and session. Returns the folder of the version.

    Raises StageError naming a session that nobody approved; then nothing is released.

    Args:
        sessions: folders of sessions whose datasets were approved
        out: folder of the versions; each becomes a new folder in it
        version: name of the version; empty: v1, v2, ...
        preset: of the runs that made the datasets; empty: what was decided about
        settings: of the runs that made the datasets, each as stage.key=value; none: what was decided about
    """
    with concurrency(DISK_SLOT, occupy=1, strict=False), listen(progress_in_ui):
        made = release_sessions(sessions, Path(out), version, preset, settings)
    card = (made.folder / "README.md").read_text()
    body = card.split("---\n", 2)[-1]  # without the front matter, which is for programs
    create_markdown_artifact(body, slug(f"release-{Path(out).name}"), f"Card of {made.folder.resolve()}")
    return str(made.folder)
