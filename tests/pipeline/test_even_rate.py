import numpy as np
import pytest

from pipeline.even_rate import evened

PERIOD_NS = 33_366_700


def _arrivals(seconds: float, skipped: list[int], jitter_ms: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """True times of frames, some of them skipped, and their arrivals: late by an exponential law, and held up in bunches."""
    rng = np.random.default_rng(seed)
    numbers = np.array([n for n in range(round(seconds * 30)) if n not in set(skipped)])
    true = 10**12 + numbers * PERIOD_NS
    arrived = true + rng.exponential(jitter_ms * 1e6, len(true)).astype(np.int64)
    for begin in rng.integers(0, len(true) - 10, 5):
        arrived[begin : begin + 5] = np.maximum(arrived[begin : begin + 5], arrived[begin + 5])
    return true, np.maximum.accumulate(arrived)


@pytest.mark.parametrize("seconds", [4, 60, 1800])
@pytest.mark.parametrize("skipped", [[], [40, 41, 77]])
def test_frames_at_an_even_rate_are_timed_far_better_than_they_arrive(seconds: float, skipped: list[int]) -> None:
    true, arrived = _arrivals(seconds, skipped, 4.0)
    times = evened(arrived)
    assert times is not None
    assert np.percentile(np.abs(arrived - true), 99) > 10e6
    assert np.abs(times - true).max() < 1.5e6


def test_a_camera_of_no_even_rate_keeps_its_arrivals() -> None:
    rng = np.random.default_rng(0)
    assert evened(np.cumsum(rng.choice([20_000_000, 45_000_000, 70_000_000], 400))) is None


def test_a_few_frames_tell_no_rate() -> None:
    assert evened(np.arange(20) * PERIOD_NS) is None
