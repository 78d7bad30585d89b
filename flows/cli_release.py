"""Commands that hand data out: decide about a dataset, release it, export it in one format."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.terminal import JsonOption, PresetOption, SetOption, answering, figures, rows_table


def review(
    session: Annotated[Path, typer.Argument(help="A session whose run is finished.")],
    approve: Annotated[bool, typer.Option("--approve", help="Its dataset may be released.")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="It may not; asks for --reason.")] = False,
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="Who decides; stands in the card of a release.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why; stands in the card of a release.")] = "",
    settings: SetOption = [],  # noqa: B006
    preset: PresetOption = "",
    as_json: JsonOption = False,
) -> None:
    """How the decision about a dataset stands, and where to mark rows that are to be left out; or decide."""
    with answering(as_json) as answer:
        from pipeline.decisions import decide, decisions
        from pipeline.errors import InputError
        from pipeline.release import finished_dataset
        from pipeline.remote import session_folder
        from pipeline.review_rows import excluded, write_review

        if approve and reject:
            raise InputError("review: expected --approve or --reject, got both")
        with session_folder(session) as root:
            run = finished_dataset(root, preset, settings)
            dataset = run.dataset
            marks = write_review(root, dataset, run.made)
            if approve or reject:
                verdict: Any = "approved" if approve else "rejected"
                given = {"preset": run.preset, "settings": run.settings, "excluded": excluded(root, dataset)}
                decide(root, dataset, verdict, by, reason=reason, **given)
            told = [each for each in decisions(root) if each.dataset == dataset.digest]
        answer.values |= {"session": str(session), "dataset": dataset.digest, "rows": dataset.rows, "marks": str(marks)}
        answer.values |= {"decisions": [each.model_dump() for each in told]}
        answer.show(f"dataset {dataset.digest[:8]}: {dataset.rows} rows; {figures(dataset.summary)}")
        answer.show(*(each.text for each in told), *([] if told else ["nobody has decided about it yet"]))
        answer.show(f"rows to leave out: mark them in the first column of {marks}, then decide")


def release(
    sessions: Annotated[list[Path], typer.Argument(metavar="SESSIONS...", help="Sessions whose datasets were approved.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the versions; each is a new folder in it.")],
    version: Annotated[str, typer.Option("--version", help="Name of the version; default: v1, v2, ...")] = "",
    settings: SetOption = [],  # noqa: B006
    preset: PresetOption = "",
    as_json: JsonOption = False,
) -> None:
    """Approved datasets as one version that never changes: split by person and session, with card, statistics and sums."""
    with answering(as_json) as answer:
        from pipeline.release import release_sessions

        made = release_sessions(sessions, out, version, preset, settings)
        answer.values |= {"folder": str(made.folder), "rows": made.rows, "excluded": made.excluded}
        answer.show(rows_table([{"split": name, "rows": count} for name, count in made.rows.items()]))
        answer.show(
            f"{made.excluded} rows left out by hand", f"released: {made.folder} (its card: {made.folder / 'README.md'})"
        )


def check(
    folder: Annotated[Path, typer.Argument(help="A version that was released.")],
    as_json: JsonOption = False,
) -> None:
    """Whether every file of a release is as it was released."""
    with answering(as_json) as answer:
        from pipeline.release import check_release

        files = check_release(folder)
        answer.values |= {"folder": str(folder), "files": files}
        answer.show(f"{files} files are as they were released")


def export(
    source: Annotated[Path, typer.Argument(metavar="SESSION|RELEASE", help="A session that was run, or a release.")],
    out: Annotated[Path, typer.Argument(help="New folder for the dataset.")],
    kind: Annotated[
        str,
        typer.Option(
            "--format",
            help="parquet (Hugging Face), coco, yolo, webdataset, controlnet, trc, c3d, bvh, json or html.",
        ),
    ] = "parquet",
    name: Annotated[str, typer.Option("--name", help="Which dataset below export/ of a session.")] = "dataset",
    as_json: JsonOption = False,
) -> None:
    """A finished dataset or a release in one format, with its card, as a folder of its own."""
    with answering(as_json) as answer:
        from pipeline.handout import hand_out
        from pipeline.remote import address_of, session_folder

        with session_folder(source) if address_of(source) else nullcontext(source) as root:
            made = hand_out(root, out, kind, name)
        answer.values |= {"out": str(out), "format": kind, "files": made.files, "notes": list(made.notes)}
        answer.show(f"{made.files} files in {out}", *made.notes)
