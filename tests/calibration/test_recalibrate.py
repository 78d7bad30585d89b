import numpy as np
import pytest

from calibration.errors import CalibrationError
from calibration.recalibrate import recalibrate
from calibration.rig import Rig
from calibration.synthetic import ring_rig
from calibration.transforms import rotation_angle_rad
from tests.calibration.people import filmed, knock, knocked_at, walking

RIG = ring_rig(4)
NOISE_PX = 3.0


def _after_a_knock(shift_px: float, seed: int, frames: int = 100) -> tuple[Rig, np.ndarray]:
    """The true rig after cam2 was knocked, and what it films."""
    pose = knock(RIG["cam2"], shift_px, seed)
    truth = Rig(tuple(camera.with_pose(pose) if camera.name == "cam2" else camera for camera in RIG.cameras))
    return truth, filmed(RIG, walking(frames, seed), {"cam2": knocked_at(RIG["cam2"], frames, {0: pose})}, NOISE_PX, seed=seed)


@pytest.mark.parametrize("shift_px", [5.0, 80.0, 500.0])
def test_the_pose_comes_back_within_its_sigma(shift_px: float) -> None:
    for seed in (1, 2, 3):
        truth, xy_px = _after_a_knock(shift_px, seed)
        solved, report = recalibrate(RIG, "cam2", xy_px)
        # Noise of the points themselves, which the covariance takes as exact, adds about as much again.
        assert 1e3 * np.linalg.norm(solved["cam2"].centre_m - truth["cam2"].centre_m) < 5 * report.translation_sigma_mm
        off_rad = rotation_angle_rad(solved["cam2"].cam_from_world.R, truth["cam2"].cam_from_world.R)
        assert 1e3 * off_rad < 5 * report.rotation_sigma_mrad
        assert report.translation_sigma_mm < 10.0
        # The median length of a 2D error is 1.18 sigma; the points' own noise is near 3 px, and a fifth of them is wrong.
        assert report.after_px < 1.18 * np.sqrt(2) * 1.4 * NOISE_PX
        assert report.before_px > 0.6 * shift_px
        assert 0.7 * report.points < report.used <= report.points


def test_the_lens_and_the_other_cameras_stay() -> None:
    _, xy_px = _after_a_knock(40.0, 1)
    solved, _ = recalibrate(RIG, "cam2", xy_px)
    assert solved.names == RIG.names
    np.testing.assert_array_equal(solved["cam2"].K, RIG["cam2"].K)
    np.testing.assert_array_equal(solved["cam2"].dist, RIG["cam2"].dist)
    for name in ("cam1", "cam3", "cam4"):
        assert solved[name] is RIG[name]


def test_a_camera_that_was_not_bumped_stays_where_it_stands() -> None:
    xy_px = filmed(RIG, walking(100, 4), noise_px=NOISE_PX, seed=4)
    solved, report = recalibrate(RIG, "cam2", xy_px)
    assert report.translation_mm < 5 * report.translation_sigma_mm
    assert report.rotation_mrad < 5 * report.rotation_sigma_mrad


def test_a_known_covariance_gets_the_new_block_and_keeps_the_others() -> None:
    known = np.diag(np.arange(1.0, 25.0)) * 1e-6 + 1e-8
    truth, xy_px = _after_a_knock(10.0, 1)
    solved, report = recalibrate(Rig(RIG.cameras, (), known), "cam2", xy_px)
    assert solved.covariance is not None
    np.testing.assert_array_equal(solved.covariance[:6, :6], known[:6, :6])
    np.testing.assert_array_equal(solved.covariance[6:12, :6], 0.0)
    assert np.sqrt(np.linalg.eigvalsh(report.pose_covariance[:3, :3])[-1]) == pytest.approx(1e-3 * report.rotation_sigma_mrad)
    assert np.linalg.eigvalsh(solved.covariance[6:12, 6:12]).min() > 0
    assert recalibrate(RIG, "cam2", xy_px)[0].covariance is None


def test_too_few_points_a_line_and_too_few_cameras_are_refused() -> None:
    _, xy_px = _after_a_knock(10.0, 1)
    with pytest.raises(CalibrationError, match="at least 8 points.*found"):
        recalibrate(RIG, "cam2", xy_px[:, :1, :7])
    one_other = xy_px.copy()
    one_other[2:] = np.nan
    with pytest.raises(CalibrationError, match="seen by it and two others: 0"):
        recalibrate(RIG, "cam2", one_other)
    with pytest.raises(CalibrationError, match="two other cameras"):
        recalibrate(RIG.subset(["cam1", "cam2"]), "cam2", xy_px[:2])
    with pytest.raises(CalibrationError, match="no camera 'cam9'"):
        recalibrate(RIG, "cam9", xy_px)
    line_m = np.linspace([-0.5, -0.2, 0.3], [0.5, 0.4, 1.6], 40)
    line_px = np.stack([camera.project(line_m) for camera in RIG.cameras])
    with pytest.raises(CalibrationError, match="on a line"):
        recalibrate(RIG, "cam2", line_px + np.random.default_rng(0).normal(0, 0.5, line_px.shape))


def test_pixels_that_agree_with_no_pose_are_refused() -> None:
    _, xy_px = _after_a_knock(10.0, 1)
    xy_px[1] = np.random.default_rng(0).uniform(0, 1000, xy_px[1].shape)
    with pytest.raises(CalibrationError, match="recalibrate cam2"):
        recalibrate(RIG, "cam2", xy_px[:, :3])
