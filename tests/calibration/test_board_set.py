from __future__ import annotations

import cv2
import numpy as np
import pytest

from calibration.board import Board
from calibration.board_set import BoardSet, boards_of, find_views, parse_target, view_labels
from calibration.errors import CalibrationError
from calibration.extrinsics import calibrate_rig
from calibration.quality import compare_rigs
from calibration.rig import Rig
from calibration.synthetic import moving_board, project_board, ring_rig

SMALL = Board("charuco", 5, 7, 0.04, 0.03, "DICT_4X4_50")
LARGE = Board("aprilgrid", 3, 3, 0.12, 0.09, "DICT_APRILTAG_36H11")
SET = BoardSet((SMALL, LARGE))


def test_a_set_is_read_from_its_spec() -> None:
    assert parse_target(SMALL.spec) == SMALL
    both = parse_target(f"{SMALL.spec} + {LARGE.spec}")
    assert both == SET
    assert parse_target(both.spec) == SET
    assert (both.kind, boards_of(both)) == ("mixed", (SMALL, LARGE))
    np.testing.assert_array_equal(both.corners_m, np.concatenate([SMALL.corners_m, LARGE.corners_m]))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            f"{SMALL.spec} + charuco:3x4:0.05:0.04:DICT_4X4_50",
            r"boards 1 and 2 both carry markers 0 to 5 of DICT_4X4_50; .*first=17",
        ),
        ("chessboard:6x4:0.06 + chessboard:4x6:0.02", "boards 1 and 2 are chessboards of 6x4 corners and cannot be told apart"),
        (f"{SMALL.spec} +", "cannot read ''"),
    ],
)
def test_boards_that_cannot_be_told_apart_are_refused(spec: str, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        parse_target(spec)


def test_each_board_of_an_image_is_a_view_of_its_own() -> None:
    first, second = (Board("charuco", 4, 5, 0.04, 0.03, "DICT_4X4_50", first_id=first) for first in (0, 20))
    sheets = []
    for board in (first, second):
        dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
        drawn = cv2.aruco.CharucoBoard((4, 5), 0.04, 0.03, dictionary, np.array(board.marker_ids))
        sheets.append(np.pad(drawn.generateImage((320, 400)), 40, constant_values=255))
    views = find_views(BoardSet((first, second)), np.concatenate(sheets, axis=1))
    assert views.shape == (2, 24, 2)
    seen = np.isfinite(views[..., 0])
    np.testing.assert_array_equal(seen, np.repeat(np.eye(2, dtype=bool), 12, axis=1))
    np.testing.assert_allclose(views[1, 12:] - views[0, :12], [[400.0, 0.0]] * 12, atol=0.05)
    assert view_labels(BoardSet((first, second)), ["a"]) == ["a, board 1", "a, board 2"]


def _sightings(rig: Rig, board: Board, seen_by: tuple[str, ...], first: int, seed: int) -> np.ndarray:
    """Corners (C, F, 24 + 36, 2) of one board of the set carried before some of the cameras."""
    truth = project_board(rig, board, moving_board(rig, board, 40, [seen_by], seed=seed), 0.3, seed=seed)
    out = np.full((len(rig), 40, len(SET.corners_m), 2), np.nan)
    out[:, :, first : first + len(board.corners_m)] = truth.observations
    for camera, name in enumerate(rig.names):
        if name not in seen_by:
            out[camera] = np.nan
    return out


def test_boards_seen_by_different_pairs_make_one_rig() -> None:
    rig = ring_rig(3, arc_deg=90.0)
    small, large = _sightings(rig, SMALL, ("cam1", "cam2"), 0, 1), _sightings(rig, LARGE, ("cam2", "cam3"), 24, 2)
    both = np.stack([small, large], axis=2).reshape(3, 80, -1, 2)  # instant by instant, board by board
    sizes = [camera.size_wh for camera in rig.cameras]
    solved, report = calibrate_rig(both, SET, sizes, rig.names, intrinsics=list(rig.cameras))
    assert not report.failed
    worst = max(compare_rigs(solved, rig), key=lambda error: error.centre_mm)
    assert (worst.centre_mm < 12, worst.rotation_deg < 0.25) == (True, True), worst
    with pytest.raises(CalibrationError, match="cam3"):
        calibrate_rig(small, SET, sizes, rig.names, intrinsics=list(rig.cameras))
