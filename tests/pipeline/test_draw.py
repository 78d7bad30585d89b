import numpy as np

from models.skeleton import COCO17
from pipeline.draw import LEFT_RGB, MIDDLE_RGB, RIGHT_RGB, draw_people
from pipeline.walkers import STANDING_M, ring


def _standing_px() -> np.ndarray:
    return ring(1).cameras[0].project(STANDING_M)


def _at(image: np.ndarray, xy_px: np.ndarray) -> tuple[int, ...]:
    x, y = np.rint(xy_px).astype(int)
    return tuple(int(v) for v in image[y, x])


def test_left_and_right_joints_have_the_colours_of_their_sides() -> None:
    canvas = np.zeros((720, 960, 3), np.uint8)
    xy_px = _standing_px()
    drawn = draw_people(canvas, xy_px[None], width_px=2)
    for joint, name in enumerate(COCO17.joints):
        if name.endswith(("wrist", "ankle", "elbow")):
            assert _at(drawn, xy_px[joint]) == (LEFT_RGB if name.startswith("left") else RIGHT_RGB)
    assert _at(drawn, (xy_px[11] + xy_px[12]) / 2) == MIDDLE_RGB  # between the hips


def test_the_image_given_stays_as_it_was() -> None:
    canvas = np.full((720, 960, 3), 7, np.uint8)
    assert (draw_people(canvas, _standing_px()[None]) != 7).any()
    assert (canvas == 7).all()


def test_missing_joints_and_their_limbs_are_not_drawn() -> None:
    canvas = np.zeros((720, 960, 3), np.uint8)
    xy_px = _standing_px()
    wrist = COCO17.index("left_wrist")
    gone = xy_px.copy()
    gone[wrist] = np.nan
    assert _at(draw_people(canvas, xy_px[None], width_px=2), xy_px[wrist]) == LEFT_RGB
    assert _at(draw_people(canvas, gone[None], width_px=2), xy_px[wrist]) == (0, 0, 0)
    assert not draw_people(canvas, np.full((1, 17, 2), np.nan)).any()


def test_people_outside_the_image_and_nobody_at_all_are_no_error() -> None:
    canvas = np.zeros((72, 96, 3), np.uint8)
    assert not draw_people(canvas, np.full((1, 17, 2), 1e9)).any()
    assert not draw_people(canvas, np.zeros((0, 17, 2))).any()
