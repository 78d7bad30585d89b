import base64
from pathlib import Path

import pytest

from pipeline.config import session_config
from pipeline.job import LocalRunner
from pipeline.job import build_dataset as call_stages
from pipeline.store import Store
from tests.flows.fakes import FakeStage, make_session

pytestmark = pytest.mark.usefixtures("prefect_server")
Stages = dict[str, FakeStage]


def _artifacts() -> dict[str, list]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.sorting import ArtifactSort

    found: dict[str, list] = {}
    with get_client(sync_client=True) as client:
        for artifact in client.read_artifacts(sort=ArtifactSort.CREATED_DESC):  # the server gives 200 at most
            found.setdefault(artifact.key, []).append(artifact)
    return found


def test_the_flow_does_what_a_plain_run_does_and_finds_it_done(session: Path, stages: Stages) -> None:
    from flows.build_dataset import build_dataset

    dataset = build_dataset(str(session))
    assert dataset == str(session / "export" / "dataset")
    made = {name: stage.calls for name, stage in stages.items()}
    assert made == {"calibrate": 1, "rectify": 0, "detect": 2, "reconstruct": 1, "audit": 1, "augment": 1, "export": 1}
    store = Store(session)
    runner = LocalRunner(store)
    call_stages(store, session_config(store.session), runner)
    assert all(step.skipped for step in runner.steps)


def test_a_reviewer_sees_results_contact_sheets_and_progress(tmp_path: Path, stages: Stages) -> None:
    from flows.build_dataset import build_dataset

    build_dataset(str(make_session(tmp_path / "seen")))
    artifacts = _artifacts()
    table = [line.split(" | ") for line in artifacts["results-seen"][0].data.splitlines()]
    assert [row[0] for row in table].count("| detect") == 2
    assert "fps 30" in artifacts["results-seen"][0].data
    [report] = (tmp_path / "seen" / "rig").glob("*/report.html")
    assert f"[report.html]({report.as_uri()})" in artifacts["results-seen"][0].data
    for camera in ("cam1", "cam2"):
        markdown = artifacts[f"contact-sheet-seen-walk-{camera}"][0].data
        picture = markdown.split("data:image/jpeg;base64,")[1].split(")")[0]
        assert base64.b64decode(picture).startswith(b"\xff\xd8")
        assert len(markdown) <= 500_000
    assert artifacts["detect-cam1"][0].data == 100.0
    assert "6/6 frames" in artifacts["detect-cam1"][0].description


def test_the_run_is_named_after_session_and_preset(tmp_path: Path, stages: Stages) -> None:
    from prefect.client.orchestration import get_client

    from flows.build_dataset import build_dataset

    build_dataset(str(make_session(tmp_path / "named")))
    build_dataset(str(tmp_path / "named"), preset="demo")
    with get_client(sync_client=True) as client:
        names = [run.name for run in client.read_flow_runs()]
    for preset in ("default", "demo"):
        assert any(name.startswith(f"named, {preset}, ") for name in names)


def test_a_stage_that_fails_fails_the_run_with_its_message(session: Path, stages: Stages) -> None:
    from flows.build_dataset import build_dataset

    stages["audit"].broken = "no skeleton passed"
    state = build_dataset(str(session), return_state=True)
    assert state.is_failed()
    assert "no skeleton passed" in state.message
    assert stages["augment"].calls == 0


def test_every_session_has_its_turn_when_one_fails(tmp_path: Path, stages: Stages) -> None:
    from flows.build_dataset import build_sessions

    make_session(tmp_path / "b-good")
    broken = make_session(tmp_path / "a-broken")
    (broken / "cam1.mp4").unlink()
    state = build_sessions(str(tmp_path), return_state=True)
    assert state.is_failed()
    assert "1 of 2 sessions failed: a-broken" in state.message
    assert (tmp_path / "b-good" / "export" / "dataset").is_dir()


def test_a_second_run_of_a_session_is_refused_with_the_name_of_the_first(session: Path, stages: Stages) -> None:
    from flows.build_dataset import build_dataset

    with Store(session).lock("flow run gym, default, 26 Nov 12:05"):
        state = build_dataset(str(session), return_state=True)
    assert state.is_failed() and "flow run gym, default, 26 Nov 12:05" in state.message
    assert stages["detect"].calls == 0


def test_a_session_that_vanished_is_told_by_its_folder(tmp_path: Path) -> None:
    from flows.build_dataset import build_dataset

    state = build_dataset(str(tmp_path / "gone"), return_state=True)
    assert state.is_failed() and f"{tmp_path / 'gone'}: expected a session" in state.message
