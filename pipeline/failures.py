"""What failed last, kept beside the results so that `posemill status` can say why something is missing."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from pipeline.atomic import write_atomically
from pipeline.errors import StageError
from pipeline.plain_text import table_of
from pipeline.store import Ref, Store


def note_failure(store: Store, stage: str, ref: Ref, error: BaseException) -> None:
    """Remember why a stage failed; a disk too full to hold the note is no second failure."""
    with suppress(OSError, StageError):
        write_atomically(_note(store, stage, ref), json.dumps({"error": f"{type(error).__name__}: {error}"}, indent=1))


def forget_failure(store: Store, stage: str, ref: Ref) -> None:
    """The stage is done now: its failure is history."""
    with suppress(OSError):
        _note(store, stage, ref).unlink(missing_ok=True)


def failure_of(store: Store, stage: str, ref: Ref) -> str:
    """The message of the last failure of a stage, or "" when it did not fail."""
    return str(table_of(_note(store, stage, ref)).get("error", ""))


def _note(store: Store, stage: str, ref: Ref) -> Path:
    return store.root / "failed" / ("-".join(word for word in (stage, ref.clip, ref.part) if word) + ".json")
