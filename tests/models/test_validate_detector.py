from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.photos import read_photos
from models.skeleton import COCO17
from models.validate_detector import crop_joints, crop_pck, draw_sheet, labelled_crops
from tests.models.scenes import document, write_document, write_folder


class BrightestPixel(nn.Module):
    """A network whose every heatmap is the picture's brightness at a quarter of its size."""

    mean = torch.zeros(1, 3, 1, 1)

    def forward(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        heat = nn.functional.avg_pool2d(images.mean(1, keepdim=True), 4).expand(-1, 17, -1, -1)
        return [(heat, heat[..., None])]


def test_crops_show_the_person_where_the_labels_say(tmp_path: Path) -> None:
    photo = read_photos(write_folder(tmp_path / "small", 1))[0]
    image, joints = labelled_crops(photo, 128)[0]
    x, y = np.round(joints[:, :2]).astype(int).T
    assert np.median(image.max(-1)[y, x]) > 110
    large = read_photos(write_folder(tmp_path / "large", 1, (900, 1350)))[0]  # shrunk by more than half
    np.testing.assert_allclose(labelled_crops(large, 128)[0][1], joints, atol=6)  # the box has 4 px of margin in both
    assert 0.7 * 128 < np.ptp(joints[:, :2], axis=0).max() < 0.9 * 128


def test_a_box_that_dwarfs_its_picture_still_gives_a_crop(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "set", 1)
    content = document(folder)
    content["annotations"][0]["bbox"] = [0, 0, 1e6, 1e6]
    write_document(folder, content)
    [(image, joints)] = labelled_crops(read_photos(folder)[0], 64)
    assert image.shape == (64, 64, 3) and np.isfinite(joints).all()


def test_the_highest_value_is_found_in_crop_pixels() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[20:24, 40:44] = 255  # centre (41.5, 21.5)
    found = crop_joints(BrightestPixel(), [image, image[:, ::-1].copy()], 4)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found[0], np.tile([41.5, 21.5], (17, 1)))
    np.testing.assert_array_equal(found[1], np.tile([63 - 41.5, 21.5], (17, 1)))


def test_pck_counts_labelled_limb_joints_within_a_fifth_of_the_torso() -> None:
    truth = np.zeros((2, 17, 3))
    truth[..., :2] = np.random.default_rng(0).uniform(0, 100, (2, 17, 2))
    truth[:, 5, :2], truth[:, 12, :2], truth[..., 2] = (0, 0), (0, 50), 1  # torso 50 px: 10 px are right
    found = truth[..., :2].copy()
    assert crop_pck(found, truth) == 1
    found[0, COCO17.index("left_knee"), 0] += 9.9
    assert crop_pck(found, truth) == 1
    found[0, COCO17.index("left_knee"), 0] += 0.2
    assert crop_pck(found, truth) == 1 - 0.5 / 12
    truth[0, COCO17.index("left_knee"), 2] = 0
    assert crop_pck(found, truth) == 1


def test_a_sheet_holds_every_crop() -> None:
    sheet = draw_sheet([np.zeros((32, 32, 3), np.uint8)] * 5, np.full((5, 17, 2), 16.0), columns=4)
    assert sheet.shape == (2 * 64, 4 * 64, 3)
    assert torch.tensor(sheet).any()
