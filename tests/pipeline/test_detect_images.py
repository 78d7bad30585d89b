from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.config import DetectConfig
from pipeline.detect_images import expand, find_people, people_rows
from pipeline.errors import InputError
from pipeline.tables import IMAGE_POSES, read_rows, write_rows


class TwoPeople:
    """Finds two people wherever it looks, the second better than the first."""

    def detect(self, images: np.ndarray) -> list:
        xy = np.stack([np.full((17, 2), 10.0), np.full((17, 2), 30.0)])
        return [(xy, np.stack([np.full(17, 0.4), np.full(17, 0.9)]), np.zeros((2, 1))) for _ in images]


def test_folders_and_files_are_taken_in_order(tmp_path: Path) -> None:
    for name in ("b10.png", "b9.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((8, 8, 3), np.uint8))
    single = tmp_path / "b10.png"
    assert [path.name for path in expand([tmp_path, single])] == ["b9.png", "b10.png", "b10.png"]


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere.png: expected an image"):
        expand([tmp_path / "nowhere.png"])


def test_the_best_person_comes_first_in_the_table(tmp_path: Path) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    people = find_people(TwoPeople(), image, DetectConfig())
    write_rows(tmp_path / "out.parquet", people_rows(Path("a.png"), image, people), IMAGE_POSES)
    rows = read_rows(tmp_path / "out.parquet")
    assert [(row["person"], row["x_px"][0], row["width_px"], row["height_px"]) for row in rows] == [
        (0, 30, 64, 48),
        (1, 10, 64, 48),
    ]
