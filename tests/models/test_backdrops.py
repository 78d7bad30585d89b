from pathlib import Path

import cv2
import numpy as np

from models.backdrops import photo_backdrop, plain_backdrop
from models.photos import Photo, read_photos
from tests.models.scenes import document, write_document, write_folder


def photo_with(box: list[float], folder: Path, size_wh: tuple[int, int] = (200, 150)) -> Photo:
    """A photo that is white inside the person's box and dark outside."""
    write_folder(folder, 1, size_wh)
    content = document(folder)
    content["annotations"][0]["bbox"] = box
    write_document(folder, content)
    image = np.full((size_wh[1], size_wh[0], 3), 30, np.uint8)
    x, y, w, h = (int(v) for v in box)
    image[y : y + h, x : x + w] = 255
    cv2.imwrite(str(folder / "images" / "0.png"), image)
    return read_photos(folder)[0]


def test_a_photo_backdrop_shows_nobody(tmp_path: Path) -> None:
    for number, box in enumerate(([110, 10, 60, 130], [5, 10, 60, 130], [20, 70, 160, 70])):
        photo = photo_with([float(v) for v in box], tmp_path / str(number))
        for seed in range(10):
            found = photo_backdrop(np.random.default_rng(seed), photo, 0.4, (64, 128))
            assert found is not None and found.weight == 0.4
            assert found.image.shape == (128, 64, 3) and found.image.max() < 60


def test_a_person_who_fills_the_photo_leaves_no_backdrop(tmp_path: Path) -> None:
    photo = photo_with([10.0, 5.0, 180.0, 140.0], tmp_path / "set")
    assert photo_backdrop(np.random.default_rng(0), photo, 0.4, (64, 64)) is None


def test_a_plain_backdrop_is_one_colour_and_counts_fully() -> None:
    for seed in range(5):
        found = plain_backdrop(np.random.default_rng(seed), (20, 30))
        assert found.image.shape == (30, 20, 3) and found.weight == 1
        assert len(np.unique(found.image.reshape(-1, 3), axis=0)) == 1
