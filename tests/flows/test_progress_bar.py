import time
from uuid import uuid4

import pytest

from flows import tasks
from flows.tasks import ProgressBar


def test_a_server_that_answers_late_is_asked_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []

    def answer_late(_: object, __: float, text: str) -> None:
        time.sleep(0.02)
        sent.append(text)

    monkeypatch.setattr(tasks, "update_progress_artifact", answer_late)
    monkeypatch.setattr(tasks, "UPDATE_EVERY_S", 0.0)
    bar = ProgressBar("detect cam1", 100, "frames", uuid4())
    for _ in range(100):
        bar.advance(1)
    assert len(sent) == 1  # the next one is due a second after the first
    bar.finish()
    assert sent[-1].startswith("detect cam1: 100/100 frames")
