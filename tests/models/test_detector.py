from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from models.detector import Detector, Letterbox, load_detector, resampled
from models.hourglass import HourglassConfig, build_hourglass
from models.skeleton import COCO17
from models.weights import WeightsError, save_tensors

SMALL = HourglassConfig(channels=8, depth=2)


@pytest.fixture(scope="module")
def detector() -> Detector:
    torch.manual_seed(0)
    return Detector(build_hourglass(SMALL).eval(), COCO17, size_px=64)


def saved(folder: Path, **about: object) -> Path:
    torch.manual_seed(0)
    save_tensors(folder / "small.safetensors", build_hourglass(SMALL).state_dict(), {"network": asdict(SMALL), **about})
    return folder / "small.safetensors"


@pytest.mark.parametrize("size_wh", [(640, 480), (1080, 1920), (333, 777), (100, 60)])
def test_a_point_survives_the_letterbox_and_back(size_wh: tuple[int, int]) -> None:
    box = Letterbox.fit(size_wh, 256, 64)
    assert max(box.resized_wh) == 256 and all(side % 64 == 0 for side in box.padded_wh)
    assert all(p - r < 64 for p, r in zip(box.padded_wh, box.resized_wh, strict=True))
    corners = np.array([[-0.5, -0.5], [size_wh[0] - 0.5, size_wh[1] - 0.5]])
    in_map = np.array([[-0.5, -0.5], np.array(box.resized_wh) / 4 - 0.5])
    np.testing.assert_allclose(box.image_from_map(in_map), corners, atol=1e-4)


def test_the_letterboxed_picture_lies_where_the_coordinates_say() -> None:
    image = np.zeros((300, 200, 3), np.uint8)
    image[198:206, 98:106] = 255  # centre (101.5, 201.5)
    box = Letterbox.fit((200, 300), 150, 64)
    small = box.apply(image)[: box.resized_wh[1], : box.resized_wh[0], 0].astype(float)
    y, x = (np.average(axis, weights=small) for axis in np.mgrid[: small.shape[0], : small.shape[1]])
    in_map = (np.array([x, y]) + 0.5) / 4 - 0.5
    np.testing.assert_allclose(box.image_from_map(in_map), [101.5, 201.5], atol=0.05)


def test_a_portrait_frame_is_not_padded_to_a_square() -> None:
    assert Letterbox.fit((1080, 1920), 384, 64).padded_wh == (256, 384)


def test_detections_have_the_contracted_shapes(detector: Detector) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 50, 80, 3), np.uint8)
    for flip, dims in ((False, 1), (True, 2)):
        people = detector.with_options(flip=flip, batch=2).detect(images)
        assert len(people) == 3
        for xy, score, tag in people:
            assert xy.shape == (len(xy), 17, 2) and score.shape == (len(xy), 17) and tag.shape == (len(xy), dims)
            assert (np.isnan(xy).any(-1) == (score == 0)).all()


def test_several_scales_keep_the_contract(detector: Detector) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 50, 80, 3), np.uint8)
    pyramid = detector.with_options(scales=(0.5, 1.0), flip=True, batch=2)
    people = pyramid.detect(images)
    assert len(people) == 3
    for xy, score, tag in people:
        assert xy.shape == (len(xy), 17, 2) and score.shape == (len(xy), 17) and tag.shape == (len(xy), 2)
    for (a, _, _), (b, _, _) in zip(
        detector.detect(images), detector.with_options(scales=(1.0, 1.0)).detect(images), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-3)


def test_a_resampled_map_shows_the_same_place_of_the_image() -> None:
    coarse, fine = Letterbox.fit((500, 300), 130, 64), Letterbox.fit((500, 300), 300, 64)
    image_xy = torch.from_numpy(coarse.image_from_map(np.stack(np.meshgrid(np.arange(48), np.arange(32)), -1)))
    maps = image_xy.permute(2, 0, 1)[None, :, : coarse.padded_wh[1] // 4, : coarse.padded_wh[0] // 4].contiguous()
    moved = resampled(maps, coarse, fine)[0].permute(1, 2, 0).numpy()
    expected = fine.image_from_map(np.stack(np.meshgrid(np.arange(moved.shape[1]), np.arange(moved.shape[0])), -1))
    inside = (slice(3, -8), slice(3, -8))  # away from the border, where there is nothing to interpolate with
    np.testing.assert_allclose(moved[inside], expected[inside], atol=1e-2)


def test_a_mirrored_picture_has_mirrored_maps_under_the_flip_test(detector: Detector) -> None:
    both, mirror = detector.with_options(flip=True), list(COCO17.mirror)
    padded = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8))
    heatmaps, tags = both.maps(padded)
    other, other_tags = both.maps(padded.flip(2))
    torch.testing.assert_close(other.flip(-1)[:, mirror], heatmaps)
    torch.testing.assert_close(other_tags.flip(-2)[:, mirror].flip(-1), tags)


def test_saved_weights_give_the_same_maps(detector: Detector, tmp_path: Path) -> None:
    loaded = load_detector(saved(tmp_path, inference={"size_px": 96}), flip=True)
    assert loaded.size_px == 96 and loaded.flip
    padded = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    assert torch.equal(loaded.with_options(flip=False).maps(padded)[0], detector.maps(padded)[0])


def test_weights_of_another_topology_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path)
    for network, message in (
        ({**asdict(SMALL), "topology": "hand21"}, "expected a topology among .*coco17.*'hand21'"),
        ({**asdict(SMALL), "joints": 16}, "'coco17' with 16"),
        ({**asdict(SMALL), "channels": 16}, "tensors do not fit the recorded network"),
    ):
        save_tensors(path, build_hourglass(SMALL).state_dict(), {"network": network})
        with pytest.raises(WeightsError, match=message):
            load_detector(path)


def test_weights_that_are_not_there_are_named() -> None:
    with pytest.raises(WeightsError, match="elephant.safetensors: no such weights file"):
        load_detector("elephant")


@pytest.mark.parametrize("bad", [np.zeros((4, 4, 3), np.uint8), np.zeros((1, 4, 4, 3)), np.zeros((1, 4, 4, 4), np.uint8)])
def test_images_of_another_kind_are_refused(detector: Detector, bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected images \(B, H, W, 3\) uint8 RGB"):
        detector.detect(bad)
