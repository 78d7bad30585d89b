from pathlib import Path

import pytest

from pipeline.decisions import decide
from pipeline.errors import StageError
from pipeline.release import check_release, finished_dataset
from tests.flows.fakes import FakeStage, make_session

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_only_approved_sessions_are_released_and_the_card_is_shown(tmp_path: Path, stages: dict[str, FakeStage]) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    from flows.build_dataset import build_dataset
    from flows.release import release_dataset

    sessions = [make_session(tmp_path / name) for name in ("one", "two")]
    for session in sessions:
        build_dataset(str(session))
    decide(sessions[0], finished_dataset(sessions[0]).dataset, "approved", "Ada")
    out = tmp_path / "released"
    with pytest.raises(StageError, match="two: expected a person's approval"):
        release_dataset([str(session) for session in sessions], str(out))
    assert not out.exists()
    folder = Path(release_dataset([str(sessions[0])], str(out)))
    assert folder == out / "v1" and check_release(folder) >= 3
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=["release-released"]))
        [card] = client.read_artifacts(artifact_filter=wanted)
    assert "| one | approved | Ada |" in card.data and not card.data.startswith("---")
