"""Missing joints between sightings: bridges of what moves are exact, sure where seen, no surer than either of what is fused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from models.prior import JOINTS
from models.prior_score import load_skeleton_prior
from models.prior_track import DRAWS, Motion, posterior_in_time, told_by_track

RNG = np.random.default_rng(0)
T_S = np.arange(21) / 30
BODY_M = 0.4 * RNG.normal(size=(JOINTS, 3))
SLOW = Motion(np.ones(JOINTS), 0.2)


def with_gap(xyz_m: np.ndarray, joints: list[int], first: int = 6, stop: int = 15) -> np.ndarray:
    out = xyz_m.copy()
    out[first:stop, joints] = np.nan
    return out


def test_a_rigid_body_that_turns_and_walks_keeps_its_missing_joint_in_place() -> None:
    turns = Rotation.from_rotvec(np.outer(3 * T_S, [0, 0, 1])).as_matrix()
    true_m = np.einsum("fab,jb->fja", turns, BODY_M) + np.outer(T_S, [1.0, 0.5, 0.0])[:, None]
    for row in (6, 10, 14):
        place_m, variance_m2 = told_by_track(T_S, with_gap(true_m, [9]), row, 9, 1e-4)
        assert np.allclose(place_m, true_m[row, 9], atol=1e-9)
        assert variance_m2 > 0


def test_the_longer_a_joint_was_not_seen_the_less_is_known() -> None:
    still_m = np.repeat(BODY_M[None], len(T_S), 0)
    spread = [told_by_track(T_S, with_gap(still_m, [9], 6, stop), 8, 9, 0.01)[1] for stop in (9, 12, 15, 21)]
    assert np.all(np.diff(spread) > 0)


def test_ellipsoids_of_an_ornstein_uhlenbeck_velocity_cover_what_they_say() -> None:
    rng, step_s, noise_m = np.random.default_rng(1), 0.01, 0.01
    keep = np.exp(-step_s / SLOW.forgotten_s)
    velocity = rng.normal(size=(4000, 3))
    at_m, track = np.zeros((4000, 3)), []
    for _ in range(61):
        track.append(at_m)
        middle = velocity
        velocity = keep * velocity + np.sqrt(1 - keep**2) * rng.normal(size=velocity.shape)
        at_m = at_m + step_s * (middle + velocity) / 2
    seen = [0, 5, 10, 50, 55, 60]
    weight, variance_m2 = SLOW.between(0, step_s * (np.array(seen) - 25), noise_m)
    told_m = np.tensordot(weight, np.stack(track)[seen] + noise_m * rng.normal(size=(6, 4000, 3)), 1)
    assert np.square(told_m - track[25]).mean() == pytest.approx(variance_m2, rel=0.04)


def test_where_both_agree_the_posterior_is_surer_than_either_and_where_they_do_not_it_says_so() -> None:
    prior, still_m = load_skeleton_prior(), np.repeat(BODY_M[None], len(T_S), 0)
    alone = prior.posterior(with_gap(still_m, [9])[10:11], DRAWS)
    widths = []
    for away_m in (0.0, 2.0):
        still_m[:, 9] = alone.mean_m[0, 9] + [away_m, 0.0, 0.0]
        track_m = with_gap(still_m, [9])
        fused = posterior_in_time(prior, T_S, track_m, rows=np.array([10]))
        widths.append(np.linalg.eigvalsh(fused.covariance_m2[0, 9]).max())
        assert np.array_equal(fused.mean_m[0, :9], BODY_M[:9])
    assert widths[0] < min(told_by_track(T_S, track_m, 10, 9, 0.01)[1], np.linalg.eigvalsh(alone.covariance_m2[0, 9]).max())
    assert widths[1] > 3 * widths[0]


def test_a_joint_never_seen_is_the_priors_alone() -> None:
    prior, track_m = load_skeleton_prior(), np.repeat(BODY_M[None], len(T_S), 0)
    track_m[:, [3, 9]] = np.nan
    assert told_by_track(T_S, track_m, 10, 3, 0.01) is None
    fused, alone = posterior_in_time(prior, T_S, track_m, rows=np.array([10])), prior.posterior(track_m[10:11], DRAWS)
    assert np.allclose(fused.mean_m, alone.mean_m, atol=1e-9)
    assert np.allclose(fused.covariance_m2, alone.covariance_m2, atol=1e-12)


def test_every_row_of_a_track_is_answered_and_what_was_seen_stays() -> None:
    still_m = np.repeat(BODY_M[None], len(T_S), 0)
    track_m = with_gap(still_m, [9, 10])
    found = posterior_in_time(load_skeleton_prior(), T_S, track_m)
    assert np.isfinite(found.mean_m).all()
    assert np.array_equal(found.mean_m[:6], still_m[:6])
    assert not found.covariance_m2[:, :9].any()
