from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.detector_data import PoseSamples, View, ViewConfig, join_tiles, render_targets
from models.photos import Source, read_photos
from models.skeleton import COCO17
from tests.models.scenes import document, write_document, write_folder

# Every view upright, unflipped people are told from flipped ones by the order of left and right.
PLAIN = ViewConfig(mosaic=0.0, context=0.0, backdrop=0.0, rotated=0.0, upside_down=0.0, min_person=0.8, max_person=0.9)


# Sample number -> sums of its image, target, weight and joints.
KEPT_SAMPLES: dict[int, list[float]] = {
    0: [3.14477e06, 179.58, 14960, 497.988],
    1: [4.96614e06, 86.5194, 16979.6, 168.41],
    5: [1.77679e06, 102.078, 16612.4, 138.56],
    89599: [2.87482e06, 332.022, 16248.8, 1942.85],
}


def samples(folder: Path, view: ViewConfig = PLAIN, **trust: float) -> PoseSamples:
    return PoseSamples([read_photos(folder)], [Source(str(folder), **trust)], view)


def brightness_at(image: np.ndarray, xy: np.ndarray) -> np.ndarray:
    x, y = np.round(xy).astype(int).T
    return image.max(-1)[y, x].astype(float)


def test_a_sample_depends_on_its_number_alone(tmp_path: Path) -> None:
    a, b = samples(write_folder(tmp_path / "set"), ViewConfig(mosaic=0.5)), samples(tmp_path / "set", ViewConfig(mosaic=0.5))
    a[0], a[1]
    for name, value in a[7].items():
        np.testing.assert_array_equal(value, b[7][name])
    assert not np.array_equal(a[7]["image"], a[8]["image"])


def test_the_samples_of_the_default_views_stay_those_of_runs_that_go_on(tmp_path: Path) -> None:
    """Figures of samples as they were when the shipped weights were trained: other random draws change all of them."""
    data = samples(write_folder(tmp_path / "set"), ViewConfig())
    found = []
    for index in KEPT_SAMPLES:
        item = data[index]
        found.append([item[name].astype(np.float64).sum() for name in ("image", "target", "weight", "joints")])
    np.testing.assert_allclose(found, list(KEPT_SAMPLES.values()), rtol=1e-3)


def test_views_of_photos_that_stay_decoded_are_those_of_encoded_ones(tmp_path: Path) -> None:
    encoded = samples(write_folder(tmp_path / "set"), ViewConfig(mosaic=0.5))
    kept = replace(encoded, photos=[[photo.decoded() for photo in encoded.photos[0]]])
    assert not any(photo.encoded for photo in kept.photos[0])
    for number in range(4):
        for name, values in encoded[number].items():
            np.testing.assert_array_equal(kept[number][name], values)


@pytest.mark.parametrize(
    "view",
    [PLAIN, ViewConfig(mosaic=0.0, rotated=1.0, rotation_deg=40), ViewConfig(mosaic=1.0), ViewConfig(mosaic=0.0, context=1.0)],
)
def test_labels_stay_on_the_pixels_they_label(tmp_path: Path, view: ViewConfig) -> None:
    data = samples(write_folder(tmp_path / "set"), view)
    for index in range(25):
        sample = data.sample(index)
        # A joint smaller than two pixels of the view may vanish in noise; big ones must shine.
        for person, size_px in zip(sample.joints, sample.sizes_px, strict=True):
            seen = person[:, 2] > 0
            if size_px > 60 and seen.any():
                assert np.median(brightness_at(sample.image, person[seen, :2])) > 110  # the background stays below 60


def test_a_flip_exchanges_left_and_right(tmp_path: Path) -> None:
    data = samples(write_folder(tmp_path / "set"))
    left, right = COCO17.index("left_shoulder"), COCO17.index("right_shoulder")
    for index in range(20):  # the people face us: whatever the flip, the one named left stands on the picture's right
        person = data.sample(index).joints[0]
        assert person[left, 0] > person[right, 0]


def test_the_loss_sees_people_and_padding_but_not_what_nobody_labelled(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", 1, size_wh=(200, 120), ignore_boxes=[[150, 0, 50, 40]])
    content = document(folder)
    content["annotations"][0]["keypoints"][3 * 9 + 2] = 0  # no left wrist
    content["annotations"][0]["bbox"] = [0, 0, 130, 120]
    write_document(folder, content)
    data = samples(folder, replace(PLAIN, box_margin=1.0, min_person=0.6, max_person=0.6), outside_weight=0.25)
    kinds = set()
    for index in range(10):
        item = data[index]
        wrist = 9 if item["joints"][0, 9, 2] == 0 and item["joints"][0, 10, 2] else 10  # flipped or not
        kinds |= set(np.unique(item["weight"][0]).round(2))
        peak = np.unravel_index(item["target"][0].argmax(), item["target"][0].shape)
        assert item["weight"][0][peak] == 1
        assert item["weight"][wrist][peak] == 0  # inside the person's box, but this joint has no label
        assert item["target"][wrist].max() == 0
    assert kinds == {0.0, 0.25, 1.0}


def test_targets_peak_at_the_joints_and_people_share_a_map() -> None:
    joints = np.zeros((2, 3, 3), np.float32)
    joints[0, 0], joints[1, 0], joints[1, 1] = (17.5, 9.5, 1), (45.5, 33.5, 1), (20, 20, 0)
    target = render_targets(View(np.zeros((64, 64, 3), np.uint8), joints, np.array([40.0, 40.0]), np.ones((3, 16, 16))), PLAIN)
    assert target.shape == (3, 16, 16)
    assert target[0, 2, 4] == target[0, 8, 11] == 1  # (17.5 + .5) / 4 - .5 = 4
    assert target[1:].max() == 0


def test_joined_tiles_move_their_joints_along() -> None:
    tile = View(np.zeros((8, 12, 3), np.uint8), np.array([[[1.0, 2.0, 1.0]]], np.float32), np.array([5.0]), np.zeros((1, 2, 3)))
    joined = join_tiles([[tile, tile], [tile, tile]])
    assert joined.image.shape == (16, 24, 3) and joined.weight.shape == (1, 4, 6)
    assert joined.joints[:, 0, :2].tolist() == [[1, 2], [13, 2], [1, 10], [13, 10]]


def test_a_source_without_rich_people_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", 1)
    with pytest.raises(ValueError, match="set: no person with 18 joints"):
        samples(folder, replace(PLAIN, min_joints=18)).sample(0)
