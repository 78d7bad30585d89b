"""p-values: uniform for people, small for what cannot be, whatever the session's own noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import gumbel_r, kstest

from models.plausible import LEAST_SKELETONS, MOST_USUAL, largest, p_values, people_p_values, usual_surprise
from models.prior import JOINTS

RNG = np.random.default_rng(0)
PEOPLE = RNG.chisquare(3, (20_000, JOINTS)).max(1)


def test_p_values_of_people_are_uniform() -> None:
    assert kstest(people_p_values(PEOPLE[:5000]), "uniform").pvalue > 0.01


@pytest.mark.parametrize(("place", "width"), [(12.0, 4.0), (40.0, 15.0)])
def test_p_values_in_a_session_of_its_own_noise_are_uniform_and_never_too_small(place: float, width: float) -> None:
    p = p_values(gumbel_r(place, width).rvs(20_000, random_state=1))
    assert kstest(p, "uniform").statistic < 0.03
    for rate in (0.1, 0.01, 0.001):
        assert (p < rate).mean() < 1.3 * rate + 3e-4


def test_a_calm_session_is_judged_no_more_strictly_than_people() -> None:
    p = p_values(PEOPLE / 3)
    assert (p < 0.01).mean() == 0


def test_a_tenth_of_wrong_skeletons_hides_none_of_them() -> None:
    session = np.concatenate([gumbel_r(12.0, 4.0).rvs(900, random_state=1), np.full(99, 150.0)])
    p = p_values(session)
    assert (p[900:] < 1e-3).all()
    assert (p[:900] < 0.01).mean() < 0.01


def test_few_skeletons_are_not_judged_and_unknown_stays_unknown() -> None:
    assert np.isnan(p_values(PEOPLE[: LEAST_SKELETONS - 1])).all()
    some = p_values(np.append(PEOPLE[:50], np.nan))
    assert np.isfinite(some[:-1]).all()
    assert np.isnan(some[-1])


def test_short_sessions_give_no_more_false_alarms_than_stated() -> None:
    draws = gumbel_r(12.0, 4.0).rvs((2000, LEAST_SKELETONS), random_state=2)
    assert np.mean([p_values(session) < 1e-3 for session in draws]) < 2e-3


def test_a_joint_that_always_surprises_is_measured_by_its_own_median() -> None:
    surprise = np.random.default_rng(1).chisquare(3, (4000, JOINTS))
    assert np.allclose(usual_surprise(surprise), 1.0, atol=0.06)
    surprise[:, 7] *= 3
    surprise[:300, 3] = np.nan
    usual = usual_surprise(surprise)
    assert usual[7] == pytest.approx(3, rel=0.08)
    assert usual_surprise(100 * surprise).max() == MOST_USUAL
    assert kstest(people_p_values(largest(surprise / usual))[300:1300], "uniform").pvalue > 0.01


def test_nothing_known_has_no_largest_surprise() -> None:
    assert np.isnan(largest(np.full((2, JOINTS), np.nan))).all()
    assert np.array_equal(usual_surprise(np.full((50, JOINTS), np.nan)), np.ones(JOINTS))
