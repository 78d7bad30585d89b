import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.detector_data import PoseSamples, View, ViewConfig
from models.errors import DataError
from models.pasted import Layer, covered, lay_over, paste_people, read_cutouts
from models.photos import Source, read_photos
from models.skeleton import COCO17
from tests.models.scenes import document, standing, write_document, write_folder

CONFIG = ViewConfig(paste=1.0, rotated=0.0, upside_down=0.0)
GREY, BODY = 90, (250, 40, 40)


def write_cutouts(folder: Path, count: int = 3) -> Path:
    """Red people whose body is a slab around their joints; clear beside it."""
    write_folder(folder, count)
    for number in range(count):
        xy = np.array(document(folder)["annotations"][number]["keypoints"]).reshape(17, 3)[:, :2]
        image = np.zeros((120, 80, 4), np.uint8)
        (x0, y0), (x1, y1) = xy.min(0).astype(int) - 3, xy.max(0).astype(int) + 4
        image[y0:y1, x0:x1] = (*BODY[::-1], 255)
        cv2.imwrite(str(folder / "images" / f"{number}.png"), image)
    return folder


def grey_view(side: int = 128, weight: float = 0.25) -> View:
    """One person all over the view, in a picture of one colour that is masked in part."""
    xy = standing((side, side), np.random.default_rng(1))
    joints = np.column_stack([xy, np.ones(17)]).astype(np.float32)[None]
    maps = np.full((17, side // 4, side // 4), weight, np.float32)
    return View(np.full((side, side, 3), GREY, np.uint8), joints, np.array([float(side)]), maps)


def band(side: int = 128, top: int = 50, bottom: int = 80) -> Layer:
    """A layer across the view whose own joints are all at one place."""
    alpha = np.zeros((side, side), np.float32)
    alpha[top:bottom] = 1
    joints = np.tile(np.array([side / 2, 60, 1], np.float32), (17, 1))
    return Layer(np.full((side, side, 3), 200.0, np.float32), alpha, joints, 40.0)


def test_a_joint_that_is_covered_is_neither_seen_nor_taught_as_absent() -> None:
    view, layer = grey_view(), band()
    pasted = lay_over(np.random.default_rng(0), view, layer, 4)
    inside = (view.joints[0, :, 1].round() >= 50) & (view.joints[0, :, 1].round() < 80)
    assert 0 < inside.sum() < 17
    np.testing.assert_array_equal(covered(view, layer)[0], inside)
    np.testing.assert_array_equal(pasted.joints[0, :, 2] > 0, ~inside)
    np.testing.assert_array_equal(pasted.joints[1], layer.joints)
    for j in range(17):
        x, y = ((view.joints[0, j, :2] + 0.5) / 4 - 0.5).round().astype(int)
        assert (pasted.weight[j, y, x] == 0) == inside[j]
    assert (pasted.weight[0, 13:19] == 1).all()  # on the pasted person the nose is known to be nowhere else
    assert (pasted.weight[0, :12] == 0.25).all() and (pasted.weight[0, 21:] == 0.25).all()
    assert (pasted.image[:49] == GREY).all() and (pasted.image[55:75] > GREY).all()


def test_pasted_people_lie_on_their_labels_and_leave_half_of_everybody(tmp_path: Path) -> None:
    cutouts, view = read_cutouts(write_cutouts(tmp_path / "cut")), grey_view()
    numbers = []
    for seed in range(25):
        pasted = paste_people(np.random.default_rng(seed), view, cutouts, CONFIG, COCO17)
        numbers.append(len(pasted.joints) - 1)
        assert pasted.joints[0, :, 2].sum() >= 17 / 2
        for person in pasted.joints[1:]:
            x, y = person[person[:, 2] > 0, :2].round().astype(int).T
            red = pasted.image[y, x, 0].astype(int) - pasted.image[y, x, 1]
            assert np.median(red) > 60  # the grey picture has none
    assert {1, 2} <= set(numbers) <= {0, 1, 2}


def test_colours_stay_clean_at_the_edges(tmp_path: Path) -> None:
    """What lies beside a cut-out is clear, and must not darken its rim: between grey and red nothing is darker than either."""
    cutouts = read_cutouts(write_cutouts(tmp_path / "cut"))
    for seed in range(10):
        pasted = paste_people(np.random.default_rng(seed), grey_view(), cutouts, CONFIG, COCO17)
        assert pasted.image[..., 0].min() >= GREY - 2


def test_a_share_of_the_samples_has_pasted_people_and_the_others_are_as_before(tmp_path: Path) -> None:
    photos = [read_photos(write_folder(tmp_path / "set"))]
    plain = PoseSamples(photos, [Source("set")], replace(CONFIG, paste=0.0))
    pasted = PoseSamples(
        photos, [Source("set")], replace(CONFIG, paste=0.4), cutouts=read_cutouts(write_cutouts(tmp_path / "cut"))
    )
    more = [len(pasted.sample(k).joints) - len(plain.sample(k).joints) for k in range(40)]
    assert set(more) == {0, 1, 2} and 8 < np.count_nonzero(more) < 24
    untouched = more.index(0)
    np.testing.assert_array_equal(pasted[untouched]["image"], plain[untouched]["image"])


def test_pictures_that_are_no_cutouts_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="0.png: not a cut-out person: expected 8-bit RGBA, found uint8 .*3"):
        read_cutouts(write_folder(tmp_path / "set"))
    broken = write_cutouts(tmp_path / "broken", 1)
    [picture] = (broken / "images").iterdir()
    picture.write_bytes(picture.read_bytes()[:60])
    with pytest.raises(DataError, match=f"{picture.name}: not a cut-out person: not a readable image"):
        read_cutouts(broken)
    with pytest.raises(ValueError, match="found no annotations.json"):
        read_cutouts(tmp_path)
    folder = write_cutouts(tmp_path / "cut", 1)
    write_document(folder, {**json.loads(json.dumps(document(folder))), "annotations": []})
    with pytest.raises(ValueError, match="one labelled person each, found none"):
        read_cutouts(folder)
