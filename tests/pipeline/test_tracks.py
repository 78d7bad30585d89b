from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from models.skeleton import COCO17
from pipeline.config import ReconstructConfig
from pipeline.errors import InputError
from pipeline.gaps import densities, smoothed
from pipeline.limbs import body_limbs, held_to_lengths, limb_lengths_m, median_known
from pipeline.tracks import BLOCK, MARGIN, bridged, with_tracks
from pipeline.types import Skeletons3D
from pipeline.walkers import STANDING_M, time_ns, walk

SIGMA_M = 0.02
KALMAN = ReconstructConfig()


def _covariance(instants: int) -> np.ndarray:
    return np.tile(SIGMA_M**2 * np.eye(3), (instants, 17, 1, 1))


def _noisy(truth_m: np.ndarray, seed: int = 0) -> np.ndarray:
    return truth_m + np.random.default_rng(seed).normal(0, SIGMA_M, truth_m.shape)


def _instants(xyz_m: np.ndarray, first: int = 0, person: int = 3) -> list[Skeletons3D]:
    """One person's joints (F, 17, 3); an instant where all are NaN shows nobody."""
    made = []
    for f, joints_m in enumerate(xyz_m):
        known = np.isfinite(joints_m).all(-1)
        rest = np.where(known, 1.0, 0.0)[None]
        one = Skeletons3D(time_ns(first + f), np.array([person]), joints_m[None], rest, rest, 4 * rest, _covariance(1))
        made.append(one if known.any() else one.take([]))
    return made


def _off_m(found: list[Skeletons3D], truth_m: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.stack([s.smooth_m[0] for s in found if s.smooth_m is not None]) - truth_m, axis=-1)


def test_a_smoothed_joint_is_nearer_and_its_covariance_true() -> None:
    truth_m = walk((0, 0), (0.6, 0.1), 300)
    t_s, noisy_m = np.arange(300) / 30, _noisy(truth_m)
    mean_m, covariance_m2 = smoothed(t_s, noisy_m, _covariance(300), densities(t_s, noisy_m, _covariance(300)))
    off_m = mean_m - truth_m
    assert np.linalg.norm(off_m, axis=-1).mean() < 0.6 * np.linalg.norm(noisy_m - truth_m, axis=-1).mean()
    distance = np.einsum("fja,fjab,fjb->fj", off_m, np.linalg.inv(covariance_m2), off_m)
    assert 0.90 < (distance < 7.815).mean() < 0.995  # chi-squared, three degrees of freedom, 95 %


def test_a_gap_is_filled_and_less_certain_in_its_middle() -> None:
    truth_m = walk((0, 0), (0.6, 0.1), 120)
    noisy_m = _noisy(truth_m)
    noisy_m[60:65, 9] = np.nan
    found = list(with_tracks(_instants(noisy_m), KALMAN))
    sigma_m = np.stack([s.smooth_sigma_m[0, 9] for s in found if s.smooth_sigma_m is not None])
    assert np.isnan(found[62].xyz_m[0, 9]).all()
    assert sigma_m[62] > 1.5 * sigma_m[50] and sigma_m[62] > sigma_m[60]
    assert _off_m(found, truth_m)[60:65, 9].max() < 4 * sigma_m[62]


def test_a_longer_gap_than_asked_for_stays() -> None:
    noisy_m = _noisy(walk((0, 0), (0.6, 0.1), 60))
    noisy_m[20:30, 9] = np.nan
    noisy_m[50:, 10] = np.nan
    found = list(with_tracks(_instants(noisy_m), KALMAN))
    smooth_m = np.stack([s.smooth_m[0] for s in found if s.smooth_m is not None])
    assert np.isnan(smooth_m[20:30, 9]).all() and np.isnan(smooth_m[50:, 10]).all()
    assert np.isfinite(np.delete(smooth_m, [9, 10], axis=1)).all()


def test_a_person_who_is_missing_for_a_moment_is_put_back() -> None:
    truth_m = walk((0, 0), (0.6, 0.1), 60)
    noisy_m = _noisy(truth_m)
    noisy_m[30:33] = np.nan
    found = list(with_tracks(_instants(noisy_m), KALMAN))
    assert [s.person.tolist() for s in found] == [[3]] * 60
    assert (found[31].n_views == 0).all() and np.isnan(found[31].xyz_m).all() and (found[31].score == 0).all()
    assert _off_m(found, truth_m)[31].max() < 0.08
    assert [len(s) for s in with_tracks(_instants(noisy_m), replace_config(fill_ms=50.0))][31] == 0


def replace_config(**changes: object) -> ReconstructConfig:
    return KALMAN.model_copy(update=changes)


@pytest.mark.parametrize("name", ["butterworth", "spline", "kalman"])
def test_every_filter_comes_nearer_and_keeps_what_was_measured(name: str) -> None:
    truth_m = walk((0, 0), (0.6, 0.1), 200)
    noisy_m = _noisy(truth_m)
    found = list(with_tracks(_instants(noisy_m), replace_config(smooth=name)))
    np.testing.assert_array_equal(np.stack([s.xyz_m[0] for s in found]), noisy_m)
    assert _off_m(found, truth_m).mean() < 0.75 * np.linalg.norm(noisy_m - truth_m, axis=-1).mean()


def test_without_a_filter_nothing_is_added() -> None:
    (found,) = with_tracks(_instants(STANDING_M[None]), replace_config(smooth="none"))
    assert found.smooth_m is None and found.smooth_sigma_m is None


def test_windows_of_a_long_recording_meet_without_a_step() -> None:
    instants = BLOCK + 2 * MARGIN + 200
    truth_m = walk((0, 0), (0.02, 0.0), instants)
    noisy_m = _noisy(truth_m)
    found = list(with_tracks(_instants(noisy_m), replace_config(limb_sigma_m=0.0)))
    assert [s.t_ns for s in found] == [time_ns(f) for f in range(instants)]
    t_s = np.arange(instants) / 30
    whole_m, _ = smoothed(t_s, noisy_m, _covariance(instants), densities(t_s, noisy_m, _covariance(instants)))
    joined_m = np.stack([s.smooth_m[0] for s in found if s.smooth_m is not None])
    assert np.abs(joined_m - whole_m)[BLOCK : BLOCK + 2 * MARGIN].max() < 1e-6


def test_a_recording_streams_through_in_windows() -> None:
    """The first instants are given before the recording ends, and no more than a window of them waits."""
    asked = 0

    def endless() -> Iterator[Skeletons3D]:
        nonlocal asked
        for asked, instant in enumerate(_instants(np.repeat(STANDING_M[None], 3 * BLOCK, axis=0))):  # noqa: B007
            yield instant

    stream = with_tracks(endless(), KALMAN)
    assert len(list(islice(stream, BLOCK))) == BLOCK
    assert asked == BLOCK + 2 * MARGIN - 1


def test_nobody_at_all_streams_through() -> None:
    instants = [one.take([]) for one in _instants(np.repeat(STANDING_M[None], 5, axis=0))]
    assert [len(s) for s in with_tracks(instants, KALMAN)] == [0] * 5


def test_two_people_keep_their_own_tracks() -> None:
    here_m, there_m = walk((0, 0), (0.3, 0), 90), walk((2, 0), (-0.3, 0), 90)
    pairs = zip(_instants(_noisy(here_m), person=1), _instants(_noisy(there_m, 1), person=7), strict=True)
    both = [
        replace(
            a, person=np.array([1, 7]), xyz_m=np.concatenate([a.xyz_m, b.xyz_m]), score=np.ones((2, 17)),
            error_px=np.ones((2, 17)), n_views=np.full((2, 17), 4), covariance_m2=_covariance(2),
        )
        for a, b in pairs
    ]  # fmt: skip
    for f, found in enumerate(with_tracks(both, KALMAN)):
        assert found.smooth_m is not None
        assert np.linalg.norm(found.smooth_m - np.stack([here_m[f], there_m[f]]), axis=-1).max() < 0.1


def test_gaps_are_bridged_between_two_sides_alone() -> None:
    known = np.array([[False], [True], [False], [False], [True], [False]])
    assert bridged(known, np.arange(6.0), 3.0)[:, 0].tolist() == [False, True, True, True, True, False]
    assert bridged(known, np.arange(6.0), 2.9)[:, 0].tolist() == [False, True, False, False, True, False]


def test_limbs_come_near_their_lengths_and_joints_to_the_truth() -> None:
    truth_m, limbs = np.repeat(STANDING_M[None], 200, axis=0), body_limbs()
    noisy_m = _noisy(truth_m)
    lengths_m = median_known(limb_lengths_m(truth_m, limbs))
    held_m = held_to_lengths(noisy_m, _covariance(200), lengths_m, limbs, 0.005)
    body = list(COCO17.limb_joints)
    before, after = (np.linalg.norm(x - truth_m, axis=-1)[:, body].mean() for x in (noisy_m, held_m))
    assert after < 0.9 * before
    assert np.abs(limb_lengths_m(held_m, limbs) - lengths_m).mean() < 0.006
    face = [j for j in range(17) if j not in body]
    np.testing.assert_allclose(held_m[:, face], noisy_m[:, face])


def test_a_limb_without_an_end_holds_nothing() -> None:
    truth_m, limbs = STANDING_M[None].copy(), body_limbs()
    lengths_m = median_known(limb_lengths_m(truth_m, limbs)) * 1.2
    truth_m[0, [COCO17.index("left_wrist"), COCO17.index("left_shoulder")]] = np.nan
    held_m = held_to_lengths(truth_m, _covariance(1), lengths_m, limbs, 0.001)
    assert np.isnan(held_m[0, COCO17.index("left_wrist")]).all()
    np.testing.assert_allclose(held_m[0, COCO17.index("left_elbow")], truth_m[0, COCO17.index("left_elbow")])


def test_with_a_prior_a_joint_without_views_is_told_as_its_posterior_and_stays_without_views() -> None:
    truth_m = np.repeat(STANDING_M[None], 60, axis=0)
    seen_m = _noisy(truth_m)
    seen_m[20:50, 9] = np.nan
    found = list(with_tracks(_instants(seen_m), replace_config(prior="prior", limb_sigma_m=0.0, fill_ms=100.0)))
    alone = list(with_tracks(_instants(seen_m), replace_config(limb_sigma_m=0.0, fill_ms=100.0)))
    gap = slice(20, 50)
    smooth_m, sigma_m = (np.stack([getattr(s, name)[0] for s in found]) for name in ("smooth_m", "smooth_sigma_m"))
    assert np.isnan(np.stack([s.smooth_m[0, 9] for s in alone])[gap]).all()
    away = np.linalg.norm(smooth_m[gap, 9] - STANDING_M[9], axis=-1) / sigma_m[gap, 9]
    assert (away < 3.5).mean() > 0.9
    assert sigma_m[35, 9] > 2 * sigma_m[20, 9] > 2 * sigma_m[10, 9]
    covariance_m2 = np.stack([s.covariance_m2[0, 9] for s in found])
    assert np.allclose(np.sqrt(np.trace(covariance_m2[gap], axis1=1, axis2=2) / 3), sigma_m[gap, 9])
    assert np.isnan(np.stack([s.xyz_m[0, 9] for s in found])[gap]).all()
    others = np.arange(17) != 9
    assert np.allclose(smooth_m[:, others], np.stack([s.smooth_m[0] for s in alone])[:, others])


def test_whoever_is_hardly_seen_has_no_posterior() -> None:
    seen_m = _noisy(np.repeat(STANDING_M[None], 30, axis=0))
    seen_m[10:20, 4:] = np.nan
    found = list(with_tracks(_instants(seen_m), replace_config(prior="prior", fill_ms=0.0)))
    assert np.isnan(np.stack([s.smooth_m[0, 9] for s in found])[10:20]).all()


def test_tracks_refuse_weights_that_are_no_prior() -> None:
    with pytest.raises(InputError, match=r"reconstruct\.prior: .*expected a pose prior"):
        list(with_tracks([], replace_config(prior="studio")))
