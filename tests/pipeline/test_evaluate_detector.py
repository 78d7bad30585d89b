from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.photos import read_photos
from models.skeleton import COCO17
from pipeline.errors import InputError
from pipeline.evaluate_detector import evaluate_detector, nearest_person, torso_px
from tests.models.scenes import document, write_document, write_folder


class Oracle:
    """Detects the labelled people, moved, among a crowd of wrong ones."""

    def __init__(self, folder: Path, shift_torsos: NDArray[np.float64]) -> None:
        self.truth = {photo.image().tobytes(): photo.people[0] for photo in read_photos(folder)}
        self.shift = shift_torsos

    def detect(self, images: NDArray[np.uint8]) -> list[tuple[NDArray, NDArray, NDArray]]:
        person = self.truth[images[0].tobytes()]
        right = person.xy_px + self.shift * torso_px(person, COCO17)
        people = np.stack([right[::-1], right, np.full_like(right, np.nan)])
        return [(people, np.ones((3, 17)), np.zeros((3, 1)))]


class Blind:
    def detect(self, images: NDArray[np.uint8]) -> list[tuple[NDArray, NDArray, NDArray]]:
        return [(np.zeros((0, 17, 2)), np.zeros((0, 17)), np.zeros((0, 1)))]


def shifted(joint: str | None, torsos: float) -> NDArray[np.float64]:
    shift = np.zeros((17, 2))
    shift[slice(None) if joint is None else COCO17.index(joint), 0] = torsos
    return shift


def test_a_joint_is_right_within_a_fifth_of_the_torso(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set")
    assert evaluate_detector(Oracle(folder, shifted(None, 0.19)), folder).pck == 1
    assert evaluate_detector(Oracle(folder, shifted(None, 0.21)), folder).pck == 0
    report = evaluate_detector(Oracle(folder, shifted("left_knee", 0.5)), folder)
    assert report.pck == pytest.approx(11 / 12)
    assert report.per_joint["left_knee"] == 0 and report.per_joint["right_knee"] == 1
    assert report.people == 4 and report.people_found_per_photo == 3


def test_missing_people_and_joints_are_wrong(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set")
    report = evaluate_detector(Blind(), folder)
    assert report.pck == 0 and report.share_detected == 0
    assert evaluate_detector(Oracle(folder, shifted("left_hip", np.nan)), folder).pck == pytest.approx(11 / 12)


def test_of_two_equally_right_people_the_nearer_is_taken(tmp_path: Path) -> None:
    person = read_photos(write_folder(tmp_path / "set", 1))[0].people[0]
    step = 0.05 * torso_px(person, COCO17)
    detected = np.stack([person.xy_px + 3 * step, person.xy_px + step])
    np.testing.assert_array_equal(nearest_person(detected, person, COCO17), detected[1])


def test_the_mean_pose_is_scored_beside_the_detector(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set")
    person = read_photos(folder)[0].people[0]
    pose = (person.xy_px - person.box[:2]) / person.box[2:]
    # These people differ by 1 % of the picture, so the first one's pose is right for nearly everybody.
    assert (evaluate_detector(Blind(), folder, mean_pose=pose).mean_pose_pck or 0) > 0.9
    assert evaluate_detector(Blind(), folder, mean_pose=np.zeros((17, 2))).mean_pose_pck == 0
    assert evaluate_detector(Blind(), folder).mean_pose_pck is None


def test_people_without_a_torso_do_not_count_and_an_empty_set_is_an_error(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set")
    content = document(folder)
    for annotation in content["annotations"][:3]:
        annotation["keypoints"][3 * 5 + 2] = 0
    write_document(folder, content)
    assert evaluate_detector(Blind(), folder).people == 1
    with pytest.raises(InputError, match="labelled left shoulder and right hip"):
        evaluate_detector(Blind(), folder, only=["0.png"])
    with pytest.raises(InputError, match="found no annotations.json"):
        evaluate_detector(Blind(), tmp_path)
