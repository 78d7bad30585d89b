import numpy as np
import pytest

from calibration.clocks import Clocks, PairClock, solve_clocks, still_clocks
from calibration.errors import CalibrationError

NAMES = ("a", "b", "c", "d")
OFFSET_S, DRIFT = np.array([0.0, 0.8, -1.3, 2.0]), np.array([0.0, 4e-5, -9e-5, 1e-4])


def _pairs(sigma_s: float = 1e-3, seed: int = 0) -> list[PairClock]:
    """All six pairs of four cameras about 300 s, with noise of a known size."""
    rng = np.random.default_rng(seed)
    covariance = np.diag([sigma_s**2, (1e-6) ** 2])
    return [
        PairClock(
            NAMES[i], NAMES[j], OFFSET_S[j] - OFFSET_S[i] + rng.normal(0, sigma_s), DRIFT[j] - DRIFT[i] + rng.normal(0, 1e-6),
            covariance, 300.0,
        ) for i in range(4) for j in range(i + 1, 4)
    ]  # fmt: skip


def test_own_time_of_session_time_is_own_time() -> None:
    clocks = Clocks(NAMES, OFFSET_S, DRIFT, 300.0, np.zeros((8, 8)))
    own_s = np.linspace(0, 600, 7)
    for c in range(4):
        assert np.allclose(clocks.own_s(c, clocks.session_s(c, own_s)), own_s, atol=1e-12)


def test_pairs_give_the_clocks_and_more_pairs_give_them_surer() -> None:
    every, tree = solve_clocks(NAMES, _pairs(), 300.0), solve_clocks(NAMES, _pairs()[:3], 300.0)
    assert np.abs(every.offset_s - OFFSET_S).max() < 3e-3
    assert np.abs(every.drift - DRIFT).max() < 3e-6
    assert (every.sigma_s[1:] < tree.sigma_s[1:]).all()
    assert every.sigma_s[0] == every.drift_sigma[0] == 0


def test_standard_errors_hold_over_many_draws() -> None:
    solved = [solve_clocks(NAMES, _pairs(seed=seed), 300.0) for seed in range(300)]
    z = np.array([(s.offset_s - OFFSET_S)[1:] / s.sigma_s[1:] for s in solved])
    assert 0.7 < z.std() < 1.0  # below one: no pair is believed to better than half a millisecond


def test_clocks_about_another_time_are_the_same_clocks() -> None:
    here, there = solve_clocks(NAMES, _pairs(), 300.0), solve_clocks(NAMES, _pairs(), 0.0)
    own_s = np.array([0.0, 600.0])
    for c in range(4):
        assert np.allclose(here.session_s(c, own_s), there.session_s(c, own_s), atol=1e-9)
    assert (there.sigma_s[1:] >= here.sigma_s[1:] - 1e-12).all()


def test_a_pair_that_contradicts_the_others_is_left_out() -> None:
    pairs = _pairs()
    pairs[4] = PairClock("b", "d", pairs[4].offset_s + 0.1, pairs[4].drift, pairs[4].covariance, 300.0)
    clocks = solve_clocks(NAMES, pairs, 300.0)
    assert clocks.left_out == (pairs[4],)
    assert np.abs(clocks.offset_s - OFFSET_S).max() < 3e-3


def test_a_single_loop_that_does_not_close_is_refused() -> None:
    pairs = [pair for pair in _pairs() if "d" not in (pair.a, pair.b)]
    pairs[0] = PairClock("a", "b", pairs[0].offset_s + 0.1, pairs[0].drift, pairs[0].covariance, 300.0)
    with pytest.raises(CalibrationError, match="contradict each other by .* nothing says which is wrong"):
        solve_clocks(NAMES[:3], pairs, 300.0)


def test_a_camera_without_a_pair_is_named() -> None:
    with pytest.raises(CalibrationError, match="no pair of cameras connects the clock of d with that of a"):
        solve_clocks(NAMES, [pair for pair in _pairs() if "d" not in (pair.a, pair.b)], 300.0)


def test_cameras_of_one_clock_keep_their_times() -> None:
    assert np.array_equal(still_clocks(NAMES).session_s(2, np.array([1.5])), [1.5])
