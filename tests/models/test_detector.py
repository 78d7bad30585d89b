from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from models.detector import Detector, load_detector
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


def test_a_mirrored_picture_has_mirrored_maps_under_the_flip_test(detector: Detector) -> None:
    both, mirror = detector.with_options(flip=True), list(COCO17.mirror)
    padded = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    heatmaps, tags = both.maps(padded)
    other, other_tags = both.maps(np.ascontiguousarray(padded[:, :, ::-1]))
    np.testing.assert_allclose(other[..., ::-1][:, mirror], heatmaps, atol=1e-6)
    np.testing.assert_allclose(other_tags[..., ::-1, :][:, mirror][..., ::-1], tags, atol=1e-6)


def test_saved_weights_give_the_same_maps(detector: Detector, tmp_path: Path) -> None:
    loaded = load_detector(saved(tmp_path, inference={"size_px": 96}), backend="torch", flip=True)
    assert loaded.size_px == 96 and loaded.flip
    told = saved(tmp_path, inference={"size_px": 96, "scales": [0.5, 1.0]})
    assert load_detector(told, backend="torch", size_px=None, scales=None).scales == (0.5, 1.0)
    assert load_detector(told, backend="torch", size_px=None, scales=[1.0]).scales == (1.0,)
    padded = np.zeros((1, 64, 64, 3), np.uint8)
    np.testing.assert_array_equal(loaded.with_options(flip=False).maps(padded)[0], detector.maps(padded)[0])


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
