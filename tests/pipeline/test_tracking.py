from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from calibration.rig import Rig
from models.skeleton import COCO17
from pipeline.association import Views, pack, with_mirrored
from pipeline.config import ReconstructConfig
from pipeline.reconstruct import reconstruct, thresholds_px
from pipeline.repair import gathered, repaired
from pipeline.tracking import Limits, Tracker, Tracks, assigned, median_m
from pipeline.types import Poses2D
from pipeline.walkers import ring, see, time_ns, walk

PEOPLE, LEFT_WRIST, RIGHT_WRIST = 3, COCO17.index("left_wrist"), COCO17.index("right_wrist")


def _people_m(instants: int) -> np.ndarray:
    starts = (((-0.9, 0.2), (0.5, 0.0)), ((0.8, -0.4), (-0.4, 0.1)), ((0.1, 0.9), (0.0, -0.2)))
    return np.stack([walk(at, speed, instants, 1.3 * p) for p, (at, speed) in enumerate(starts)])


def _tracker(rig: Rig) -> Tracker:
    match_px, pair_px = thresholds_px(rig, ReconstructConfig())
    return Tracker(rig, Limits(match_px, pair_px, 0.5, 5e8, 5))


def _seen(rig: Rig, people_m: np.ndarray) -> list[list[Poses2D]]:
    """Everybody in every view in the order of people_m, without noise."""
    instants = []
    for f in range(people_m.shape[1]):
        views = [camera.project(people_m[:, f].reshape(-1, 3)).reshape(len(people_m), -1, 2) for camera in rig.cameras]
        instants.append([
            Poses2D(camera.name, time_ns(f), xy_px, np.full(xy_px.shape[:2], 0.9), np.zeros((len(xy_px), 1)))
            for camera, xy_px in zip(rig.cameras, views, strict=True)
        ])  # fmt: skip
    return instants


def _follow(rig: Rig, seen: list[list[Poses2D]]) -> tuple[Views, list[tuple[np.ndarray, np.ndarray]]]:
    views = with_mirrored(pack(seen, 17))
    return views, _tracker(rig).follow([time_ns(f) for f in range(len(seen))], views)


@pytest.mark.parametrize("cameras", [2, 3, 4, 8])
def test_people_keep_their_identities_and_each_view_gives_each_person_her_own_joints(cameras: int) -> None:
    rig = ring(cameras)
    _, followed = _follow(rig, _seen(rig, _people_m(30)))
    first = followed[0][0]
    assert sorted(first[:, 0, 0]) == list(range(PEOPLE))
    for whose, who in followed:
        assert who.tolist() == list(range(PEOPLE))
        np.testing.assert_array_equal(whose, first)  # `_seen` keeps the order of people
        assert (whose == whose[:, :1, :1]).all()


def test_a_limb_exchanged_in_one_view_is_read_the_right_way_round() -> None:
    rig, people_m = ring(4), _people_m(20)
    seen = _seen(rig, people_m)
    wrong = seen[12][1].xy_px.copy()
    wrong[0, [LEFT_WRIST, RIGHT_WRIST]] = wrong[0, [RIGHT_WRIST, LEFT_WRIST]]
    seen[12][1] = replace(seen[12][1], xy_px=wrong)
    _, followed = _follow(rig, seen)
    person = followed[11][0][:, 1, 0].tolist().index(0)
    whose = followed[12][0][person]
    assert whose[1, [LEFT_WRIST, RIGHT_WRIST]].tolist() == [PEOPLE, PEOPLE]
    others = np.ones(whose.shape, dtype=bool)
    others[1, [LEFT_WRIST, RIGHT_WRIST]] = False
    assert (whose[others] == 0).all()


def test_a_limb_exchanged_in_most_views_is_not_exchanged_for_good() -> None:
    rig, people_m = ring(4), _people_m(40)
    seen = _seen(rig, people_m)
    for f in range(10, 13):
        for c in range(3):
            wrong = seen[f][c].xy_px.copy()
            wrong[0, [LEFT_WRIST, RIGHT_WRIST]] = wrong[0, [RIGHT_WRIST, LEFT_WRIST]]
            seen[f][c] = replace(seen[f][c], xy_px=wrong)
    _, followed = _follow(rig, seen)
    assert all((whose < PEOPLE).all() for whose, _ in followed[14:])


def test_a_person_who_comes_later_is_new_and_the_others_stay() -> None:
    rig, people_m = ring(4), _people_m(20)
    seen = _seen(rig, people_m)
    for views in seen[:8]:
        views[:] = [Poses2D(v.camera, v.t_ns, v.xy_px[:2], v.score[:2], v.tag[:2]) for v in views]
    _, followed = _follow(rig, seen)
    assert [who.tolist() for _, who in followed] == [[0, 1]] * 8 + [[0, 1, 2]] * 12


def test_a_person_hidden_for_a_while_is_expected_where_she_was_going() -> None:
    rig, people_m = ring(4), _people_m(30)
    seen = _seen(rig, people_m)
    for views in seen[10:20]:
        views[:] = [Poses2D(v.camera, v.t_ns, v.xy_px[1:], v.score[1:], v.tag[1:]) for v in views]
    _, followed = _follow(rig, seen)
    first = followed[0][0][:, 0, 0].tolist().index(0)
    assert followed[9][1].tolist() == [0, 1, 2] and followed[15][1].tolist() == [p for p in range(3) if p != first]
    assert followed[20][0][first, 0, 0] == 0


def test_a_body_moves_by_the_median_of_the_joints_known() -> None:
    step_m = np.full((2, 5, 3), np.nan)
    step_m[0, :4] = np.array([[0.1, 0, 0], [0.1, 0, 0], [0.12, 0, 0], [9.0, 9, 9]])
    np.testing.assert_allclose(median_m(step_m), [[0.11, 0, 0], [np.nan] * 3])


def test_velocity_follows_the_steps_and_missing_joints_move_with_the_body() -> None:
    tracks = Tracks.nobody(3)
    for f in range(20):
        xyz_m = np.arange(9.0).reshape(1, 3, 3) + [0.02 * f, 0, 0]
        xyz_m[0, 2] = np.nan if f == 19 else xyz_m[0, 2]
        tracks = tracks.seen(time_ns(f), np.array([4]), xyz_m)
    np.testing.assert_allclose(tracks.velocity_m, [[0.6, 0, 0]], atol=1e-5)
    np.testing.assert_allclose(tracks.xyz_m[0], np.arange(9.0).reshape(3, 3) + [0.38, 0, 0], atol=1e-6)


def test_nobody_is_assigned_where_nobody_fits() -> None:
    gain = np.full((2, 1, 4), -np.inf)
    gain[0, 0, 1] = 0.5
    assert assigned(gain).tolist() == [[1, -1]]
    assert assigned(np.zeros((2, 0, 0))).shape == (0, 2)


def test_joints_exchanged_between_two_people_of_a_view_are_given_back() -> None:
    rig, people_m = ring(4), _people_m(1)
    seen = _seen(rig, people_m)
    wrong = seen[0][2].xy_px.copy()
    wrong[[0, 1], LEFT_WRIST] = wrong[[1, 0], LEFT_WRIST]
    seen[0][2] = replace(seen[0][2], xy_px=wrong)
    views, instant = with_mirrored(pack(seen, 17)), np.zeros(PEOPLE, dtype=np.int64)
    whose = np.repeat(np.arange(PEOPLE)[:, None, None], 4, axis=1).repeat(17, axis=2)
    used = np.ones((4, PEOPLE, 17), dtype=bool)
    used[2, [0, 1], LEFT_WRIST] = False
    mended = repaired(rig, views, instant, whose, people_m[:, 0], used, 5.0)
    assert mended[[0, 1], 2, LEFT_WRIST].tolist() == [1, 0] and (mended != whose).sum() == 2
    (skeletons,) = reconstruct(rig, [(0, seen[0])], ReconstructConfig())
    assert (skeletons.n_views == 4).all()


def test_one_joint_is_never_given_to_two_people() -> None:
    rig, people_m = ring(4), _people_m(1)
    together_m = people_m.copy()
    together_m[1, 0, LEFT_WRIST] = together_m[0, 0, LEFT_WRIST]
    views, instant = with_mirrored(pack(_seen(rig, people_m), 17)), np.zeros(PEOPLE, dtype=np.int64)
    whose = np.repeat(np.arange(PEOPLE)[:, None, None], 4, axis=1).repeat(17, axis=2)
    whose[[0, 1], 0, LEFT_WRIST] = -1
    used = whose.swapaxes(0, 1) >= 0
    mended = repaired(rig, views, instant, whose, together_m[:, 0], used, 5.0)
    assert sorted(mended[[0, 1], 0, LEFT_WRIST].tolist()) == [-1, 0]


def test_joints_of_nobody_are_missing() -> None:
    rig = ring(2)
    views = with_mirrored(pack(_seen(rig, _people_m(1)), 17))
    whose = np.full((1, 2, 17), -1)
    whose[0, 1, 3] = 2
    xy_px, score = gathered(views, np.zeros(1, dtype=np.int64), whose)
    assert np.isfinite(xy_px[..., 0]).sum() == 1 and (score > 0).sum() == 1
    np.testing.assert_array_equal(xy_px[1, 0, 3], views.xy_px[0, 1, 2, 3])


def test_noise_changes_nothing_of_who_is_who() -> None:
    rig = ring(4)
    seen = see(rig, _people_m(60), 4.0)
    _, followed = _follow(rig, seen)  # type: ignore[arg-type]
    assert all(who.tolist() == [0, 1, 2] for _, who in followed)


@pytest.mark.parametrize("seed", range(20))
def test_people_are_assigned_as_the_best_sum_of_gains_has_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gain = np.concatenate([rng.uniform(-1, 1, (3, 4, 5)), np.full((3, 4, 5), -1.0)], axis=2)
    for c, people in enumerate(assigned(gain).T):
        rows, columns = linear_sum_assignment(np.maximum(gain[c, :, :5], 0), maximize=True)
        kept = gain[c, rows, columns] > 0
        found = people >= 0
        assert found.sum() == len(set(people[found])) <= 5
        assert gain[c, np.flatnonzero(found), people[found]].sum() == pytest.approx(gain[c, rows[kept], columns[kept]].sum())
