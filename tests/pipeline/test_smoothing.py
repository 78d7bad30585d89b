import numpy as np
import pytest
from scipy.signal import butter, filtfilt

from pipeline.smoothing import butterworth, one_euro, robust_spline, stretches

RATE_HZ = 60.0


def _wave(instants: int = 300, joints: int = 2) -> np.ndarray:
    """(F, J, 3) joints that swing at 1 Hz."""
    t = np.arange(instants) / RATE_HZ
    return np.stack([0.2 * np.sin(2 * np.pi * t + phase) for phase in np.arange(joints * 3)], -1).reshape(-1, joints, 3)


def _noisy(sigma_m: float = 0.02) -> np.ndarray:
    return _wave() + np.random.default_rng(0).normal(0, sigma_m, _wave().shape)


def _rms(a: np.ndarray) -> float:
    return float(np.sqrt(np.mean(a**2)))


def test_butterworth_is_scipys_filter_run_both_ways() -> None:
    noisy = _noisy()
    expected = filtfilt(*butter(2, 6 / 30), noisy, axis=0)
    np.testing.assert_array_equal(butterworth(noisy, RATE_HZ, 6.0), expected)


def test_a_gap_parts_what_is_filtered_and_stays() -> None:
    noisy = _noisy()
    noisy[100:110, 0] = np.nan
    noisy[112:200, 0] = np.nan
    found = butterworth(noisy, RATE_HZ)
    assert np.isnan(found[100:110, 0]).all() and np.isfinite(found[:, 1]).all()
    np.testing.assert_array_equal(found[:100, 0], butterworth(noisy[:100], RATE_HZ)[:, 0])
    np.testing.assert_array_equal(found[110:112, 0], noisy[110:112, 0])  # too short to filter


def test_a_cut_off_that_the_rate_cannot_show_changes_nothing() -> None:
    np.testing.assert_array_equal(butterworth(_noisy(), 10.0, 6.0), _noisy())


@pytest.mark.parametrize("sigma_m", [0.005, 0.02])
def test_filters_bring_noisy_joints_nearer_to_the_truth(sigma_m: float) -> None:
    noisy, truth = _noisy(sigma_m), _wave()
    t_s, sigma = np.arange(len(truth)) / RATE_HZ, np.full(truth.shape[:2], sigma_m)
    for found in (butterworth(noisy, RATE_HZ), robust_spline(noisy, t_s, sigma)):
        assert _rms(found - truth) < 0.6 * _rms(noisy - truth)


def test_a_causal_filter_knows_nothing_of_the_future() -> None:
    noisy, t_s = _noisy(), np.arange(300) / RATE_HZ
    whole, part = one_euro(noisy, t_s), one_euro(noisy[:150], t_s[:150])
    np.testing.assert_array_equal(whole[:150], part)


def test_one_euro_stills_who_stands_and_follows_who_runs() -> None:
    rng, t_s = np.random.default_rng(0), np.arange(300) / RATE_HZ
    still = rng.normal(0, 0.01, (300, 1, 3))
    running = still + (t_s * 5.0)[:, None, None]
    assert _rms(one_euro(still, t_s)[30:]) < 0.7 * _rms(still[30:])
    assert np.abs(one_euro(running, t_s) - running)[60:].mean() < 0.03  # 8 cm a frame


def test_single_wrong_joints_do_not_bend_a_robust_spline() -> None:
    noisy, truth = _noisy(0.01), _wave()
    noisy[50], noisy[170] = noisy[50] + 0.5, noisy[170] - 0.4
    found = robust_spline(noisy, np.arange(300) / RATE_HZ, np.full(truth.shape[:2], 0.01))
    assert np.abs(found - truth)[[50, 170]].max() < 0.06


def test_stretches_are_the_runs_of_what_is_known() -> None:
    known = np.array([True, True, False, True, False, False, True])
    assert [(s.start, s.stop) for s in stretches(known)] == [(0, 2), (3, 4), (6, 7)]
    assert list(stretches(np.zeros(3, dtype=bool))) == []
