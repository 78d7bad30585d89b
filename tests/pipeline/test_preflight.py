import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.board import parse_board
from pipeline import preflight
from pipeline.preflight import Look, disk_problem, look_at, sharpness_of
from pipeline.session import Live
from tests.pipeline.streams import jpeg_frames, moving, serving

SHARP = cv2.resize(moving(1, (80, 60))[0], (640, 480), interpolation=cv2.INTER_NEAREST).astype(np.uint8)
LIGHT = SHARP.mean(-1, keepdims=True)


def _problems(image: np.ndarray) -> str:
    return "; ".join(preflight._judged("cam1", image.astype(np.uint8), 1.0, None).problems)


def test_a_good_picture_has_no_problem() -> None:
    assert _problems(SHARP) == ""


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (cv2.GaussianBlur(SHARP, (0, 0), 12), "out of focus: sharpness 0.0"),
        (np.where(LIGHT < 130, 0, SHARP), r"too dark: \d\d% of the pixels are black"),
        (np.where(LIGHT > 120, 255, SHARP), r"too bright: \d\d% of the pixels are white"),
        (np.full_like(SHARP, 60), "the picture is blank: take off the cap"),
    ],
)
def test_what_should_be_mended_is_named_with_its_number(image: np.ndarray, told: str) -> None:
    assert re.search(told, _problems(image))


def test_sharpness_does_not_depend_on_contrast_or_light() -> None:
    assert sharpness_of((SHARP // 2 + 60).astype(np.uint8)) == pytest.approx(sharpness_of(SHARP), rel=0.05)
    assert sharpness_of(cv2.GaussianBlur(SHARP, (0, 0), 3).astype(np.uint8)) < 0.5 * sharpness_of(SHARP)


def test_the_board_must_be_in_view_of_every_camera() -> None:
    board = parse_board("charuco:5x7:0.04:0.03:DICT_4X4_50")
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    drawn = cv2.aruco.CharucoBoard((5, 7), 0.04, 0.03, dictionary).generateImage((300, 420), marginSize=20)
    with_board = cv2.copyMakeBorder(
        cv2.cvtColor(drawn, cv2.COLOR_GRAY2RGB), 30, 30, 170, 170, cv2.BORDER_CONSTANT, value=(90, 90, 90)
    )
    both = np.hstack([with_board, np.resize(moving(1, (640, 480))[0], with_board.shape)])
    live = {"cam1": Live(url="", crop_px=(0, 0, 640, 480)), "cam2": Live(url="", crop_px=(640, 0, 640, 480))}
    with serving({"two": jpeg_frames([both.astype(np.uint8)] * 4)}) as server:
        streams = {"cam1+cam2": (f"http://127.0.0.1:{server.port}/two", ("cam1", "cam2"))}
        looks = look_at(streams, live, board)
    assert [look.board for look in looks] == [True, False]
    assert looks[1].problems == ("the board is not seen; hold it into the view",)
    size = jpeg_frames([both.astype(np.uint8)])[0]
    assert sum(look.mbit_s for look in looks) == pytest.approx(len(size) * 8 * 30 / 1e6, rel=0.1)


def test_the_disk_must_hold_what_is_planned(tmp_path: Path) -> None:
    look = Look("cam1", (64, 48), 8.0, 0, 0, 1, None, ())
    assert disk_problem([look], tmp_path, 10, 0) == ""
    assert "take 1000000.00 GB" in disk_problem([look], tmp_path, 1e9, 0)
