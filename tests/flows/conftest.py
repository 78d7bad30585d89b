"""A tiny session with cheap stages, and one Prefect server for all tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import job
from tests.flows.fakes import FakeStage, fake_stages, make_session


@pytest.fixture
def session(tmp_path: Path) -> Path:
    return make_session(tmp_path / "tiny")


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> dict[str, FakeStage]:
    fakes = fake_stages()
    for name, fake in fakes.items():
        monkeypatch.setitem(job.STAGES, name, fake)  # type: ignore[arg-type]
    return fakes


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield
