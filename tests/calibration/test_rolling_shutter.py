from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from calibration.board import Board
from calibration.bundle import refine
from calibration.errors import CalibrationError
from calibration.rig import Rig
from calibration.rolling_shutter import Readout, RollingCorners, solve_readouts
from calibration.synthetic import camera_sees, project_rolling, ring_rig
from calibration.transforms import Rigid

BOARD = Board("charuco", 4, 5, 0.1, 0.075, "DICT_4X4_50")
FPS, FRAMES = 30.0, 50
READOUTS_S = (0.030, 0.012, -0.020)
RIG = ring_rig(3, arc_deg=70.0)


def _pose_at(t_s: float) -> Rigid:
    """A board waved before the cameras, at up to a metre per second."""
    angle = 2 * np.pi * t_s
    facing = np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # printed side towards +x, where cameras stand
    turn = Rigid.from_rvec([0.25 * np.sin(0.9 * angle), 0.5 * np.sin(0.37 * angle), 0.6 * np.sin(0.53 * angle)], np.zeros(3)).R
    middle = [0.4 * np.sin(0.31 * angle), 0.45 * np.sin(0.5 * angle), 0.9 + 0.35 * np.sin(0.43 * angle)]
    R = facing @ turn
    return Rigid(R, np.array(middle) - R @ BOARD.corners_m.mean(0))


@lru_cache
def _filmed(noise_px: float, slow: float = 1.0) -> list[RollingCorners]:
    rng, times = np.random.default_rng(0), np.arange(FRAMES) / FPS
    found = []
    for camera, readout_s in zip(RIG.cameras, READOUTS_S, strict=True):
        xy = np.full((FRAMES, len(BOARD.corners_m), 2), np.nan)
        for frame, at in enumerate(times):
            if camera_sees(camera, BOARD, _pose_at(slow * at)):
                xy[frame] = project_rolling(camera, BOARD, lambda t: _pose_at(slow * t), at, readout_s)
        xy += rng.normal(0, noise_px, xy.shape)
        blank, none = np.full((1, *xy.shape[1:]), np.nan), np.array([np.nan])
        before, after = np.concatenate([blank, xy[:-1]]), np.concatenate([xy[1:], blank])
        t_s = np.stack([np.r_[none, times[:-1]], times, np.r_[times[1:], none]])
        found.append(RollingCorners(np.stack([before, xy, after]), t_s, camera.size_wh[1]))
    return found


def _corrected(filmed: list[RollingCorners], readouts_s: tuple[float, ...]) -> np.ndarray:
    return np.stack([corners.at_mid_frame(readout) for corners, readout in zip(filmed, readouts_s, strict=True)])


def _solved(filmed: list[RollingCorners], readouts_s: tuple[float, ...]) -> Rig:
    return refine(RIG, _corrected(filmed, readouts_s), BOARD)[0]


def _worst_mm(rig: Rig) -> float:
    """Largest error of a camera's place against the first camera's frame."""

    def relative(each: Rig) -> list[Rigid]:
        first = each.cameras[0].cam_from_world
        return [camera.cam_from_world @ first.inverse() for camera in each.cameras]

    pairs = zip(relative(rig), relative(RIG), strict=True)
    return 1e3 * max(float(np.linalg.norm(a.inverse().t - b.inverse().t)) for a, b in pairs)


def test_corners_of_a_moving_board_are_moved_to_the_middle_of_the_frame() -> None:
    for camera, corners, readout_s in zip(RIG.cameras, _filmed(0.0), READOUTS_S, strict=True):
        still = np.stack([camera.project(_pose_at(t).apply(BOARD.corners_m)) for t in np.arange(FRAMES) / FPS])
        before = np.nanmax(np.linalg.norm(corners.xy_px[1] - still, axis=-1))
        after = np.linalg.norm(corners.at_mid_frame(readout_s) - still, axis=-1)
        assert before > 1.5
        assert np.nanmax(after) < 0.3
        assert np.nanmedian(after) < 0.02


def test_a_rig_of_rolling_cameras_is_right_only_with_their_readouts() -> None:
    filmed = _filmed(0.2)
    wrong, right = _worst_mm(_solved(filmed, (0.0, 0.0, 0.0))), _worst_mm(_solved(filmed, READOUTS_S))
    assert right < 1.5
    assert wrong > 4 * right


def test_unknown_readouts_are_found() -> None:
    filmed = _filmed(0.2)
    rig = _solved(filmed, (0.0, 0.0, 0.0))
    found = solve_readouts(rig, BOARD, filmed, [None, READOUTS_S[1], None])
    for each, truth in zip(found, READOUTS_S, strict=True):
        assert abs(each.seconds - truth) < 4 * each.sigma_s + 1e-9
        assert each.sigma_s < 5e-4
    assert found[1] == Readout(READOUTS_S[1])


def test_a_board_that_hardly_moves_does_not_determine_a_readout() -> None:
    filmed = _filmed(0.2, slow=0.01)
    with pytest.raises(CalibrationError, match=r"cam1: its views do not determine the readout .* move the board fast"):
        solve_readouts(RIG, BOARD, filmed, [None, 0.0, 0.0])


def test_without_readout_corners_stay_and_with_one_a_lone_sighting_is_left_out() -> None:
    corners = _filmed(0.0)[0]
    np.testing.assert_array_equal(corners.at_mid_frame(0.0), corners.xy_px[1])
    alone = RollingCorners(
        np.stack([np.full_like(corners.xy_px[0], np.nan), corners.xy_px[1], np.full_like(corners.xy_px[2], np.nan)]),
        corners.t_s,
        corners.height_px,
    )
    assert np.isnan(alone.at_mid_frame(0.01)).all()
    assert Readout(0.01).sigma_s == 0.0
