"""The command line. Thin: every command is a few lines over `pipeline` and `flows`; heavy libraries wait until they are used.

Every command takes --json and then prints exactly one JSON object on stdout. Exit status: 0 done, 1 the work failed, 2 the
request was wrong.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import typer

from flows import (
    cli_data,
    cli_draw,
    cli_generator,
    cli_machine,
    cli_prior,
    cli_record,
    cli_release,
    cli_run,
    cli_session,
    cli_sync,
)

app = typer.Typer(
    name="posemill",
    help="Synchronised multi-camera footage of people in, a training-ready, augmented pose dataset out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


_COMMANDS: tuple[Callable[..., None], ...] = (
    cli_session.demo,
    cli_session.simulate,
    cli_session.new,
    cli_session.board,
    cli_record.record,
    cli_sync.sync,
    cli_run.run,
    cli_run.status,
    cli_session.recalibrate,
    cli_session.overlay,
    cli_session.view,
    cli_data.detect,
    cli_release.review,
    cli_release.release,
    cli_release.check,
    cli_release.export,
    cli_data.convert,
    cli_machine.serve,
    cli_machine.doctor,
    cli_machine.bench,
)
for _command in _COMMANDS:
    app.command()(_command)
app.add_typer(cli_draw.draw, name="draw")
app.add_typer(cli_data.evaluate, name="evaluate")
app.add_typer(cli_generator.train, name="train")
cli_generator.train.command("prior")(cli_prior.train_prior)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Entry point of `posemill`; with --json a usage error, too, is one JSON object on stdout."""
    words = list(sys.argv[1:] if argv is None else argv)
    if "--json" not in words:
        app(words)
    try:
        status: Any = app(words, standalone_mode=False)
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        print(json.dumps({"error": error.format_message()}))
        print(f"posemill: {error.format_message()}", file=sys.stderr)
        sys.exit(2)
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
