import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.skeleton import COCO17
from pipeline.errors import InputError
from pipeline.generator_data import read_examples, training_images
from tests.models.scenes import write_folder
from tests.models.test_parquet_photos import exported
from tests.pipeline.test_conditions import standing


def write_coco(folder: Path, people: np.ndarray) -> Path:
    """One image of 160x128 px with the people (P, 17, 2), their shirts red."""
    image = np.full((128, 160, 3), 90, np.uint8)
    for person in people:
        cv2.fillPoly(image, [person[[5, 6, 12, 11]].astype(np.int32)], (20, 20, 200))  # BGR
    (folder / "images").mkdir(parents=True)
    cv2.imwrite(str(folder / "images" / "a.png"), image)
    triples = [np.c_[person, np.full(17, 2)].ravel().tolist() for person in people]
    annotations = [
        {"id": n, "image_id": 7, "keypoints": k, "category_id": 1, "bbox": [0, 0, 1, 1]} for n, k in enumerate(triples)
    ]
    categories = [{"id": 1, "keypoints": list(COCO17.joints)}]
    said = {"images": [{"id": 7, "file_name": "a.png"}], "annotations": annotations, "categories": categories}
    (folder / "annotations.json").write_text(json.dumps(said))
    return folder


def test_each_person_and_the_whole_group_become_examples(tmp_path: Path) -> None:
    people = np.concatenate([standing(40), standing(110)])
    data = training_images(read_examples(write_coco(tmp_path / "d", people), 64))
    assert data.images.shape == (3, 64, 64, 3)
    assert data.captions[2].startswith("two people in a red top")
    again = training_images(read_examples(tmp_path / "d", 64))
    assert (again.images == data.images).all()
    assert (again.pose_maps == data.pose_maps).all()


def test_the_mirrored_map_is_the_map_of_the_mirrored_person(tmp_path: Path) -> None:
    data = training_images(read_examples(write_coco(tmp_path / "d", standing(80)), 64))
    # a person seen from the front and symmetric looks the same in a mirror, left and right exchanged
    flipped, mirrored = data.pose_maps[0, :, ::-1].astype(int), data.mirrored_maps[0].astype(int)
    assert np.abs(mirrored - data.pose_maps[0]).mean() < 0.2 * np.abs(flipped - mirrored).mean()


def test_a_folder_of_another_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected annotations.json and images/ .* or data/\*.parquet"):
        read_examples(tmp_path, 64)
    (tmp_path / "annotations.json").write_text('{"images": []}')
    with pytest.raises(InputError, match="cannot be trained on"):
        read_examples(tmp_path, 64)
    write_coco(tmp_path / "d", np.zeros((0, 17, 2)))
    with pytest.raises(InputError, match="nothing to train on"):
        read_examples(tmp_path / "d", 64)


def test_an_image_that_is_named_but_not_there_or_damaged_is_refused(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "d", standing())
    (folder / "images" / "a.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"a\.png: not a readable image"):
        read_examples(folder, 64)
    (folder / "images" / "a.png").unlink()
    with pytest.raises(InputError, match=r"images/a\.png"):
        read_examples(folder, 64)


def test_images_held_out_are_the_others(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "d", standing(80))
    said = json.loads((folder / "annotations.json").read_text())
    said["images"].append({"id": 9, "file_name": "a.png"})
    said["annotations"].append({**said["annotations"][0], "id": 5, "image_id": 9})
    (folder / "annotations.json").write_text(json.dumps(said))
    assert [len(read_examples(folder, 64, held_out=count)) for count in (0, 1, -1)] == [2, 1, 1]


def test_an_export_trains_with_its_prompts(tmp_path: Path) -> None:
    photos = write_folder(tmp_path / "coco", 3)
    folder = exported(tmp_path / "set", photos, prompt="a person in a red top")
    assert {example.caption for example in read_examples(folder, 32)} == {"a person in a red top"}
