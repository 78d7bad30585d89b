from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from models.photos import Person, read_photos
from models.skeleton import COCO17
from pipeline.errors import InputError
from pipeline.failure_sheet import TILE_PX, failure_sheet, square_view, write_failures
from pipeline.joint_outcomes import (
    FAR,
    MISSED,
    RIGHT,
    SWAPPED,
    UNLABELLED,
    Failure,
    joint_outcomes,
    outcome_shares,
    worst_people,
)
from pipeline.labelled_photos import torso_px
from tests.models.scenes import write_folder

WRIST, MIRROR = COCO17.index("left_wrist"), list(COCO17.mirror)


@pytest.fixture
def someone(tmp_path: Path) -> Person:
    return read_photos(write_folder(tmp_path / "set", 1))[0].people[0]


def outcome_of(found: np.ndarray, person: Person) -> np.ndarray:
    return joint_outcomes(found[None], [person], COCO17)[0]


def test_every_joint_is_right_swapped_missed_or_far(someone: Person) -> None:
    found = someone.xy_px.copy()
    assert (outcome_of(found, someone) == RIGHT).all()
    found[WRIST] += [1.5 * torso_px(someone, COCO17), 0]
    found[COCO17.index("right_knee")] = np.nan
    outcome = outcome_of(found, someone)
    assert outcome[WRIST] == FAR and outcome[COCO17.index("right_knee")] == MISSED and (outcome == RIGHT).sum() == 15


def test_exchanged_arms_are_swapped_and_joints_on_the_midline_never_are(someone: Person) -> None:
    outcome = outcome_of(someone.xy_px[MIRROR], someone)
    assert (outcome[[5, 6, 7, 8, 9, 10]] == SWAPPED).all() and outcome[0] == RIGHT
    assert outcome_shares(outcome[None], COCO17)["swapped"] == 1  # over limb joints alone


def test_a_mirror_without_label_cannot_tell_a_swap(someone: Person) -> None:
    labelled, xy = someone.labelled.copy(), someone.xy_px.copy()
    labelled[10], xy[10] = False, np.nan
    outcome = outcome_of(someone.xy_px[MIRROR], Person(xy, labelled, someone.box))
    assert outcome[9] == FAR and outcome[10] == UNLABELLED


def test_a_detection_of_somebody_else_is_a_miss(someone: Person) -> None:
    assert (outcome_of(someone.xy_px + 10 * torso_px(someone, COCO17), someone) == MISSED).all()


def test_the_worst_come_first_and_nobody_without_a_wrong_joint(someone: Person) -> None:
    half, none = someone.xy_px.copy(), np.full((17, 2), np.nan)
    half[11:] = np.nan
    found, people = np.stack([someone.xy_px, half, none]), [someone] * 3
    photos = [object()] * 3
    outcomes = joint_outcomes(found, people, COCO17)
    worst = worst_people(photos, people, found, outcomes, COCO17, 30)  # type: ignore[arg-type]
    assert [f.counts["right"] for f in worst] == [0, 6] and [f.why for f in worst] == ["missed", "missed"]
    assert len(worst_people(photos, people, found, outcomes, COCO17, 1)) == 1  # type: ignore[arg-type]


def failure(folder: Path) -> Failure:
    photo = read_photos(folder)[0]
    counts = {"right": 11, "swapped": 0, "missed": 1, "far": 0}
    return Failure(photo, photo.people[0], np.full((17, 2), np.nan), counts)


def test_the_sheet_shows_labels_left_and_the_detection_right(tmp_path: Path) -> None:
    of = failure(write_folder(tmp_path / "set", 1))
    sheet = failure_sheet([of] * 6, COCO17)
    assert sheet.shape == (2 * (TILE_PX + 4), 5 * (2 * TILE_PX + 4), 3)
    left, right = sheet[22:TILE_PX, 2:TILE_PX], sheet[22:TILE_PX, TILE_PX + 2 : 2 * TILE_PX]
    assert (left != right).any(-1).mean() > 0.01  # the label's skeleton; nothing was detected
    found = Failure(of.photo, of.person, of.person.xy_px, of.counts)
    left, right = (failure_sheet([found], COCO17)[22:TILE_PX, x : x + TILE_PX] for x in (2, TILE_PX + 2))
    np.testing.assert_array_equal(left, right)


def test_a_view_beyond_the_picture_keeps_its_points_on_their_pixels() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[5, 50] = 255
    view, xy = square_view(image, np.array([40.0, 0.0, 20.0, 30.0]), np.array([50.0, 5.0]))
    rows, columns = np.nonzero(view[..., 0] > 200)
    assert np.hypot(columns.mean() - xy[0], rows.mean() - xy[1]) < 1 and view.shape == (TILE_PX, TILE_PX, 3)


def test_a_box_that_dwarfs_its_picture_takes_no_more_room_than_the_picture() -> None:
    image = np.full((40, 60, 3), 200, np.uint8)
    for box in ([0.0, 0.0, 1e7, 1e7], [-1e7, 1e7, 5.0, 5.0]):
        view, xy = square_view(image, np.array(box), np.array([50.0, 5.0]))
        assert view.shape == (TILE_PX, TILE_PX, 3) and np.isfinite(xy).all()


def test_the_sheet_goes_to_a_png_or_into_a_folder(tmp_path: Path) -> None:
    of = failure(write_folder(tmp_path / "set", 1))
    assert write_failures(tmp_path / "worst.png", [of], COCO17) == tmp_path / "worst.png"
    into = write_failures(tmp_path / "new" / "folder", [of], COCO17)
    assert cv2.imread(str(into)).shape[0] == TILE_PX + 4 and into.name == "failures.png"
    with pytest.raises(InputError, match="nobody to draw"):
        write_failures(tmp_path / "none.png", [], COCO17)
    with pytest.raises(InputError, match="the other kind"):
        write_failures(tmp_path / "worst.png" / "x.png", [of], COCO17)
