from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from calibration.board import Board
from calibration.errors import CalibrationError
from calibration.quality import Gate, failures
from calibration.rig import Rig
from calibration.synthetic import moving_board, project_board, ring_rig
from calibration.transforms import Rigid
from calibration.verify import verify_rig
from tests.benchmarks.bench_calibration_gates import WRONG, refusal

BOARD = Board("charuco", 9, 6, 0.06, 0.045, "DICT_4X4_50")


@pytest.fixture(scope="module")
def filmed() -> tuple[Rig, np.ndarray]:
    rig = ring_rig(3, arc_deg=80, seed=1)
    return rig, project_board(rig, BOARD, moving_board(rig, BOARD, 20, seed=1), 0.3, 0.02, seed=1).observations


def failed(gates: tuple[Gate, ...]) -> list[str]:
    return [gate.name for gate in failures(gates)]


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.__name__)
def test_a_wrong_calibration_is_refused(case: Callable[[int], tuple[Gate, ...]]) -> None:
    assert refusal(case, 5)


def test_the_true_rig_passes_every_gate(filmed: tuple[Rig, np.ndarray]) -> None:
    assert not failed(verify_rig(*filmed, BOARD))


def test_a_rig_of_another_size_is_told_by_the_squares_alone(filmed: tuple[Rig, np.ndarray]) -> None:
    rig, observations = filmed
    scaled = (c.with_pose(Rigid(c.cam_from_world.R, 1.03 * c.cam_from_world.t)) for c in rig.cameras)
    gates = verify_rig(Rig(tuple(scaled)), observations, BOARD)
    assert failed(gates) == ["size of the board"]
    found = next(gate.found for gate in gates if gate.name == "size of the board")
    assert float(found.split()[2]) == pytest.approx(1.03 * 60.0, rel=0.003)


def test_a_measured_distance_between_cameras_is_held_against_the_rig(filmed: tuple[Rig, np.ndarray]) -> None:
    rig, observations = filmed
    true_m = float(np.linalg.norm(rig["cam1"].centre_m - rig["cam2"].centre_m))
    for told_m, wrong in ((true_m, []), (1.05 * true_m, ["distance from cam1 to cam2"])):
        assert failed(verify_rig(rig, observations, BOARD, measured_m={("cam1", "cam2"): told_m})) == wrong


def test_one_camera_that_was_turned_is_named(filmed: tuple[Rig, np.ndarray]) -> None:
    rig, observations = filmed
    turn = Rigid.from_rvec([0, 0.02, 0], np.zeros(3))
    turned = [c.with_pose(turn @ c.cam_from_world) if c.name == "cam2" else c for c in rig.cameras]
    assert "unseen views of cam2" in failed(verify_rig(Rig(tuple(turned)), observations, BOARD))


def test_another_lens_shows_in_the_views_of_its_camera_alone(filmed: tuple[Rig, np.ndarray]) -> None:
    rig, observations = filmed
    bent = [replace(c, dist=c.dist + [1, 0, 0, 0, 0]) if c.name == "cam3" else c for c in rig.cameras]
    # 0.3 px of noise per coordinate is a median length of 0.35 px in the views a rig was solved from.
    gates = verify_rig(Rig(tuple(bent)), observations, BOARD, seen_px=np.full(3, 0.35))
    assert failed(gates) == ["unseen views of cam3"]


def test_nothing_can_be_said_of_a_camera_without_a_board(filmed: tuple[Rig, np.ndarray]) -> None:
    rig, observations = filmed
    blind = observations.copy()
    blind[1] = np.nan
    with pytest.raises(CalibrationError, match="cam2 sees no board"):
        verify_rig(rig, blind, BOARD)
