"""The decision about a dataset: the run suspends, somebody answers in the UI, the run goes on where it was."""

import csv
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from pipeline.decisions import decisions
from pipeline.store import Store
from tests.flows.fakes import FakeStage, make_session

pytestmark = pytest.mark.usefixtures("prefect_server")
Stages = dict[str, FakeStage]


class Deployed:
    """A run of `build_dataset` as a worker would execute it, once more after each answer."""

    def __init__(self, session: Path, **given: Any) -> None:
        from prefect.client.orchestration import get_client

        from flows.build_dataset import build_dataset

        deployment = build_dataset.to_deployment(f"test-{session.name}").apply()
        with get_client(sync_client=True) as client:
            given = {"session": str(session), **given}
            self.id: UUID = client.create_flow_run_from_deployment(deployment, parameters=given).id

    def execute(self) -> Any:
        """Run until it ends or suspends; returns its state on the server."""
        from prefect.client.orchestration import get_client
        from prefect.exceptions import Pause
        from prefect.flow_engine import load_flow_run, run_flow

        from flows.build_dataset import build_dataset

        run = load_flow_run(self.id)
        with suppress(Pause):
            run_flow(build_dataset, flow_run=run, parameters=run.parameters, return_type="state")
        with get_client(sync_client=True) as client:
            return client.read_flow_run(self.id).state

    def answer(self, **values: Any) -> None:
        """What a person fills into the form."""
        from prefect.flow_runs import resume_flow_run

        resume_flow_run(self.id, values)

    def artifacts(self) -> list[str]:
        from prefect.client.orchestration import get_client
        from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

        with get_client(sync_client=True) as client:
            mine = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[self.id]))
            return sorted(artifact.key for artifact in client.read_artifacts(artifact_filter=mine))

    def form(self) -> tuple[str, dict[str, Any]]:
        """The text above the form, and its schema."""
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:
            keys = client.read_flow_run(self.id).state.state_details.run_input_keyset
            schema = client.read_flow_run_input(self.id, keys["schema"])
            text = client.read_flow_run_input(self.id, keys["description"])
        return text, schema if isinstance(schema, dict) else json.loads(schema)


@pytest.fixture
def session(tmp_path: Path) -> Path:
    return make_session(tmp_path / "asked")


def test_a_run_suspends_until_a_person_approves(session: Path, stages: Stages) -> None:
    run = Deployed(session)
    state = run.execute()
    assert (state.type.value, state.name) == ("PAUSED", "Suspended")
    with Store(session).lock():  # nothing holds the session while nobody works on it
        pass
    seen = run.artifacts()
    assert {"results-asked", "rejected-asked", "lineage-asked", "contact-sheet-asked-walk-cam1"} <= set(seen)
    text, schema = run.form()
    assert "May this dataset of asked be released?" in text and "review-" in text
    assert schema["properties"]["decision"]["enum"] == ["approve", "reject", "change the settings and run on"]
    assert all(field.get("description") for field in schema["properties"].values())
    run.answer(decision="approve", name="Ada", reason="looks right")
    state = run.execute()
    assert (state.type.value, state.name) == ("COMPLETED", "Approved")
    assert "approved by Ada" in state.message
    [decision] = decisions(session)
    assert (decision.verdict, decision.by, decision.reason) == ("approved", "Ada", "looks right")
    assert stages["export"].calls == 1
    assert run.artifacts() == seen  # what was shown is not shown again


def test_nobody_is_asked_twice_about_the_same_dataset(session: Path, stages: Stages) -> None:
    run = Deployed(session)
    run.execute()
    run.answer(decision="reject", name="Ada", reason="cam2 was bumped")
    assert run.execute().name == "Rejected"
    again = Deployed(session)
    state = again.execute()
    assert (state.type.value, state.name) == ("COMPLETED", "Rejected")
    assert "cam2 was bumped" in state.message


def test_other_thresholds_are_tried_and_the_question_comes_again(session: Path, stages: Stages) -> None:
    run = Deployed(session)
    run.execute()
    run.answer(decision="change the settings and run on", name="Ada", settings=["audit.max_error_px=5"])
    assert run.execute().name == "Suspended"
    assert [stages[name].calls for name in ("detect", "audit", "export")] == [2, 2, 2]
    run.answer(decision="approve", name="Ben")
    assert run.execute().name == "Approved"
    [decision] = decisions(session)
    assert decision.settings == ("audit.max_error_px=5",)
    from pipeline.release import approved_dataset

    assert approved_dataset(session).decision == decision  # a release knows with which settings


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ({"decision": "approve", "name": "  "}, "name of who decides"),
        ({"decision": "reject", "name": "Ada"}, "reason for the rejection"),
        (
            {"decision": "change the settings and run on", "name": "Ada", "settings": ["audit.max_eror_px=5"]},
            "nearest known key",
        ),
    ],
)
def test_an_answer_that_cannot_be_taken_is_asked_for_again(
    session: Path, stages: Stages, answer: dict[str, Any], complaint: str
) -> None:
    run = Deployed(session)
    run.execute()
    run.answer(**answer)
    assert run.execute().name == "Suspended"
    assert complaint in run.form()[0]
    assert decisions(session) == [] and stages["export"].calls == 1
    run.answer(decision="approve", name="Ada")
    assert run.execute().name == "Approved"


def test_rows_marked_in_review_csv_are_part_of_the_decision(session: Path, stages: Stages) -> None:
    from tests.pipeline.exports import made_export

    run = Deployed(session)
    run.execute()
    folder = session / "export" / "dataset"
    made_export(session, instants=2, name="other").path.joinpath("data").rename(folder / "data")
    [marks] = (session / "review").glob("review-*.csv")
    with marks.open("a", newline="") as file:
        csv.writer(file).writerow(["x", "walk-cam1-000000000000000", *[""] * 8])
    run.answer(decision="approve", name="Ada")
    run.execute()
    [decision] = decisions(session)
    assert decision.excluded == ("walk-cam1-000000000000000", "walk-cam1-000000000000000-g0")


def test_an_answer_after_the_time_is_refused_and_nothing_is_decided(session: Path, stages: Stages) -> None:
    from prefect.exceptions import FlowPauseTimeout

    run = Deployed(session, settings=["review.wait_hours=0.0003"])
    run.execute()
    time.sleep(1.5)
    with pytest.raises(FlowPauseTimeout):
        run.answer(decision="approve", name="Ada")
    assert decisions(session) == []


def test_a_preset_that_asks_nobody_ends_at_once(session: Path, stages: Stages) -> None:
    state = Deployed(session, settings=["review.required=false"]).execute()
    assert (state.type.value, state.name) == ("COMPLETED", "Completed")
