import numpy as np
import pytest

from pipeline.stream_clock import MAX_DRIFT_PPM, fit_clock

PERIOD_NS = 33_366_700


def _stream(seconds: float, offset_ns: int, drift_ppm: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """pts, true times and arrivals: delays of an exponential law with 3 ms mean, and hold-ups of 200 ms in bunches."""
    rng = np.random.default_rng(seed)
    pts = np.arange(round(seconds * 30)) * PERIOD_NS + 7 * 10**9
    true = pts + offset_ns + np.round((pts - pts[0]) * drift_ppm * 1e-6).astype(np.int64)
    arrived = true + rng.exponential(3e6, len(pts)).astype(np.int64)
    for begin in rng.integers(0, len(pts), 5):
        arrived[begin : begin + 6] += 200_000_000
    return pts, true, np.maximum.accumulate(arrived)


@pytest.mark.parametrize("drift_ppm", [-100.0, 0.0, 35.0])
@pytest.mark.parametrize("offset_ns", [-(10**13), 5 * 10**8])
def test_the_clock_of_a_camera_is_found_below_the_delays_of_the_way(drift_ppm: float, offset_ns: int) -> None:
    pts, true, arrived = _stream(600, offset_ns, drift_ppm)
    clock = fit_clock(pts, arrived)
    assert clock.drift_ppm == pytest.approx(drift_ppm, abs=0.1)
    error = clock.times_ns(pts) - true
    assert np.abs(error).max() < 100_000  # 0.1 ms: the smallest of thousands of delays with 3 ms mean


def test_no_frame_is_put_after_its_arrival() -> None:
    pts, _, arrived = _stream(30, 10**9, 20.0)
    assert (fit_clock(pts, arrived).times_ns(pts) <= arrived + 1).all()


def test_a_short_look_is_not_taken_for_a_drift() -> None:
    for seed in range(20):
        pts, true, arrived = _stream(2, 10**9, 0.0, seed)
        clock = fit_clock(pts, arrived)
        assert abs(clock.drift_ppm) <= MAX_DRIFT_PPM
        error = clock.times_ns(pts) - true
        assert error.max() - error.min() < 2 * 2e9 * MAX_DRIFT_PPM * 1e-6


def test_one_packet_lies_where_it_arrived() -> None:
    clock = fit_clock(np.array([5], np.int64), np.array([90], np.int64))
    assert clock.times_ns(np.array([5], np.int64)).tolist() == [90]


def test_the_order_of_packets_does_not_matter() -> None:
    pts, _, arrived = _stream(10, 10**9, 20.0)
    order = np.random.default_rng(1).permutation(len(pts))
    assert fit_clock(pts[order], arrived[order]) == fit_clock(pts, arrived)


def test_a_camera_without_a_clock_keeps_its_arrivals() -> None:
    arrived = np.cumsum(np.random.default_rng(0).integers(30e6, 36e6, 200))
    assert (fit_clock(arrived + 10**15, arrived).times_ns(arrived + 10**15) == arrived).all()
