"""The command that puts cameras of one clip on one clock."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli_run import SessionArgument
from flows.terminal import JsonOption, SetOption, answering, rows_table, say


def sync(
    session: SessionArgument,
    clip: Annotated[str, typer.Option("--clip", help="The clip whose cameras did not start together.")],
    method: Annotated[
        str, typer.Option("--method", help="auto (each in turn, the surest), audio, keypoints, flash or motion.")
    ] = "auto",
    max_offset: Annotated[
        float, typer.Option("--max-offset", metavar="SECONDS", min=0.1, help="Cameras started at most this far apart.")
    ] = 5.0,
    settings: SetOption = [],  # noqa: B006
    as_json: JsonOption = False,
) -> None:
    """Measure offset and drift of every camera's clock, with standard errors, and keep them in session.yaml. The next run puts
    frames of one instant together by them. Where no method is sure, nothing is written."""
    with answering(as_json) as answer:
        from pipeline.clip_clock import sync_clip

        clock = sync_clip(session, clip, method, max_offset, settings, say)
        answer.values |= {"session": str(session), "clip": clip, **clock.model_dump()}
        rows = [
            {"camera": name, "offset s": offset_s, "1 sigma ms": clock.sigma_ms[name], "drift ppm": clock.drift_ppm[name],
             "1 sigma ppm": clock.drift_sigma_ppm[name]} for name, offset_s in clock.offset_s.items()
        ]  # fmt: skip
        answer.show(rows_table(rows), f"measured by {clock.method}; kept in {session / 'session.yaml'}")
