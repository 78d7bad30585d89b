from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration.board import Board
from calibration.camera import Camera
from calibration.errors import CalibrationError
from calibration.quality import (
    camera_statistics,
    check_cameras,
    check_image_size,
    check_reprojection,
    compare_rigs,
    failures,
    reprojection_px,
    require,
)
from calibration.rig import Rig
from calibration.synthetic import moving_board, project_board, ring_rig
from calibration.transforms import Rigid

BOARD = Board("charuco", 9, 6, 0.06, 0.045, "DICT_4X4_50")
RIG = ring_rig(4, arc_deg=100)
MOTION = Rigid.from_rvec([0.3, -0.8, 1.1], [2.0, -1.0, 0.5])


def _moved(rig: Rig, motion: Rigid) -> Rig:
    return Rig(tuple(camera.with_pose(camera.cam_from_world @ motion) for camera in rig.cameras))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_rig_in_another_world_has_no_error(count: int) -> None:
    part = RIG.subset(RIG.names[:count])
    for error in compare_rigs(_moved(part, MOTION), part):
        assert error.rotation_deg < 1e-6
        assert error.centre_mm < 1e-6


def test_a_camera_that_was_moved_shows_its_error() -> None:
    cameras = list(RIG.cameras)
    bump = Rigid.from_rvec([0.0, np.deg2rad(2.0), 0.0], np.zeros(3))  # about its own centre
    cameras[1] = cameras[1].with_pose(bump @ cameras[1].cam_from_world)
    errors = {error.name: error for error in compare_rigs(_moved(Rig(tuple(cameras)), MOTION), RIG)}
    assert errors["cam2"].rotation_deg > 1.5
    assert all(errors[name].rotation_deg < 0.7 for name in ("cam1", "cam3", "cam4"))


def test_a_rig_of_the_wrong_size_shows_in_its_centres() -> None:
    scaled = Rig(
        tuple(c.with_pose(Rigid(c.cam_from_world.R, 1.02 * c.cam_from_world.t)) for c in RIG.cameras)
    )  # fmt: skip
    spread_mm = 1e3 * np.linalg.norm([c.centre_m - np.mean([d.centre_m for d in RIG.cameras], 0) for c in RIG.cameras], axis=1)
    np.testing.assert_allclose([e.centre_mm for e in compare_rigs(scaled, RIG)], 0.02 * spread_mm, rtol=0.01)


def test_rigs_without_a_common_camera_are_not_compared() -> None:
    with pytest.raises(CalibrationError, match="no common camera"):
        compare_rigs(RIG.subset(["cam1"]), RIG.subset(["cam2"]))


def test_statistics_are_those_of_the_injected_noise() -> None:
    truth = project_board(RIG, BOARD, moving_board(RIG, BOARD, 30), noise_px=0.5)
    error = reprojection_px(RIG, truth.observations, BOARD, truth.world_from_board)
    for row in camera_statistics(RIG.names, error):
        assert row.rms_px == pytest.approx(0.5 * np.sqrt(2), rel=0.1)
        assert row.median_px == pytest.approx(0.5 * 1.1774, rel=0.1)
        assert row.used == row.corners == 40 * row.views


def test_an_image_of_another_size_is_named_with_the_choices() -> None:
    camera = Camera("cam_03", (1088, 1920), np.array([[1680.0, 0, 544], [0, 1680, 960], [0, 0, 1]]))
    check_image_size(camera, (1088, 1920))
    with pytest.raises(CalibrationError, match="camera cam_03.*1080x1920.*1088x1920.*crop.*-4 px in x.*re-calibrate"):
        check_image_size(camera, (1080, 1920))
    with pytest.raises(CalibrationError, match=r"resized by 0\.5"):
        check_image_size(camera, (544, 960))
    with pytest.raises(CalibrationError, match="re-calibrate at 1920x1088"):
        check_image_size(camera, (1920, 1088))


def test_a_sound_rig_passes_all_gates() -> None:
    truth = project_board(RIG, BOARD, moving_board(RIG, BOARD, 10))
    error = reprojection_px(RIG, truth.observations, BOARD, truth.world_from_board)
    seen = np.isfinite(error).any(2)
    gates = check_cameras(RIG) + check_reprojection(
        RIG, camera_statistics(RIG.names, error), BOARD, truth.world_from_board, seen
    )
    assert not failures(gates)
    require(gates)


def test_implausible_lenses_and_doubled_cameras_fail_their_gates() -> None:
    first = RIG.cameras[0]
    tele = replace(first, name="tele", K=np.array([[20000.0, 0, 960], [0, 20000, 540], [0, 0, 1]]))
    skewed = replace(first, name="skewed", K=np.array([[1400.0, 0, -50], [0, 1400, 540], [0, 0, 1]]))
    twin = replace(RIG.cameras[1], name="twin", cam_from_world=first.cam_from_world)
    failed = " ".join(str(gate) for gate in failures(check_cameras(Rig((first, tele, skewed, twin)))))
    for words in ("focal length of tele", "principal point of skewed", "cam1 and twin"):
        assert words in failed


def test_a_board_behind_a_camera_fails_although_the_residual_is_small() -> None:
    truth = project_board(RIG, BOARD, moving_board(RIG, BOARD, 5))
    error = np.full(truth.observations.shape[:3], 0.1)
    back = Rigid.from_rvec([0.0, np.pi, 0.0], np.zeros(3))
    wrong = Rig(tuple(c.with_pose(back @ c.cam_from_world) if c.name == "cam2" else c for c in RIG.cameras))
    gates = check_reprojection(
        wrong,
        camera_statistics(RIG.names, error),
        BOARD,
        truth.world_from_board,
        np.isfinite(truth.observations[..., 0]).any(2),
    )
    assert [gate.name for gate in failures(gates)] == ["depth of cam2"]
    with pytest.raises(CalibrationError, match="depth of cam2"):
        require(gates)


def test_a_high_error_and_a_low_share_fail() -> None:
    truth = project_board(RIG, BOARD, moving_board(RIG, BOARD, 5), noise_px=6.0)
    error = reprojection_px(RIG, truth.observations, BOARD, truth.world_from_board)
    used = error < 3.0
    rows = camera_statistics(RIG.names, error, used)
    names = {
        g.name.split(" of ")[0] for g in failures(check_reprojection(RIG, rows, BOARD, truth.world_from_board, used.any(2)))
    }
    assert "agreement" in names
    rows = camera_statistics(RIG.names, error)
    names = {
        g.name.split(" of ")[0] for g in failures(check_reprojection(RIG, rows, BOARD, truth.world_from_board, used.any(2)))
    }
    assert "reprojection" in names
