from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration.formats import load_rig
from calibration.rig import Rig
from models.skeleton import COCO17
from pipeline.association import associate, pack, with_mirrored
from pipeline.config import DetectConfig, ReconstructConfig
from pipeline.detect import imported
from pipeline.detections import read_detections
from pipeline.reconstruct import Tally, reconstruct, thresholds_px
from pipeline.trc import read_trc
from pipeline.types import Poses2D, Skeletons3D
from pipeline.walkers import ring, see, time_ns, walk

NOISE_PX = 2.0
CONFIG = ReconstructConfig()


def _three_people(instants: int = 40) -> np.ndarray:
    return np.stack(
        [
            walk((-0.9, 0.2), (0.5, 0.0), instants),
            walk((0.8, -0.4), (-0.4, 0.1), instants, turn_rad=2.0),
            walk((0.1, 0.9), (0.0, -0.2), instants, turn_rad=-1.2),
        ]
    )


def _solve(rig: Rig, seen: list[list[Poses2D | None]], config: ReconstructConfig = CONFIG) -> list[Skeletons3D]:
    return list(reconstruct(rig, [(time_ns(f), views) for f, views in enumerate(seen)], config))


def _figures(rig: Rig, found: list[Skeletons3D]) -> dict:
    tally = Tally()
    for instant in found:
        tally.add(instant)
    return tally.figures(rig)


def _noise_m(rig: Rig) -> float:
    """1 sigma to expect per axis: pixel noise at the rig's distance, C views that measure two of three axes each."""
    distance_m = float(np.mean([np.linalg.norm(camera.centre_m) for camera in rig.cameras]))
    return NOISE_PX * distance_m / rig.cameras[0].K[0, 0] * np.sqrt(3.0 / (2.0 * len(rig)))


def _who(found: Skeletons3D, truth_m: np.ndarray) -> list[int]:
    """Which true person (P, J, 3) each skeleton is."""
    away = np.linalg.norm(found.xyz_m[:, None] - truth_m[None], axis=-1).mean(-1)
    return away.argmin(1).tolist()


@pytest.mark.parametrize("cameras", [3, 4, 6])
def test_everybody_is_found_in_place_and_keeps_the_identity(cameras: int) -> None:
    rig, truth_m = ring(cameras), _three_people()
    found = _solve(rig, see(rig, truth_m, NOISE_PX))
    names = _who(found[0], truth_m[:, 0])
    assert sorted(names) == [0, 1, 2]
    errors = []
    for f, skeletons in enumerate(found):
        assert skeletons.person.tolist() == [0, 1, 2]
        assert _who(skeletons, truth_m[:, f]) == names
        assert (skeletons.n_views == cameras).mean() > 0.99
        errors.append(np.linalg.norm(skeletons.xyz_m - truth_m[names, f], axis=-1))
    # The mean of the norm of three normal numbers is 1.6 sigma; a quarter more for rays that meet at an angle.
    assert np.mean(errors) < 2.0 * _noise_m(rig)
    assert np.max(errors) < 8.0 * _noise_m(rig)


@pytest.mark.parametrize("cameras", [3, 4])
def test_ellipsoids_of_95_percent_hold_95_percent_of_the_joints(cameras: int) -> None:
    rig, truth_m = ring(cameras), _three_people()
    held = []
    for f, skeletons in enumerate(_solve(rig, see(rig, truth_m, NOISE_PX))):
        assert skeletons.covariance_m2 is not None
        off_m = skeletons.xyz_m - truth_m[_who(skeletons, truth_m[:, f]), f]
        held.append(np.einsum("pji,pjik,pjk->pj", off_m, np.linalg.inv(skeletons.covariance_m2), off_m))
    # 95 % of a chi-square variable of three degrees of freedom; 2040 joints scatter by half a percent.
    assert (np.concatenate(held) < 7.815).mean() == pytest.approx(0.95, abs=0.02)


def test_a_joint_fewer_views_made_is_less_certain() -> None:
    rig, truth_m = ring(), _three_people(6)[:1]
    seen = see(rig, truth_m, NOISE_PX)
    for views in seen:
        hidden = views[0]
        assert hidden is not None
        xy_px = hidden.xy_px.copy()
        xy_px[:, 9] = np.nan
        views[0] = replace(hidden, xy_px=xy_px)
    for before, after in zip(_solve(rig, see(rig, truth_m, NOISE_PX)), _solve(rig, seen), strict=True):
        assert before.covariance_m2 is not None and after.covariance_m2 is not None
        grown = np.trace(after.covariance_m2[0], axis1=1, axis2=2) / np.trace(before.covariance_m2[0], axis1=1, axis2=2)
        assert grown.argmax() == 9 and grown[9] > 1.2


def test_without_noise_the_joints_are_exact() -> None:
    rig, truth_m = ring(), _three_people(3)
    for f, skeletons in enumerate(_solve(rig, see(rig, truth_m))):
        np.testing.assert_allclose(skeletons.xyz_m, truth_m[_who(skeletons, truth_m[:, f]), f], atol=1e-6)
        assert skeletons.error_px.max() < 1e-3


def test_a_person_one_camera_shows_elsewhere_is_solved_by_the_others() -> None:
    rig, truth_m = ring(), _three_people(6)
    seen = see(rig, truth_m, NOISE_PX)
    for views in seen:
        wrong = views[1]
        assert wrong is not None
        views[1] = replace(wrong, xy_px=wrong.xy_px + np.array([250.0, -180.0]))
    for f, skeletons in enumerate(_solve(rig, seen)):
        assert sorted(_who(skeletons, truth_m[:, f])) == [0, 1, 2]
        error_m = np.linalg.norm(skeletons.xyz_m - truth_m[_who(skeletons, truth_m[:, f]), f], axis=-1)
        assert error_m.mean() < 2.0 * _noise_m(rig.subset(["cam1", "cam3", "cam4"]))
        assert skeletons.n_views.max() == 3


def test_swapped_left_and_right_in_one_view_do_not_part_a_person() -> None:
    rig, truth_m = ring(), _three_people(6)[:1]
    seen = see(rig, truth_m, NOISE_PX)
    for views in seen:
        wrong = views[2]
        assert wrong is not None
        xy_px = wrong.xy_px.copy()
        xy_px[:, [13, 14, 15, 16]] = xy_px[:, [14, 13, 16, 15]]
        views[2] = replace(wrong, xy_px=xy_px)
    for f, skeletons in enumerate(_solve(rig, seen)):
        assert len(skeletons) == 1
        assert np.linalg.norm(skeletons.xyz_m[0] - truth_m[0, f], axis=-1).max() < 12.0 * _noise_m(rig)


def test_a_missing_camera_and_missing_people_leave_what_two_views_see() -> None:
    rig, truth_m = ring(), _three_people(4)
    seen = see(rig, truth_m)
    for views in seen:
        views[0] = None
        half = views[3]
        assert half is not None
        views[3] = Poses2D(half.camera, half.t_ns, half.xy_px[:1], half.score[:1], half.tag[:1])
    for f, skeletons in enumerate(_solve(rig, seen)):
        assert sorted(_who(skeletons, truth_m[:, f])) == [0, 1, 2]
        assert sorted(skeletons.n_views.max(1).tolist()) == [2, 2, 3]


def test_who_only_one_camera_sees_is_not_reconstructed() -> None:
    rig, truth_m = ring(), _three_people(3)
    seen = [[views[0], None, None, None] for views in see(rig, truth_m)]
    found = _solve(rig, seen)
    assert [len(skeletons) for skeletons in found] == [0, 0, 0]
    assert _figures(rig, found) == {"people": 0, "instants": 3, "instants_without_people": 3}
    alone = rig.subset(["cam1"])
    found = _solve(alone, [views[:1] for views in seen])
    assert [len(skeletons) for skeletons in found] == [0, 0, 0]
    assert "need two cameras" in _figures(alone, found)["note"]


def test_nobody_anywhere_gives_empty_instants() -> None:
    found = _solve(ring(), [[None] * 4, [None] * 4])
    assert [len(skeletons) for skeletons in found] == [0, 0]


def test_two_different_people_of_two_views_are_nobody() -> None:
    rig, truth_m = ring(), _three_people(10)
    child_m = 0.7 * truth_m[1:2]
    first, second = see(rig, truth_m[:1]), see(rig, child_m)
    seen = [[a[0], b[1], None, None] for a, b in zip(first, second, strict=True)]
    assert sum(len(skeletons) for skeletons in _solve(rig, seen)) == 0


def test_nan_and_infinite_scores_count_as_missing() -> None:
    rig, truth_m = ring(), _three_people(1)[:1]
    [views] = see(rig, truth_m)
    broken = views[0]
    assert broken is not None
    score = broken.score.copy()
    score[0, :3], score[0, 3] = np.nan, np.inf
    views[0] = replace(broken, score=score)
    [skeletons] = _solve(rig, [views])
    assert skeletons.n_views[0, :4].tolist() == [3, 3, 3, 3]
    assert np.isfinite(skeletons.xyz_m).all()


def test_a_person_back_within_the_gap_keeps_the_identity_and_later_is_somebody_new() -> None:
    rig, truth_m = ring(), _three_people(40)[:1]
    seen = see(rig, truth_m)
    for f in (*range(5, 15), *range(20, 40)):
        seen[f] = [None] * 4
    found = _solve(rig, [*seen, see(rig, truth_m)[39]])
    names = [skeletons.person.tolist() for skeletons in found]
    assert names[:5] == [[0]] * 5
    assert names[15:20] == [[0]] * 5  # a gap of 10 instants is 333 ms
    assert names[40] == [1]  # and one of 20 is 667 ms


def test_the_same_input_gives_the_same_skeletons() -> None:
    rig, truth_m = ring(), _three_people(5)
    seen = see(rig, truth_m, NOISE_PX)
    for one, two in zip(_solve(rig, seen), _solve(rig, seen), strict=True):
        np.testing.assert_array_equal(one.xyz_m, two.xyz_m)
        np.testing.assert_array_equal(one.person, two.person)


def _crossing(instants: int) -> np.ndarray:
    """(4, F, J, 3) people on paths that cross, within reach of each other at times."""
    t, people = np.arange(instants) / 30, []
    for i in range(4):
        body, phase = walk((0, 0), (0, 0), instants, turn_rad=1.5 * i), i * np.pi / 2
        path_m = np.stack([np.cos(t + phase) * np.cos(0.62 * t + i), np.sin(0.74 * t + phase)], axis=-1)
        body[..., :2] += path_m[:, None]
        people.append(body)
    return np.stack(people)


@pytest.mark.parametrize("cameras", [3, 4])
def test_people_who_cross_are_never_exchanged_despite_noise_gaps_and_swapped_legs(cameras: int) -> None:
    names = np.arange(4)
    rig, truth_m, rng = ring(cameras), _crossing(150), np.random.default_rng(5)
    between_m = np.linalg.norm(truth_m[:, None, :, 11, :2] - truth_m[None, :, :, 11, :2], axis=-1)
    assert between_m[np.triu_indices(4, 1)].min() < 0.2
    seen = see(rig, truth_m, 3.0)
    for views in seen:
        for c, pose in enumerate(views):
            assert pose is not None
            xy_px, missing = pose.xy_px.copy(), rng.random(pose.score.shape) < 0.10
            for person in np.flatnonzero(rng.random(len(pose)) < 0.05):
                xy_px[person, 13:17] = xy_px[person, [14, 13, 16, 15]]
            xy_px[missing] = np.nan
            views[c] = replace(pose, xy_px=xy_px, score=np.where(missing, 0.0, pose.score))
    errors_m = []
    for f, skeletons in enumerate(_solve(rig, seen)):
        assert skeletons.person.tolist() == [0, 1, 2, 3]
        away_m = np.nanmean(np.linalg.norm(skeletons.xyz_m[:, None] - truth_m[None, :, f], axis=-1), axis=-1)
        names = away_m.argmin(1) if f == 0 else names
        assert sorted(names) == [0, 1, 2, 3]
        assert (away_m.argmin(1) == names).all()
        errors_m.append(away_m[np.arange(4), names])
    # Swapped legs and joints seen by two views alone cost up to half as much again as noise does.
    assert np.mean(errors_m) < 1.5 * 1.6 * _noise_m(rig) * 3.0 / NOISE_PX


def test_groups_hold_nobody_twice_and_at_least_two_views() -> None:
    rig, truth_m = ring(6), _three_people(5)
    for groups in associate(rig, with_mirrored(pack(see(rig, truth_m, 6.0), 17)), thresholds_px(rig, CONFIG)[0]):
        assert ((groups >= 0).sum(1) >= 2).all()
        for column in groups.T:
            seen = column[column >= 0]
            assert len(set(seen.tolist())) == len(seen)


TRC_NAMES = {"nose": "Nose"} | {
    f"{side}_{joint}": f"{side[0].upper()}{joint.capitalize()}"
    for side in ("left", "right")
    for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
}


def test_imported_detections_lead_to_the_published_trajectories(shared_data: Path) -> None:
    folder = shared_data / "pose2sim_4cam"
    rig = load_rig(folder / "calib" / "Calib_qualisys.toml")
    truth = read_trc(folder / "single_static" / "pose-3d" / "S00_P00_T00_StaticTrial_0-12.trc")
    shown = {f: [time_ns(f)] for f in range(11)}  # the videos have 11 frames, the detections 12
    views = [
        list(imported(read_detections(folder / f"single_static/pose/cam0{c}_json"), shown, f"cam{c}", DetectConfig()))
        for c in (1, 2, 3, 4)
    ]
    seen: list[list[Poses2D | None]] = [list(poses) for poses in zip(*views, strict=True)]
    found = _solve(rig, seen)
    assert [skeletons.person.tolist() for skeletons in found] == [[0]] * 11
    joints = [COCO17.index(name) for name in TRC_NAMES]
    expected_m = truth.xyz_m[:11, [truth.markers.index(name) for name in TRC_NAMES.values()]]
    off_m = np.linalg.norm(np.stack([s.xyz_m[0, joints] for s in found]) - expected_m, axis=-1)
    assert off_m.max() < 1e-3
    assert np.median(off_m) < 1e-4


def _turned(pose: Poses2D) -> Poses2D:
    """What a detector says that takes a back for a front: left and right of everybody exchanged."""
    mirror = list(COCO17.mirror)
    return Poses2D(pose.camera, pose.t_ns, pose.xy_px[:, mirror], pose.score[:, mirror], pose.tag)


def test_a_view_that_exchanges_left_and_right_is_read_the_other_way_round() -> None:
    rig, truth_m = ring(4), _three_people(6)
    seen = see(rig, truth_m, NOISE_PX)
    turned = [[_turned(pose) if c == 2 and pose is not None else pose for c, pose in enumerate(views)] for views in seen]
    plain, found = _solve(rig, seen), _solve(rig, turned)
    for one, other in zip(plain, found, strict=True):
        np.testing.assert_allclose(np.sort(one.xyz_m, axis=0), np.sort(other.xyz_m, axis=0), atol=1e-9)
        assert (other.n_views == 4).all()


def test_two_views_alone_are_never_turned() -> None:
    # One of two views is wrong about left and right, and nothing says which.
    rig, truth_m = ring(2), _three_people(6)
    seen = [[views[0], _turned(views[1])] for views in see(rig, truth_m, 0.5) if views[1] is not None]
    for groups in associate(rig, with_mirrored(pack(seen, 17)), *thresholds_px(rig, CONFIG)):
        assert (groups < 3).all()
