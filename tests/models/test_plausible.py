"""p-values: uniform for people, small for what cannot be, whatever the session's own joints and noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import gumbel_r, kstest

from models.plausible import LEAST_SKELETONS, MOST_USUAL, gumbel_p, largest, p_values, together, usual_latents
from models.prior import JOINTS


def people(count: int = 5000, seed: int = 0) -> np.ndarray:
    """Latents (N, J, 3) as the prior knows people."""
    return np.random.default_rng(seed).normal(size=(count, JOINTS, 3))


def judged(latent: np.ndarray) -> np.ndarray:
    """p-values of a session."""
    return p_values(usual_latents(latent).surprise(latent))


def test_p_values_of_people_are_as_often_small_as_they_say() -> None:
    p = judged(people())
    for rate in (0.1, 0.01, 0.001):
        assert (p < rate).mean() < 1.3 * rate + 1e-3
    assert (p < 0.1).mean() > 0.03


@pytest.mark.parametrize(("place", "width"), [(12.0, 4.0), (40.0, 15.0)])
def test_one_figure_of_a_session_is_judged_by_the_sessions_own(place: float, width: float) -> None:
    p = gumbel_p(gumbel_r(place, width).rvs(20_000, random_state=1))
    assert kstest(p, "uniform").statistic < 0.06
    for rate in (0.1, 0.01, 0.001):
        assert 0.2 * rate < (p < rate).mean() < rate + 3e-4


def test_a_calm_session_is_judged_no_more_strictly_than_people() -> None:
    calm = 0.5 * people()
    assert np.allclose(usual_latents(calm).unit @ usual_latents(calm).unit.mT, np.eye(3), atol=1e-9)
    assert (judged(calm) < 0.01).mean() == 0


@pytest.mark.parametrize("share", [0.05, 0.15])
def test_wrong_skeletons_hide_none_of_them(share: float) -> None:
    latent, wrong = people(1000), round(1000 * share)
    latent[:wrong, 7] += [12.0, 0.0, 0.0]
    p = judged(latent)
    assert (p[:wrong] < 0.01).mean() > 0.9
    assert (p[wrong:] < 0.01).mean() < 0.01


def test_what_is_a_little_odd_in_every_joint_is_found_where_no_joint_stands_out() -> None:
    latent = people(1000)
    latent[:10] *= 1.7
    surprise = usual_latents(latent).surprise(latent)
    assert (gumbel_p(largest(surprise))[:10] > 0.01).any()
    assert (p_values(surprise)[:10] < 0.01).all()


def test_few_skeletons_are_not_judged_and_unknown_stays_unknown() -> None:
    assert np.isnan(judged(people(LEAST_SKELETONS - 1))).all()
    latent = people(51)
    latent[50] = np.nan
    some = judged(latent)
    assert np.isfinite(some[:-1]).all()
    assert np.isnan(some[-1])


@pytest.mark.parametrize("count", [LEAST_SKELETONS, 30])
def test_short_sessions_give_no_more_false_alarms_than_stated(count: int) -> None:
    draws = gumbel_r(12.0, 4.0).rvs((2000, count), random_state=2)
    assert np.mean([gumbel_p(session) < 0.01 for session in draws]) < 0.01


def test_a_joint_is_measured_from_where_the_session_has_it() -> None:
    latent = people()
    usual = usual_latents(latent)
    assert np.allclose(usual.centre, 0.0, atol=0.1)
    assert np.allclose(usual.surprise(latent), np.square(latent).sum(-1), rtol=0.3, atol=0.8)
    latent[:, 7] = 1.5 * latent[:, 7] + [2.0, 0.0, -1.0]
    latent[:300, 3] = np.nan
    usual = usual_latents(latent)
    assert np.allclose(usual.centre[7], [2.0, 0.0, -1.0], atol=0.15)
    assert np.median(usual.surprise(latent)[:, 7]) == pytest.approx(2.366, rel=0.05)
    assert np.isnan(usual.surprise(latent)[:300, 3]).all()


def test_what_is_off_by_more_than_a_definition_of_joints_stays_surprising() -> None:
    usual = usual_latents(10 * people())
    assert np.allclose(np.linalg.svd(usual.unit)[1], MOST_USUAL**-0.5)


def test_nothing_known_has_no_surprise_and_is_judged_like_people() -> None:
    nothing = np.full((50, JOINTS, 3), np.nan)
    assert np.isnan(largest(nothing[..., 0])).all()
    assert np.isnan(together(nothing[..., 0])).all()
    assert np.array_equal(usual_latents(nothing).unit, np.tile(np.eye(3), (JOINTS, 1, 1)))


def test_a_few_known_joints_surprise_as_much_together_as_all() -> None:
    surprise = np.full((1, JOINTS), 3.0)
    surprise[0, 5:] = np.nan
    assert together(surprise)[0] == 3.0 * JOINTS
