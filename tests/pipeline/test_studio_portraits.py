import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.generator_data import read_examples
from pipeline.studio_portraits import SIZE_PX, write_portraits


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_portraits(tmp_path_factory.mktemp("portraits"), 4, 3).parent


def test_whole_people_are_labelled_inside_the_picture(folder: Path) -> None:
    said = json.loads((folder / "annotations.json").read_text())
    assert len(said["images"]) == 4
    for annotation in said["annotations"]:
        triples = np.array(annotation["keypoints"]).reshape(17, 3)
        assert (triples[:, 2] == 2).all()
        assert triples[:, :2].min() >= -0.5
        assert triples[:, :2].max() <= SIZE_PX - 0.5


def test_a_person_stands_out_from_the_room_at_its_joints(folder: Path) -> None:
    # the torso is of one cloth: between the shoulders and the hips colours hardly differ
    for example in read_examples(folder, 64):
        if len(example.xy_px) == 1:
            torso = example.xy_px[0, [5, 6, 11, 12]]
            x, y = (torso.mean(0) + 0.3 * (torso - torso.mean(0))).round().astype(int).T
            assert example.image[y, x].astype(float).std(0).max() < 40


def test_the_same_seed_draws_the_same_labels(folder: Path, tmp_path: Path) -> None:
    again = write_portraits(tmp_path, 4, 3)
    assert again.read_text() == (folder / "annotations.json").read_text()


def test_no_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one picture"):
        write_portraits(tmp_path, 0, 0)
