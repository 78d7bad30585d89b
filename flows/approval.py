"""The question to a person whether a dataset may be released: the run suspends until it is answered, so no process waits."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from prefect import get_run_logger
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from pydantic import Field

from pipeline.decisions import Decision, decide
from pipeline.review_rows import excluded
from pipeline.types import Artefact

RUN_ON = "change the settings and run on"


class Review(RunInput):
    """The form in the Prefect UI: "Resume" of the suspended run."""

    decision: Literal["approve", "reject", "change the settings and run on"] = Field(
        description="approve: it may be released; reject: it may not; or try other thresholds first"
    )
    name: str = Field(min_length=1, description="who decides; it stands in the card of a release")
    reason: str = Field("", description="why; a rejection needs one")
    settings: list[str] = Field([], description="only to run on: changes, each as stage.key=value, e.g. audit.max_error_px=10")


def can_ask() -> bool:
    """Whether this run can suspend: those that were started from a deployment, not those that a program called."""
    run = _this_run()
    return run is not None and run.deployment_id is not None and run.parent_task_run_id is None


def was_asked(question: int) -> bool:
    """Whether this run suspended for that question before, and is here again."""
    run = _this_run()
    return run is not None and _key(question) in (run.empirical_policy.pause_keys or set())


def ask(question: int, description: str, wait_hours: float) -> Review:
    """Suspend until somebody answers in the UI; when the run is here again, return the answer.

    The run fails when nobody answers in time. question: its number within the run, from 1.
    """
    form = Review.with_initial_data(description=description)
    answer = suspend_flow_run(wait_for_input=form, key=_key(question), timeout=round(3600 * wait_hours))
    assert answer is not None
    return answer


def _this_run() -> FlowRun | None:
    context = FlowRunContext.get()
    return context.flow_run if context else None


def _key(question: int) -> str:
    return f"decision-{question}"


def note(answer: Review, session: Path, dataset: Artefact, preset: str, settings: tuple[str, ...]) -> Decision:
    """Write an approval or rejection down, with the rows marked in review.csv. Raises InputError for what cannot be noted."""
    given = {"preset": preset, "settings": settings, "excluded": excluded(session, dataset)}
    verdict: Literal["approved", "rejected"] = "approved" if answer.decision == "approve" else "rejected"
    decision = decide(session, dataset, verdict, answer.name, reason=answer.reason, **given)
    get_run_logger().info("%s: %s", session, decision.text)
    return decision
