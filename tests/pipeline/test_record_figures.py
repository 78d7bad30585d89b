import numpy as np
import pytest

from pipeline.record_figures import camera_figures, dropped_of, skew_ms
from pipeline.segment import Rows

PERIOD_NS = 33_366_700


def _rows(numbers: list[int], segment: list[int] | None = None, delay_ms: float = 1.0) -> Rows:
    pts = np.array(numbers, np.int64) * PERIOD_NS
    late = np.random.default_rng(0).exponential(delay_ms * 1e6, len(pts)).astype(np.int64)
    return Rows(np.array(segment or [0] * len(pts), np.int64), pts, np.maximum.accumulate(pts + 10**9 + late))


def test_missing_frames_are_counted_and_long_silences_told() -> None:
    figures = camera_figures(_rows([n for n in range(300) if n not in (50, 51, 90) and not 200 <= n < 240]))
    assert (figures.frames, figures.dropped, figures.timed_by) == (257, 43, "camera")
    assert figures.fps == pytest.approx(1e9 / PERIOD_NS, abs=1e-3)
    [gap] = figures.gaps
    assert gap.to_ns - gap.from_ns == pytest.approx(41 * PERIOD_NS, abs=2e5)


def test_a_gap_between_segments_is_told_when_a_frame_is_missing() -> None:
    numbers = [*range(100), *range(104, 200)]
    figures = camera_figures(_rows(numbers, [0] * 100 + [1] * 96, delay_ms=0.1))
    assert (figures.dropped, len(figures.gaps), len(figures.clocks)) == (0, 1, 2)
    whole = camera_figures(_rows(list(range(200)), [0] * 100 + [1] * 100, delay_ms=0.1))
    assert whole.gaps == ()


def test_frames_held_up_on_the_way_are_not_taken_for_lost() -> None:
    arrived = np.arange(300, dtype=np.int64) * PERIOD_NS + 10**9
    arrived[100:103] = arrived[103]
    assert dropped_of(arrived + 10**15, arrived) == 0
    skipped = np.delete(arrived, [150, 151])
    assert dropped_of(skipped + 10**15, skipped) == 2


def test_a_variable_rate_is_named() -> None:
    numbers = np.cumsum(np.random.default_rng(0).choice([1, 2, 3], 200))
    assert camera_figures(_rows(numbers.tolist())).variable_rate
    assert not camera_figures(_rows(list(range(200)))).variable_rate


def test_skew_is_that_of_frames_of_one_instant() -> None:
    first = (np.arange(90) * PERIOD_NS).tolist()
    assert skew_ms({"cam1": first, "cam2": [t + 2_000_000 for t in first[10:]]}) == {"p50": 2.0, "p99": 2.0, "max": 2.0}
    assert skew_ms({"cam1": first}) == {}


def test_nothing_recorded_has_figures_too() -> None:
    figures = camera_figures(_rows([]))
    assert (figures.frames, figures.fps, figures.dropped, figures.gaps) == (0, 0, 0, ())
