import numpy as np
import pytest
import torch

from models.letterbox import Letterbox, resampled


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


def test_a_resampled_map_shows_the_same_place_of_the_image() -> None:
    coarse, fine = Letterbox.fit((500, 300), 130, 64), Letterbox.fit((500, 300), 300, 64)
    image_xy = torch.from_numpy(coarse.image_from_map(np.stack(np.meshgrid(np.arange(48), np.arange(32)), -1)))
    maps = image_xy.permute(2, 0, 1)[None, :, : coarse.padded_wh[1] // 4, : coarse.padded_wh[0] // 4].contiguous()
    moved = resampled(maps, coarse, fine)[0].permute(1, 2, 0).numpy()
    expected = fine.image_from_map(np.stack(np.meshgrid(np.arange(moved.shape[1]), np.arange(moved.shape[0])), -1))
    inside = (slice(3, -8), slice(3, -8))  # away from the border, where there is nothing to interpolate with
    np.testing.assert_allclose(moved[inside], expected[inside], atol=1e-2)
