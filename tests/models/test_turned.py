from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.detector import Detector
from models.hourglass import HourglassConfig, build_hourglass
from models.skeleton import COCO17
from models.turned import People, one_per_place, shared, unturned


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_pixel_of_a_turned_image_goes_back_to_its_place(turns: int) -> None:
    image = np.zeros((5, 8), np.uint8)
    image[1, 6] = 255
    y, x = np.argwhere(np.rot90(image, turns))[0]
    np.testing.assert_array_equal(unturned(np.array([[x, y]]), turns, (8, 5)), [[6, 1]])


def _person(x: float, score: float) -> People:
    xy = np.array([[[x, 0.0], [x + 10.0, 20.0], [np.nan, np.nan]]])
    return xy, np.array([[score, score, 0.0]]), np.zeros((1, 1))


def _both(a: People, b: People) -> People:
    return tuple(np.concatenate(pair) for pair in zip(a, b, strict=True))  # type: ignore[return-value]


def test_a_place_keeps_the_better_person_and_the_upright_one_when_they_are_alike() -> None:
    for score, kept in ((0.5, 0.9), (0.95, 0.9), (1.1, 1.1)):
        xy, found, _ = one_per_place([_person(0, 0.9), _person(2, score)])
        assert found[:, 0].tolist() == [kept]
    assert one_per_place([_person(0, 0.9), _person(100, 0.2)])[1][:, 0].tolist() == [0.9, 0.2]


def test_people_found_in_one_turn_may_stand_in_each_others_place() -> None:
    assert len(one_per_place([_both(_person(0, 0.9), _person(2, 0.8)), _person(1, 0.3)])[0]) == 2
    nobody = tuple(part[:0] for part in _person(0, 1.0))
    assert len(one_per_place([nobody, nobody])[0]) == 0  # type: ignore[list-item]


def test_what_boxes_share_is_counted_of_the_smaller_one() -> None:
    person = np.array([[0.0, 0.0], [10.0, 10.0]])
    others = np.array([[[5.0, 0.0], [15.0, 10.0]], [[2.0, 2.0], [4.0, 4.0]], [[20.0, 20.0], [30.0, 30.0]]])
    np.testing.assert_allclose(shared(person, others), [0.5, 1.0, 0.0])


class UprightOnly:
    """Finds the marked joints of an image whose first joint is above its last, as a network that knows upright people does."""

    name = "upright only"

    def maps(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        count, height, width = images.shape[:3]
        heatmaps = np.zeros((count, 17, height // 4, width // 4), np.float32)
        for image, maps in zip(images, heatmaps, strict=True):
            places = [np.argwhere(image[..., 0] == 100 + joint)[0] // 4 for joint in range(17)]
            if places[0][0] < places[-1][0]:
                for joint, (y, x) in enumerate(places):
                    maps[joint, y, x] = 0.9
        return heatmaps, np.zeros((*heatmaps.shape, 1), np.float32)


def test_a_person_on_her_head_is_found_as_the_one_on_her_feet() -> None:
    image = np.zeros((96, 128, 3), np.uint8)
    for joint in range(17):
        image[4 * joint + 8 : 4 * joint + 12, 40 + joint : 44 + joint] = 100 + joint
    network = build_hourglass(HourglassConfig(channels=8, stacks=1, depth=3))
    upright = Detector(network, COCO17, size_px=128, backend=UprightOnly())
    turned, head_down = upright.with_options(turned=True), np.ascontiguousarray(np.rot90(image, 2))
    feet = upright.detect(image[None])[0]
    assert len(feet[0]) == 1
    assert len(upright.detect(head_down[None])[0][0]) == 0
    np.testing.assert_array_equal(turned.detect(image[None])[0][0], feet[0])
    found = turned.detect(head_down[None])[0]
    np.testing.assert_allclose(found[0][0], unturned(feet[0][0], 2, (128, 96)), atol=1e-4)
