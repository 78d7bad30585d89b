import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import DataError
from models.photos import Source, held_out_photos, read_photos
from models.skeleton import COCO17
from tests.models.scenes import document, write_document, write_folder


def test_joints_are_found_by_name_whatever_their_order(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", 1)
    before = read_photos(folder)[0].people[0]
    content = document(folder)
    table = np.array(content["annotations"][0]["keypoints"]).reshape(17, 3)
    names = content["categories"][0]["keypoints"]
    order = [14, 6, 0, 9]
    content["categories"][0]["keypoints"] = ["neck", *(names[j] for j in order)]
    content["annotations"][0]["keypoints"] = [1, 1, 2, *table[order].ravel()]
    write_document(folder, content)
    person = read_photos(folder)[0].people[0]
    assert np.flatnonzero(person.labelled).tolist() == sorted(order)
    np.testing.assert_array_equal(person.xy_px[order], before.xy_px[order])
    assert np.isnan(person.xy_px[~person.labelled]).all()


def test_people_without_labels_and_crowds_become_boxes_to_ignore(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", 2, ignore_boxes=[[1, 2, 3, 4]])
    content = document(folder)
    content["annotations"][0]["keypoints"] = [0] * 51
    content["annotations"][1]["iscrowd"] = 1
    write_document(folder, content)
    for photo, annotation in zip(read_photos(folder), content["annotations"], strict=True):
        assert photo.people == ()
        np.testing.assert_allclose(photo.ignore_boxes, [[1, 2, 3, 4], annotation["bbox"]])


def test_a_teacher_swaps_drops_and_adds(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", 4)
    labels = [photo.people[0] for photo in read_photos(folder)]
    content = document(folder)
    for annotation in content["annotations"]:
        annotation["keypoints"][2] = 0  # no nose
    write_document(folder, content)
    verdicts = [("agree", 0.9, 0.1), ("mirrored", 0.1, 0.9), ("mirrored", 0.4, 0.7), ("disagree", 0.1, 0.1)]
    people = [
        {"annotation_id": 100 + i, "verdict": v, "agree": a, "agree_swapped": s, "face": [[7, 8, 2]] + 4 * [[1, 1, 0]]}
        for i, (v, a, s) in enumerate(verdicts)
    ]
    (folder / "teacher.json").write_text(json.dumps({"people": people}))
    agree, mirrored, unsure, wrong = read_photos(folder)
    np.testing.assert_array_equal(agree.people[0].xy_px[0], [7, 8])
    np.testing.assert_array_equal(agree.people[0].xy_px[5:], labels[0].xy_px[5:])
    np.testing.assert_array_equal(mirrored.people[0].xy_px[5:], labels[1].xy_px[list(COCO17.mirror)][5:])
    assert unsure.people == () and wrong.people == ()
    assert len(unsure.ignore_boxes) == len(wrong.ignore_boxes) == 1


def test_a_skeleton_with_nothing_in_common_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", 1)
    content = document(folder)
    content["categories"][0]["keypoints"] = [f"fin_{j}" for j in range(17)]
    write_document(folder, content)
    with pytest.raises(ValueError, match="fin_0.*nothing in common with coco17"):
        read_photos(folder)


def test_missing_and_broken_pictures_are_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", 2)
    (folder / "images" / "0.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"0.png: not a readable image .10 bytes"):
        read_photos(folder)[0].image()
    (folder / "images" / "1.png").unlink()
    with pytest.raises(DataError, match="set: annotations.json names images/1.png, and images/ has no such file"):
        read_photos(folder)


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("bbox", [0, 0, 1e300, 1], "image '0.png': expected pixels within"),
        ("bbox", [0, 0, -5, 9], r"image '0.png': expected left, top, width and height in px, found .*-5"),
        ("bbox", [0, 0, float("nan"), 9], "expected left, top, width and height in px"),
        ("bbox", [0, 0, 9], "expected COCO keypoint annotations .*found cannot reshape"),
        ("keypoints", [1e12, 5, 2] * 17, "image '0.png': expected pixels within"),
        ("keypoints", [5, 5, 2] * 16, "expected the 17 joints of its category, found 16"),
        ("keypoints", "left_wrist", "expected COCO keypoint annotations"),
        ("keypoints", None, "expected COCO keypoint annotations"),
        ("area", -1.0, "expected an area of at least 0 px2, found -1"),
        ("image_id", [], "expected COCO keypoint annotations"),
    ],
)
def test_labels_that_no_picture_has_are_refused_by_name(tmp_path: Path, key: str, value: Any, match: str) -> None:
    folder = write_folder(tmp_path / "set", 1)
    content = document(folder)
    content["annotations"][0][key] = value
    write_document(folder, content)
    with pytest.raises(DataError, match=match) as refused:
        read_photos(folder)
    assert str(folder / "annotations.json") in str(refused.value)


def test_a_label_without_a_place_is_no_label(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", 1)
    content = document(folder)
    content["annotations"][0]["keypoints"][3] = float("nan")
    content["annotations"][0]["area"] = float("inf")
    write_document(folder, content)
    [person] = read_photos(folder)[0].people
    assert np.flatnonzero(~person.labelled).tolist() == [1] and np.isnan(person.xy_px[1]).all() and np.isnan(person.area_px2)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"images": []}', "[" * 100_000, "\ud800", '{"categories": [[]]}'])
def test_what_is_no_annotations_is_one_error_for_every_reader(tmp_path: Path, text: str) -> None:
    folder = write_folder(tmp_path / "set", 1)
    (folder / "annotations.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    for read in (read_photos, lambda of: held_out_photos(of, 1)):
        with pytest.raises(DataError, match="set/annotations.json: expected COCO keypoint annotations"):
            read(folder)


def test_a_picture_named_again_and_again_takes_its_room_once_and_a_device_none(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", 1)
    content = document(folder)
    write_document(folder, content | {"images": content["images"] * 50})
    photos = read_photos(folder)
    assert len(photos) == 50 and len({id(photo.encoded) for photo in photos}) == 1
    (folder / "images" / "0.png").unlink()
    (folder / "images" / "0.png").symlink_to("/dev/zero")
    with pytest.raises(DataError, match="images/ has no such file"):
        read_photos(folder)


@pytest.mark.parametrize(
    "people", [[{}], [{"annotation_id": 100}], [{"annotation_id": 100, "verdict": "agree", "face": [[1e300, 1, 2]]}], 5]
)
def test_a_teacher_who_says_nothing_sensible_is_named(tmp_path: Path, people: Any) -> None:
    folder = write_folder(tmp_path / "set", 1)
    (folder / "teacher.json").write_text(json.dumps({"people": people}))
    with pytest.raises(DataError, match="set/teacher.json: "):
        read_photos(folder)


def test_photos_kept_out_are_fixed_by_the_seed_and_never_read_for_training(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", 20, split="test")
    content = document(folder)
    content["images"][3]["split"] = "train"
    content["annotations"][5]["keypoints"][3 * 5 + 2] = 0  # no left shoulder: no torso to measure with
    write_document(folder, content)
    held = held_out_photos(folder, 6)
    content["images"].reverse()
    write_document(folder, content)
    assert held == held_out_photos(folder, 6) == sorted(held) and len(set(held)) == 6
    assert held != held_out_photos(folder, 6, seed=1)
    assert not {"3.png", "5.png"} & set(held_out_photos(folder, 100))
    kept = {photo.file_name for photo in read_photos(folder, exclude=held)}
    assert len(kept) == 14 and not kept & set(held)
    assert {photo.file_name for photo in read_photos(folder, only=held)} == set(held)


def test_a_source_is_written_as_folder_and_weights() -> None:
    assert Source.parse("a/b") == Source("a/b")
    assert Source.parse("a=b/c=0.5") == Source("a=b/c", 0.5)
    assert Source.parse("a=2:1:0.5") == Source("a", 2.0, 1.0, 0.5)
    for bad in ("a=x", "a=1:2:3:4", "a=-1"):
        with pytest.raises(ValueError, match=r"expected FOLDER=WEIGHT"):
            Source.parse(bad)
