"""Ending a training: by a signal, by its time, together with the other processes."""

import signal
import threading
import time
from types import SimpleNamespace

import torch

from models.stop_signals import Stopping, stop_signals


def test_signals_are_taken_in_the_block_and_given_back_after() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    heard: list[int] = []
    with stop_signals(lambda number, _: heard.append(number)):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    assert heard == [signal.SIGTERM, signal.SIGINT]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_outside_the_main_thread_the_callers_handlers_stay() -> None:
    before, during = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with stop_signals(lambda *_: None):
            during.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert during == [before]


def test_a_training_stops_when_told_or_when_its_time_is_over() -> None:
    alone = SimpleNamespace(num_processes=1)
    stopping = Stopping()
    assert not stopping.everywhere(alone)
    stopping.stop(signal.SIGTERM, None)
    assert stopping.everywhere(alone)
    assert not Stopping(seconds=60).everywhere(alone)
    over = Stopping(seconds=0)
    time.sleep(0.01)
    assert over.everywhere(alone)


def test_one_process_that_is_told_stops_all() -> None:
    for others, expected in ((0.0, False), (1.0, True)):
        reduced = SimpleNamespace(num_processes=2, device="cpu", reduce=lambda mine, others=others: mine + torch.tensor(others))
        stopping = Stopping()
        assert stopping.everywhere(reduced) is expected
        stopping.stop()
        assert stopping.everywhere(reduced) is True
