import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from models.photos import read_photos
from models.skeleton import COCO17
from pipeline.errors import InputError
from pipeline.evaluate_detector import evaluate_detector, nearest_person
from pipeline.labelled_photos import head_px, torso_px
from tests.models.scenes import document, write_document, write_folder
from tests.models.test_parquet_photos import exported


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


class Perfect(Oracle):
    """Detects the labelled people and nobody else."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, np.zeros((17, 2)))

    def detect(self, images: NDArray[np.uint8]) -> list[tuple[NDArray, NDArray, NDArray]]:
        return [(self.truth[images[0].tobytes()].xy_px[None], np.ones((1, 17)), np.zeros((1, 1)))]


class Exchanged(Perfect):
    """Detects people with left and right exchanged, each of them twice."""

    def detect(self, images: NDArray[np.uint8]) -> list[tuple[NDArray, NDArray, NDArray]]:
        xy = super().detect(images)[0][0][:, list(COCO17.mirror)]
        return [(np.concatenate([xy, xy]), np.ones((2, 17)), np.zeros((2, 1)))]


class Crowding:
    """Finds two people far outside of every picture."""

    def detect(self, images: NDArray[np.uint8]) -> list[tuple[NDArray, NDArray, NDArray]]:
        return [(np.arange(68.0).reshape(2, 17, 2) + 2000, np.ones((2, 17)), np.zeros((2, 1)))]


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


def test_half_a_head_is_the_reach_of_pckh(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set")
    person = read_photos(folder)[0].people[0]
    nose, left, right = (person.xy_px[COCO17.index(name)] for name in ("nose", "left_shoulder", "right_shoulder"))
    assert head_px(person, COCO17) == pytest.approx(0.6 * 1.41 * float(np.linalg.norm(nose - (left + right) / 2)))
    heads = [head_px(p.people[0], COCO17) / torso_px(p.people[0], COCO17) for p in read_photos(folder)]
    inside, outside = (
        evaluate_detector(Oracle(folder, shifted(None, 0.49 * min(heads))), folder),
        evaluate_detector(Oracle(folder, shifted(None, 0.51 * max(heads))), folder),
    )
    assert (inside.pckh, outside.pckh, inside.heads) == (1, 0, 4)


def test_a_labelled_head_segment_is_the_head_and_without_either_pckh_is_undefined(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", 1)
    content = document(folder)
    content["categories"][0]["keypoints"] += ["neck", "head_top"]
    content["annotations"][0]["keypoints"] += [10, 30, 2, 10, 10, 2]
    write_document(folder, content)
    assert head_px(read_photos(folder)[0].people[0], COCO17) == pytest.approx(0.6 * 20)
    content["annotations"][0]["keypoints"][-1] = content["annotations"][0]["keypoints"][2] = 0
    write_document(folder, content)
    report = evaluate_detector(Oracle(folder, shifted(None, 0)), folder)
    assert report.heads == 0 and np.isnan(report.pckh) and report.to_dict()["pckh"] is None
    json.dumps(report.to_dict(), allow_nan=False)


def test_figures_stand_by_height_and_by_number_of_people(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set")
    report = evaluate_detector(Oracle(folder, shifted("left_knee", 0.5)), folder)
    by_height, by_people = (
        {row[key]: row for row in rows}
        for key, rows in (("height_px", report.by_height), ("people_in_photo", report.by_people))
    )
    assert {name: row["people"] for name, row in by_height.items()} == {"<64": 0, "64-96": 0, "96-192": 4, ">192": 0, ">96": 4}
    assert by_height["96-192"]["pck"] == pytest.approx(11 / 12) and np.isnan(by_height["<64"]["pck"])
    assert by_people["1"]["people"] == 4 and by_people["2"]["people"] == 0
    # Two of three detections are upside down or empty: nobody's.
    assert by_people["1"]["false_people_per_photo"] == report.false_people_per_photo >= 1


def test_swaps_misses_and_false_people_are_counted(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set")
    exchanged = evaluate_detector(Exchanged(folder), folder)
    assert exchanged.outcomes == {"right": 0, "swapped": 1, "missed": 0, "far": 0}
    assert exchanged.false_people_per_photo == 1 and exchanged.failures[0].why == "swapped"
    blind = evaluate_detector(Blind(), folder)
    assert blind.outcomes["missed"] == 1 and blind.false_people_per_photo == 0 and blind.oks["AP"] == 0
    assert [row["why"] for row in blind.to_dict()["failures"]] == ["missed"] * 4


def test_perfect_people_have_an_ap_of_one_and_no_failures(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set")
    report = evaluate_detector(Perfect(folder), folder)
    assert report.oks["AP"] == report.oks["AR"] == pytest.approx(1) and report.failures == ()
    assert {row["height_px"]: row["AP"] for row in report.by_height}["96-192"] == pytest.approx(1)


def test_photos_without_people_count_in_ap_and_not_in_pck(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set")
    content = document(folder)
    content["annotations"] = content["annotations"][:2]
    write_document(folder, content)
    report = evaluate_detector(Crowding(), folder)
    assert (report.photos, report.all_photos, report.people, report.all_people) == (2, 4, 2, 2)
    assert report.false_people_per_photo == 2


def test_people_without_a_torso_do_not_count_and_an_empty_set_is_an_error(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set")
    content = document(folder)
    for annotation in content["annotations"][:3]:
        annotation["keypoints"][3 * 5 + 2] = 0
    write_document(folder, content)
    assert evaluate_detector(Blind(), folder).people == 1
    with pytest.raises(InputError, match="labelled left shoulder and right hip"):
        evaluate_detector(Blind(), folder, only=["0.png"])
    with pytest.raises(InputError, match="found neither"):
        evaluate_detector(Blind(), tmp_path)


def test_an_exported_dataset_is_judged_like_the_photos_it_was_made_of(tmp_path: Path) -> None:
    coco = write_folder(tmp_path / "set")
    report = evaluate_detector(Perfect(coco), exported(tmp_path / "export", coco))
    assert report.pck == 1 and report.oks["AP"] == pytest.approx(1) and report.false_people_per_photo == 0
    with pytest.raises(InputError, match="other.parquet: expected the columns id, image"):
        pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
        evaluate_detector(Blind(), tmp_path)


def test_bad_annotations_are_told_what_to_do(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set")
    good = document(folder)

    def refused(match: str, **changed: Any) -> None:
        write_document(folder, good | changed)
        with pytest.raises(InputError, match=match):
            evaluate_detector(Blind(), folder)

    hand = [{"id": 1, "keypoints": ["thumb", "palm"]}]
    refused("thumb.*nothing in common with coco17", categories=hand)
    refused("expected labelled people, found none in 4 photos", annotations=[])
    refused("expected COCO keypoint annotations", categories=None)
    refused("images/ has no such file", images=[*good["images"], {"id": 9, "file_name": "gone.png"}])
    refused(
        "annotations.json: expected COCO keypoint annotations", annotations=[good["annotations"][0] | {"keypoints": [1, 2]}]
    )
    bare = {key: value for key, value in good["annotations"][0].items() if key != "bbox"}
    refused("found no 'bbox'", annotations=[bare])
    (folder / "annotations.json").write_text("{not json")
    with pytest.raises(InputError, match="expected COCO keypoint annotations"):
        evaluate_detector(Blind(), folder)


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set")
    (folder / "images" / "2.png").write_text("no picture")
    with pytest.raises(InputError, match="2.png: not a readable image"):
        evaluate_detector(Blind(), folder)
