"""What people decided about datasets: SESSION/review/decisions.json, a list that only grows."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from pipeline.atomic import write_atomically
from pipeline.errors import InputError, StageError
from pipeline.types import Artefact


class Decision(BaseModel):
    """One decision about one finished dataset, known by its digest: another dataset asks for another decision."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str = Field(description="digest of the export that was decided about")
    verdict: Literal["approved", "rejected"]
    by: str = Field(min_length=1, description="who decided")
    at: str = Field(description="when, in UTC (ISO 8601)")
    reason: str = ""
    preset: str = Field("", description="preset of the run, where it was not the session's own")
    settings: tuple[str, ...] = Field((), description="settings of the run over those of the session, stage.key=value")
    excluded: tuple[str, ...] = Field((), description="ids of rows that are left out of a release")

    @field_validator("at")
    @classmethod
    def _is_time(cls, at: str) -> str:
        datetime.fromisoformat(at)
        return at

    @property
    def text(self) -> str:
        """In words, e.g. ``approved by Ada, 2026-11-26 09:12 UTC: looks right``."""
        told = f"{self.verdict} by {self.by}, {datetime.fromisoformat(self.at):%Y-%m-%d %H:%M} UTC"
        return told + (f": {self.reason}" if self.reason else "")


_DECISIONS = TypeAdapter(list[Decision])


def decide(session: Path, dataset: Artefact, verdict: Literal["approved", "rejected"], by: str, **more: Any) -> Decision:
    """Note a decision and return it; deciding the same again adds nothing. Raises InputError without a name, or without a
    reason for a rejection."""
    if not by.strip():
        raise InputError("decision: expected the name of who decides, found none; it stands in the dataset's card")
    if verdict == "rejected" and not more.get("reason", "").strip():
        raise InputError("decision: expected a reason for the rejection, found none; the next reader needs it")
    at = datetime.now(UTC).isoformat(timespec="seconds")
    decision = Decision(dataset=dataset.digest, verdict=verdict, by=by.strip(), at=at, **more)
    before = decisions(session)
    if before and before[-1].model_copy(update={"at": at}) == decision:
        return before[-1]
    content = [each.model_dump(mode="json") for each in (*before, decision)]
    write_atomically(_file(session), json.dumps(content, indent=1))
    return decision


def decisions(session: Path) -> list[Decision]:
    """Every decision about a session's datasets, oldest first. Raises InputError when the file was damaged."""
    try:
        return _DECISIONS.validate_json(_file(session).read_bytes())
    except FileNotFoundError:
        return []
    except ValidationError as error:
        raise InputError(f"{_file(session)}: expected a list of decisions, found {error.errors()[0]['msg']:.300}") from error


def decided_settings(session: Path) -> tuple[str, tuple[str, ...]]:
    """Preset and settings of the run that the last decision was about; nothing when nobody decided."""
    last = decisions(session)[-1:]
    return (last[0].preset, last[0].settings) if last else ("", ())


def decision_on(session: Path, dataset: Artefact) -> Decision | None:
    """The last decision about this very dataset, or None."""
    return next((each for each in reversed(decisions(session)) if each.dataset == dataset.digest), None)


def approved(session: Path, dataset: Artefact, required: bool = True) -> Decision | None:
    """The approval of a dataset, or None where none is required. Raises StageError when it is missing, or was a rejection."""
    decision = decision_on(session, dataset)
    if decision is not None and decision.verdict == "rejected":
        raise StageError(
            f"{session}: {decision.text}; change its settings, run it again and have the new dataset decided about"
        )
    if decision is None and required:
        older = f" ({len(decisions(session))} about other datasets)" if decisions(session) else ""
        raise StageError(
            f"{session}: expected a person's approval of its dataset {dataset.digest[:8]}, found none{older}; decide in the "
            f"Prefect UI, or with `posemill review {session} --approve --by NAME`"
        )
    return decision


def _file(session: Path) -> Path:
    return Path(session) / "review" / "decisions.json"
