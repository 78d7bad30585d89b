"""Backdrops: photographs where there are some, clutter else."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline import studio_backdrops
from pipeline.errors import InputError
from pipeline.studio_backdrops import SIZE_PX, background, background_photos, spoiled


@pytest.fixture
def without_skimage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)


def test_photos_are_found_below_a_folder_and_what_is_none_is_passed_over(tmp_path: Path, without_skimage: None) -> None:
    (tmp_path / "deep").mkdir()
    cv2.imwrite(str(tmp_path / "deep" / "a.JPG"), np.full((80, 90, 3), 200, np.uint8))
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((63, 90, 3), np.uint8))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("no picture")
    assert [photo.shape for photo in background_photos(tmp_path)] == [(80, 90, 3)]
    assert background_photos(None) == []


def test_a_folder_without_photos_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"photos .*: expected \.jpg or \.png files in or below it, found none"):
        background_photos(tmp_path)


def test_scikit_images_photos_are_taken_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util
    from types import SimpleNamespace

    (tmp_path / "data").mkdir()
    cv2.imwrite(str(tmp_path / "data" / "brick.png"), np.zeros((70, 70, 3), np.uint8))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: SimpleNamespace(origin=str(tmp_path / "__init__.py")))
    assert [photo.shape for photo in background_photos(None)] == [(70, 70, 3)]


def test_a_backdrop_is_a_crop_of_a_photo_of_its_own_colour_or_clutter(monkeypatch: pytest.MonkeyPatch) -> None:
    red = np.zeros((120, 300, 3), np.uint8)
    red[..., 0] = 200
    monkeypatch.setattr(studio_backdrops, "_clutter", lambda _: np.zeros((SIZE_PX, SIZE_PX, 3), np.uint8))
    made = [background([red], np.random.default_rng(seed)) for seed in range(60)]
    assert all(picture.shape == (SIZE_PX, SIZE_PX, 3) and picture.dtype == np.uint8 for picture in made)
    of_photo = [picture[..., 0].mean() > picture[..., 1].mean() + 50 for picture in made]
    assert 30 <= sum(of_photo) <= 54  # seven of ten, three standard deviations
    assert not any(picture[..., 0].any() != picture.any() for picture in (background([], np.random.default_rng(1)),))


def test_the_same_seed_gives_the_same_backdrop_and_the_same_damage() -> None:
    one, again, other = (background([], np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    damaged = [spoiled(one, np.random.default_rng(3)) for _ in range(2)]
    np.testing.assert_array_equal(*damaged)
    assert damaged[0].shape == one.shape and damaged[0].dtype == np.uint8 and (damaged[0] != one).any()
