import cv2
import numpy as np
import pytest

from models.skeleton import COCO17
from pipeline.conditions import COLOURS18, LIMBS18, OPENPOSE18, Crop, pose_map, square_around


def standing(x_px: float = 64.0) -> np.ndarray:
    """A person (1, 17, 2) seen from the front in a 128 px image; the subject's left is on the right of the image."""
    rows = {"nose": 20, "eye": 17, "ear": 18, "shoulder": 36, "elbow": 52, "wrist": 66, "hip": 68, "knee": 90, "ankle": 112}
    offset = {"nose": 0, "eye": 3, "ear": 6, "shoulder": 14, "elbow": 20, "wrist": 22, "hip": 9, "knee": 10, "ankle": 11}
    joints = []
    for name in COCO17.joints:
        part = name.split("_")[-1]
        side = 1 if name.startswith("left") else -1
        joints.append((x_px + side * offset[part], rows[part]))
    return np.array([joints], dtype=float)


def test_every_limb_shows_its_own_colour_at_its_middle() -> None:
    person = standing()
    image = pose_map(person * 4, (512, 512))
    at = {name: person[0, COCO17.index(name)] * 4 for name in COCO17.joints}
    at["neck"] = (at["left_shoulder"] + at["right_shoulder"]) / 2
    for limb, (start, end) in enumerate(LIMBS18[:12]):  # body and limbs; the head's limbs cross each other
        x, y = ((at[OPENPOSE18[start]] + at[OPENPOSE18[end]]) / 2).round().astype(int)
        assert np.abs(image[y, x].astype(int) - [int(0.6 * c) for c in COLOURS18[limb]]).max() <= 1, OPENPOSE18[end]


def test_left_and_right_have_different_colours() -> None:
    person = standing()
    mirrored = person[:, list(COCO17.mirror)]
    assert (pose_map(person, (128, 128)) != pose_map(mirrored, (128, 128))).any()


def test_what_is_nearer_is_drawn_on_top() -> None:
    behind, front = standing(), standing()[:, list(COCO17.mirror)]
    pair = np.concatenate([behind, front])
    near_last = pose_map(pair, (128, 128), np.repeat([[5.0], [2.0]], 17, 1))
    near_first = pose_map(pair, (128, 128), np.repeat([[2.0], [5.0]], 17, 1))
    wrists = standing()[0, [COCO17.index("left_wrist"), COCO17.index("right_wrist")]].round().astype(int)
    right, left = (list(COLOURS18[OPENPOSE18.index(f"{side}_wrist")]) for side in ("right", "left"))
    assert [near_last[y, x].tolist() for x, y in wrists] == [right, left]
    assert [near_first[y, x].tolist() for x, y in wrists] == [left, right]


def test_a_missing_joint_takes_its_limbs_along() -> None:
    person = standing()
    person[0, COCO17.index("left_knee")] = np.nan
    left_leg = pose_map(person, (128, 128))[80:, 66:]
    ankle_colour = COLOURS18[OPENPOSE18.index("left_ankle")]
    assert {tuple(c) for c in left_leg[left_leg.any(-1)].tolist() if max(c) == 255} == {ankle_colour}


def test_nobody_gives_a_black_map() -> None:
    assert not pose_map(np.zeros((0, 17, 2)), (32, 24)).any()
    assert pose_map(np.full((1, 17, 2), np.nan), (32, 24)).shape == (24, 32, 3)


def test_labels_move_into_the_crop_and_back() -> None:
    crop = Crop(13.5, -4.25, 71.0, 64)
    xy_px = np.random.default_rng(0).uniform(0, 200, (2, 17, 2))
    assert np.allclose(crop.to_source(crop.to_crop(xy_px)), xy_px)


def test_cut_pixels_land_where_their_labels_do() -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    image[90:93, 150:153] = 255  # a dot centred on (151, 91)
    crop = square_around(np.array([[100.0, 60.0], [190.0, 130.0]]), 96)
    assert crop is not None
    cut = crop.cut(image)[..., 0].astype(float)
    ys, xs = np.mgrid[:96, :96]
    seen = np.array([(xs * cut).sum(), (ys * cut).sum()]) / cut.sum()
    assert np.abs(seen - crop.to_crop(np.array([151.0, 91.0]))).max() < 0.1  # centroid of an 8-bit blurred dot


def test_the_square_holds_all_joints_with_its_margin() -> None:
    xy_px = np.random.default_rng(1).uniform(50, 400, (3, 17, 2))
    crop = square_around(xy_px, 64, margin=0.1)
    assert crop is not None
    inside = crop.to_crop(xy_px)
    assert inside.min() + 0.5 >= 64 * 0.1 / 1.2 - 1e-9
    assert inside.max() + 0.5 <= 64 * 1.1 / 1.2 + 1e-9


def test_without_joints_there_is_no_square() -> None:
    assert square_around(np.full((1, 17, 2), np.nan), 64) is None


def test_the_blur_before_shrinking_is_never_wider_than_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    sigmas: list[float] = []
    blur = cv2.GaussianBlur
    monkeypatch.setattr(cv2, "GaussianBlur", lambda image, size, sigma: (sigmas.append(sigma), blur(image, size, sigma))[1])
    image = np.full((48, 64, 3), 90, np.uint8)
    for side_px in (256.0, 1e7):
        assert (Crop(0.0, 0.0, side_px, 64).cut(image) == 90).all()
    assert sigmas == [0.4 * 4, 64]
