import asyncio
from pathlib import Path

import pytest

from calibration.errors import CalibrationError
from pipeline.config import AugmentConfig, DetectConfig, ExportConfig, RectifyConfig
from pipeline.errors import InputError, StageError
from tests.flows.fakes import FakeStage, make_session


class OutOfMemoryError(RuntimeError):
    """As torch calls it."""


@pytest.mark.parametrize(
    ("error", "heals"),
    [(ConnectionError("reset"), True), (TimeoutError(), True), (OSError(5, "I/O"), True), (OutOfMemoryError(), True),
     (InputError("typo"), False), (StageError("no person"), False), (CalibrationError("rms"), False), (ValueError(), False)],
)  # fmt: skip
def test_only_what_can_heal_is_tried_again(error: Exception, heals: bool) -> None:
    from prefect.states import exception_to_failed_state

    from flows.tasks import can_heal

    assert can_heal(None, None, asyncio.run(exception_to_failed_state(error))) == heals


def test_a_stage_takes_the_slot_of_the_device_it_works_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import tasks

    assert tasks.on_gpu("augment", AugmentConfig(device="cuda:1"))
    assert not tasks.on_gpu("augment", AugmentConfig(device="cuda", enabled=False))
    assert not tasks.on_gpu("augment", AugmentConfig())
    assert not tasks.on_gpu("detect", DetectConfig(backend="onnxruntime"))
    taken: list[list[str]] = []

    def noted(names: list[str], **_: object):
        from contextlib import nullcontext

        taken.append(names)
        return nullcontext()

    monkeypatch.setattr(tasks, "concurrency", noted)
    for stage, config in (("rectify", RectifyConfig()), ("augment", AugmentConfig(device="cuda")), ("audit", ExportConfig())):
        with tasks.slots(stage, config):
            pass
    assert taken == [["posemill-disk"], ["posemill-gpu"]]


@pytest.mark.usefixtures("prefect_server")
def test_a_busy_network_is_tried_again_and_a_wrong_request_is_not(
    tmp_path: Path, stages: dict[str, FakeStage], monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import tasks
    from flows.build_dataset import build_dataset

    quick = tasks.run_stage.with_options(retry_delay_seconds=[0, 0])
    monkeypatch.setattr(tasks, "run_stage", quick)
    failing = stages["audit"]
    calls: list[int] = []

    def run(*args: object):
        calls.append(1)
        if len(calls) == 1:
            raise ConnectionError("reset by peer")
        return FakeStage.run(failing, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(failing, "run", run)
    session = make_session(tmp_path / "busy")
    build_dataset(str(session))
    assert len(calls) == 2
    stages["export"].broken = "no"
    state = build_dataset(str(session), settings=["export.every=2"], return_state=True)
    assert state.is_failed() and stages["export"].calls == 2
