from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.overlay_video import overlaid, write_overlays
from pipeline.types import Skeletons3D
from pipeline.walkers import STANDING_M, ring

CAMERA = ring(4).cameras[0]
GREY = np.full((720, 960, 3), 90, np.uint8)


def _people(xyz_m: np.ndarray, smooth_m: np.ndarray | None = None) -> Skeletons3D:
    ones = np.ones(xyz_m.shape[:2])
    sigma = None if smooth_m is None else ones
    return Skeletons3D(0, np.arange(len(xyz_m)) + 3, xyz_m, ones, ones, ones.astype(np.int64), None, smooth_m, sigma)


def _changed(image: np.ndarray, xy_px: np.ndarray) -> bool:
    x, y = np.rint(xy_px).astype(int)
    return bool((image[y, x] != 90).any())


def test_joints_are_drawn_where_the_camera_sees_them() -> None:
    drawn = overlaid(GREY, CAMERA, _people(STANDING_M[None]))
    assert all(_changed(drawn, xy) for xy in CAMERA.project(STANDING_M))
    assert (GREY == 90).all()  # a copy


def test_smoothed_joints_are_drawn_where_there_are_any() -> None:
    moved_m = STANDING_M[None] + [0.5, 0, 0]
    drawn = overlaid(GREY, CAMERA, _people(STANDING_M[None], moved_m))
    assert all(_changed(drawn, xy) for xy in CAMERA.project(moved_m[0]))


@pytest.mark.parametrize("people", [None, _people(np.zeros((0, 17, 3))), _people(np.full((1, 17, 3), np.nan))])
def test_nobody_leaves_the_picture_as_it_is(people: Skeletons3D | None) -> None:
    assert (overlaid(GREY, CAMERA, people) == GREY).all()


def test_a_person_behind_the_camera_is_not_drawn() -> None:
    behind_m = STANDING_M[None] + 2 * CAMERA.centre_m
    assert (overlaid(GREY, CAMERA, _people(behind_m)) == GREY).all()


def test_what_is_no_session_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"session\.yaml"):
        write_overlays(tmp_path, "walk", tmp_path / "out")
