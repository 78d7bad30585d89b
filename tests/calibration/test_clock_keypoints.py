from dataclasses import replace

import numpy as np
import pytest

from calibration.clock_keypoints import keypoint_clocks
from calibration.clock_tracks import image_tracks, looked_up
from calibration.clocks import Clocks
from calibration.epipolar import essential, sampson
from calibration.errors import CalibrationError
from calibration.rig import Rig
from calibration.synthetic import ring_rig
from tests.calibration.moving_people import filmed, wanderers

RIG = ring_rig(3, size_wh=(1280, 720))
SECONDS = 30.0


def _truth(about_s: float = SECONDS / 2) -> Clocks:
    return Clocks(RIG.names, np.array([0.0, 1.37, -0.62]), np.array([0.0, 8e-5, -5e-5]), about_s, np.zeros((6, 6)))


def _off(found: Clocks, truth: Clocks) -> tuple[np.ndarray, np.ndarray]:
    """Errors of offsets, about the time that the found clocks are told at, and of drifts."""
    moved_s = truth.offset_s + truth.drift * (found.about_s - truth.about_s)
    return (found.offset_s - moved_s)[1:], (found.drift - truth.drift)[1:]


def test_one_point_lies_on_its_epipolar_line_and_off_it_by_what_it_was_moved() -> None:
    rng = np.random.default_rng(0)
    a, b = RIG.cameras[:2]
    xyz_m = rng.uniform(-0.5, 0.5, (20, 3)) + [0, 0, 1]
    one, other = a.undistort(a.project(xyz_m)), b.undistort(b.project(xyz_m))
    E = essential(a, b)
    error, across = sampson(E, one, other)
    assert np.abs(error).max() < 1e-12
    step = rng.normal(0, 1e-5, other.shape)
    assert np.allclose(sampson(E, one, other + step)[0], (across * step).sum(-1), atol=1e-9)


def test_offset_and_drift_are_found_and_known_as_well_as_they_are_told() -> None:
    found = keypoint_clocks(filmed(RIG, wanderers(2, 1), _truth(), SECONDS), 2.5)
    offset_s, drift = _off(found, _truth())
    assert np.abs(offset_s).max() < 1e-3
    assert (found.sigma_s[1:] < 5e-4).all()
    assert (np.abs(offset_s) < 4 * found.sigma_s[1:]).all()
    assert (np.abs(drift) < 4 * found.drift_sigma[1:]).all()


def test_a_rolling_shutter_that_is_calibrated_shifts_no_clock() -> None:
    rolling = Rig((RIG.cameras[0], replace(RIG.cameras[1], readout_s=0.03), RIG.cameras[2]))
    views = filmed(rolling, wanderers(2, 2), _truth(), SECONDS)
    aware, _ = _off(keypoint_clocks(views, 2.5), _truth())
    blind_views = [replace(view, delay_s=np.zeros_like(view.delay_s)) for view in views]
    blind, _ = _off(keypoint_clocks(blind_views, 2.5), _truth())
    assert np.abs(aware).max() < 1e-3 < 2e-3 < abs(blind[0])


def test_people_who_stand_still_tell_no_time() -> None:
    motion = wanderers(1, 3)
    views = filmed(RIG, lambda t_s: motion(np.zeros_like(t_s)), _truth(), 10.0)
    with pytest.raises(CalibrationError, match="no two of .* see people move in a way that tells the time"):
        keypoint_clocks(views, 2.5)


def test_cameras_that_share_a_clock_get_one() -> None:
    shared = Clocks(RIG.names, np.array([0.0, 0.9, 0.9]), np.array([0.0, 3e-5, 3e-5]), SECONDS / 2, np.zeros((6, 6)))
    found = keypoint_clocks(filmed(RIG, wanderers(2, 4), shared, SECONDS), 2.5, (0, 1, 1))
    assert found.names == RIG.names[:2]
    assert abs(found.offset_s[1] - 0.9) < 1e-3


def test_people_are_followed_in_their_slots_whatever_order_they_come_in() -> None:
    still = Clocks(RIG.names, np.zeros(3), np.zeros(3), 0.0, np.zeros((6, 6)))
    view = filmed(RIG, wanderers(2, 5), still, 4.0)[0]
    assert view.xy.shape[1] == 2
    steps = np.linalg.norm(np.diff(np.nanmedian(view.xy, 2), axis=0), axis=-1)
    apart = np.linalg.norm(np.diff(np.nanmedian(view.xy, 2), axis=1), axis=-1)
    assert np.nanmax(steps) < 0.5 * np.nanmedian(apart)  # nobody jumps to the other's place


def test_positions_and_velocities_between_frames_are_those_of_the_motion() -> None:
    camera = RIG.cameras[0]
    at_s = np.arange(60) / 30

    def moved(t_s: np.ndarray) -> np.ndarray:
        """One person (F, 1, 17, 2) px who sways by 60 px at 0.5 Hz."""
        body = np.stack([np.full(17, 640.0), np.linspace(200, 500, 17)], -1)
        return body + 60 * np.stack([np.sin(np.pi * t_s), np.cos(np.pi * t_s)], -1)[:, None, None]

    tracks = image_tracks(camera, at_s, list(moved(at_s)))
    asked_s = np.linspace(0.3, 1.7, 40)
    where, speed = looked_up(tracks, asked_s, np.zeros(40, dtype=np.intp), np.full(40, 3))
    true = camera.undistort(moved(asked_s)[:, 0, 3])
    later = camera.undistort(moved(asked_s + 1e-4)[:, 0, 3])
    assert np.abs(where - true).max() * tracks.focal_px < 0.5
    assert np.abs(speed - (later - true) / 1e-4).max() * tracks.focal_px < 6  # of 188 px/s
    assert np.isnan(looked_up(tracks, np.array([-0.2, 2.2]), np.zeros(2, dtype=np.intp), np.zeros(2, dtype=np.intp))[0]).all()
