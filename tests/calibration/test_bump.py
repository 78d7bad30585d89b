from dataclasses import replace

import numpy as np
import pytest

from calibration.bump import Bump, find_bumps
from calibration.errors import CalibrationError
from calibration.pose_tracks import Tracks, Views, epipolar_rows, turned
from calibration.rig import Rig
from calibration.synthetic import ring_rig
from calibration.transforms import Rigid
from tests.calibration.people import filmed, knock, knocked_at, walking

FRAMES = 200
STEP_NS = 33_333_333
RIG = ring_rig(4)


def _found(
    rig: Rig, bumps: dict[str, dict[int, Rigid]], seed: int = 0, frames: int = FRAMES, memory: float = 0.0
) -> tuple[Bump, ...]:
    poses = {name: knocked_at(rig[name], frames, at) for name, at in bumps.items()}
    xy_px = filmed(rig, walking(frames, seed), poses, memory=memory, seed=seed)
    return find_bumps(rig, np.arange(frames) * STEP_NS, xy_px)


@pytest.mark.parametrize("shift_px", [4.0, 20.0, 150.0])
def test_a_bump_is_told_with_camera_time_and_size(shift_px: float) -> None:
    pose = knock(RIG["cam3"], shift_px, seed=2)
    [bump] = _found(RIG, {"cam3": {120: pose}}, seed=3)
    assert (bump.camera, bump.suspects) == ("cam3", ("cam3",))
    assert abs(bump.frame - 120) <= 2
    assert bump.t_ns == bump.frame * STEP_NS
    # The points need not be those that the knock was measured at: nearer or further ones shift by up to a quarter more or less.
    assert abs(bump.size.shift_px - shift_px) < 0.25 * shift_px + 4 * bump.size.shift_sigma_px
    turned_mrad = 1e3 * np.linalg.norm(Rigid.from_matrix((pose @ RIG["cam3"].cam_from_world.inverse()).matrix).rvec)
    assert abs(bump.size.rotation_mrad - turned_mrad) < 4 * bump.size.rotation_sigma_mrad
    moved_mm = 1e3 * np.linalg.norm(pose.inverse().t - RIG["cam3"].centre_m)
    assert abs(bump.size.translation_mm - moved_mm) < 4 * bump.size.translation_sigma_mm
    assert bump.significance > 1.0


@pytest.mark.parametrize("memory", [0.0, 0.8])
def test_a_quiet_recording_has_no_bump(memory: float) -> None:
    for seed in range(4):
        assert _found(RIG, {}, seed=seed, memory=memory) == ()


def test_a_short_recording_of_held_errors_has_no_bump_but_a_knock_is_told() -> None:
    for seed in (0, 6, 7, 12, 19):  # those of 0 to 19 that look like steps by their own 45 frames
        xy_px = filmed(RIG, walking(45, seed), noise_px=5.0, memory=0.95, seed=seed)
        assert find_bumps(RIG, np.arange(45) * STEP_NS, xy_px) == ()
    [bump] = _found(RIG, {"cam3": {22: knock(RIG["cam3"], 40.0, seed=2)}}, seed=2, frames=45)
    assert (bump.camera, abs(bump.frame - 22) <= 2) == ("cam3", True)


def test_bumps_of_one_camera_and_of_two_are_told_apart() -> None:
    first = knock(RIG["cam2"], 8.0, seed=1)
    second = knock(RIG["cam2"].with_pose(first), 12.0, seed=2)
    other = knock(RIG["cam4"], 10.0, seed=3)
    found = _found(RIG, {"cam2": {60: first, 150: second}, "cam4": {105: other}}, seed=4)
    assert [bump.camera for bump in found] == ["cam2", "cam4", "cam2"]
    assert np.abs(np.array([bump.frame for bump in found]) - [60, 105, 150]).max() <= 3


def test_a_slow_drift_is_no_bump() -> None:
    away = knock(RIG["cam1"], 15.0, seed=5) @ RIG["cam1"].cam_from_world.inverse()
    poses = [Rigid.from_rvec(s * away.rvec, s * away.t) @ RIG["cam1"].cam_from_world for s in np.linspace(0, 1, FRAMES)]
    xy_px = filmed(RIG, walking(FRAMES, 6), {"cam1": poses}, seed=6)
    assert find_bumps(RIG, np.arange(FRAMES) * STEP_NS, xy_px) == ()


def test_three_cameras_tell_which_one_and_two_cannot() -> None:
    rig = ring_rig(3)
    [bump] = _found(rig, {"cam2": {90: knock(rig["cam2"], 15.0, seed=1)}}, seed=2)
    assert bump.suspects == ("cam2",)
    pair = rig.subset(["cam1", "cam2"])
    [bump] = _found(pair, {"cam2": {90: knock(pair["cam2"], 15.0, seed=1)}}, seed=2)
    assert set(bump.suspects) == {"cam1", "cam2"}
    assert np.isnan(bump.size.translation_mm)  # along the line between two cameras nothing tells it
    assert abs(bump.frame - 90) <= 2


def test_frames_without_anybody_and_weights_of_zero_tell_nothing() -> None:
    poses = {"cam3": knocked_at(RIG["cam3"], FRAMES, {120: knock(RIG["cam3"], 10.0, seed=2)})}
    xy_px = filmed(RIG, walking(FRAMES, 3), poses, seed=3)
    xy_px[:, 40:60] = np.nan
    weight = np.ones(xy_px.shape[:3])
    xy_px[1, 70:], weight[1, 70:] = 7.0, 0.0
    [bump] = find_bumps(RIG, np.arange(FRAMES) * STEP_NS, xy_px, weight)
    assert bump.camera == "cam3"
    assert abs(bump.frame - 120) <= 2
    assert find_bumps(RIG, np.arange(FRAMES) * STEP_NS, np.full_like(xy_px, np.nan)) == ()


@pytest.mark.parametrize(("shape", "message"), [((3, 5, 17, 2), "C=4"), ((4, 6, 17, 2), "t_ns"), ((4, 5, 17, 3), "xy_px")])
def test_arrays_that_do_not_fit_are_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        find_bumps(RIG, np.arange(5), np.zeros(shape))
    with pytest.raises(CalibrationError, match="two cameras"):
        find_bumps(RIG.subset(["cam1"]), np.arange(5), np.zeros((1, 5, 17, 2)))
    with pytest.raises(CalibrationError, match="increase"):
        find_bumps(RIG, np.zeros(5), np.zeros((4, 5, 17, 2)))


def test_the_derivative_of_the_epipolar_residual_is_that_of_finite_differences() -> None:
    views = Views.of(RIG, xy_px := filmed(RIG, walking(3, 1), seed=3), np.isfinite(xy_px).all(-1) * 1.0)
    tracks = Tracks.of(RIG)
    for a, b in ((0, 1), (0, 2)):
        rows = epipolar_rows(views, tracks, a, b)
        for camera, J in ((a, rows.by_a), (b, rows.by_b)):
            for axis, unit in enumerate(1e-6 * np.eye(6)):
                ahead, behind = (
                    replace(
                        tracks,
                        poses=tuple((turned(p, s * unit),) if c == camera else (p,) for c, (p,) in enumerate(tracks.poses)),
                    )
                    for s in (1, -1)
                )
                slope = (epipolar_rows(views, ahead, a, b).error_px - epipolar_rows(views, behind, a, b).error_px) / 2e-6
                np.testing.assert_allclose(slope[rows.weight > 0], J[rows.weight > 0][:, axis], atol=1e-5)
