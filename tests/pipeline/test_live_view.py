import threading
import time
from pathlib import Path

import cv2
import numpy as np

from calibration.board import parse_board
from pipeline.board_coverage import FULL, Coverage, where_next
from pipeline.live_people import PeopleFinder
from pipeline.live_view import LiveView
from pipeline.record import record
from tests.pipeline.footage import number_of
from tests.pipeline.streams import free_ports, jpeg_frames, numbered, sending, serving, ts_frames

BOARD = parse_board("charuco:5x7:0.04:0.03:DICT_4X4_50")


def _with_board(corner_xy: tuple[int, int]) -> np.ndarray:
    """A picture of 640x480 with a board of 150x210 px at a corner."""
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    drawn = cv2.aruco.CharucoBoard((5, 7), 0.04, 0.03, dictionary).generateImage((150, 210), marginSize=6)
    image = np.full((480, 640, 3), 90, np.uint8)
    x, y = corner_xy
    image[y : y + 210, x : x + 150] = drawn[..., None]
    return image


def test_the_board_is_asked_for_where_it_was_seen_least() -> None:
    covered, other = Coverage(BOARD), Coverage(BOARD)
    assert where_next({}) == ""
    assert where_next({"cam1": covered, "cam2": other}) == "cam1 has not seen the board yet: film it there next"
    for x in (10, 170, 330, 480):
        for y in (10, 140, 260):
            for _ in range(FULL):
                assert covered.look(_with_board((x, y)))
    assert where_next({"cam1": covered, "cam2": other}) == "cam2 has not seen the board yet: film it there next"
    for x in (10, 250):
        assert other.look(_with_board((x, 10)))
    assert where_next({"cam1": covered, "cam2": other}).endswith("of cam2 next")
    assert not other.look(np.full((480, 640, 3), 90, np.uint8))
    assert covered.share > 0.6 > 0.2 > other.share


def test_covered_cells_are_drawn_green_and_others_left() -> None:
    coverage = Coverage(BOARD)
    image = _with_board((10, 10))
    coverage.look(image)
    drawn = coverage.drawn(image)
    assert np.array_equal(drawn[:, 400:], image[:, 400:])
    assert drawn[100, 100, 1] - int(drawn[100, 100, 0]) > int(image[100, 100, 1]) - int(image[100, 100, 0])


def _shown(tmp_path: Path, url: str) -> tuple[LiveView, list[int], int]:
    """Numbers of the pictures shown during a recording, and the frames that it holds."""
    view = LiveView({"cam1": {"cam1": None}}, None)
    view.start()
    numbers, done = [], threading.Event()

    def look() -> None:
        while not done.wait(0.05):
            if jpeg := view.jpeg("cam1"):
                numbers.append(number_of(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)))

    thread = threading.Thread(target=look)
    thread.start()
    made = record(tmp_path / "a", {"cam1": url}, 1.5, threading.Event(), tap=view.tap)
    done.set()
    thread.join()
    view.stop()
    return view, numbers, made.manifest["cameras"]["cam1"]["dropped"]


def test_pictures_of_a_running_recording_are_shown(tmp_path: Path) -> None:
    [port] = free_ports(1)
    with sending({port: ts_frames(numbered(48), 150)}):
        _, numbers, dropped = _shown(tmp_path, f"udp://127.0.0.1:{port}")
    assert dropped == 0
    assert len(set(numbers)) > 8


def test_jpeg_streams_show_their_newest_picture(tmp_path: Path) -> None:
    with serving({"cam1": jpeg_frames(numbered(48))}) as server:
        _, numbers, dropped = _shown(tmp_path, f"http://127.0.0.1:{server.port}/cam1")
    assert dropped == 0
    assert len(set(numbers)) > 8


def test_people_are_drawn_while_they_are_fresh() -> None:
    class Slow:
        def detect(self, images: np.ndarray) -> list:
            return [(np.full((1, 17, 2), 20.0), np.ones((1, 17)), np.zeros((1, 1)))] * len(images)

    view = LiveView({"cam1": {"cam1": None}}, None)
    image = np.zeros((48, 64, 3), np.uint8)
    view._draw("cam1", image)
    plain = view.jpeg("cam1")
    finder = PeopleFinder(view, Slow())
    finder.start()
    time.sleep(0.2)
    view._draw("cam1", image)
    finder.stop()
    assert view.jpeg("cam1") != plain
    view.put_people("cam1", np.full((1, 17, 2), 20.0), time.monotonic() - 5)
    view._draw("cam1", image)
    assert view.jpeg("cam1") == plain
