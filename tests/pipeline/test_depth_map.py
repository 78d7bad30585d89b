import numpy as np
import pytest

from calibration.camera import Camera
from calibration.transforms import look_at
from models.skeleton import COCO17
from pipeline.conditions import Crop
from pipeline.depth_map import HEAD_M, as_disparity, body_depth_m, depth_map, person_mask, seen_depth_m

CAMERA = Camera("c", (200, 200), np.array([[400.0, 0, 99.5], [0, 400.0, 99.5], [0, 0, 1]]),
                cam_from_world=look_at(np.array([0.0, -4.0, 1.0]), np.array([0.0, 0.0, 1.0])))  # fmt: skip
CROP = Crop(0.0, 0.0, 200.0, 100)
NOSE = COCO17.index("nose")


def person(**joints: tuple[float, float, float]) -> np.ndarray:
    xyz = np.full((1, 17, 3), np.nan)
    for name, at in joints.items():
        xyz[0, COCO17.index(name)] = at
    return xyz


def test_a_ball_has_the_depth_and_size_of_a_ball() -> None:
    depth = body_depth_m(person(nose=(0, 0, 1)), CAMERA, CROP)
    assert depth[49:51, 49:51].min() == pytest.approx(4 - HEAD_M, abs=1e-3)
    radius_px = HEAD_M * 400 / 4 / 2  # the crop halves
    assert np.isfinite(depth).sum() == pytest.approx(np.pi * radius_px**2, rel=0.08)
    rows, columns = np.nonzero(np.isfinite(depth))
    assert (rows.mean(), columns.mean()) == (pytest.approx(49.5, abs=0.1), pytest.approx(49.5, abs=0.1))
    at = np.hypot(columns - 49.5, rows - 49.5) / (400 / 4 / 2)
    np.testing.assert_allclose(depth[rows, columns], 4 - np.sqrt(np.maximum(HEAD_M**2 - at**2, 0)), atol=0.02)


def test_an_arm_is_a_capsule_that_goes_on_into_a_hand() -> None:
    depth = body_depth_m(person(left_elbow=(-0.3, 0, 1), left_wrist=(0.0, 0, 1)), CAMERA, CROP)
    columns = np.flatnonzero(np.isfinite(depth).any(0))
    px_per_m = 400 / 4 / 2
    # look_at from -y: world +x is to the right
    assert columns[0] == pytest.approx(49.5 - (0.3 + 0.055) * px_per_m, abs=1)
    assert columns[-1] == pytest.approx(49.5 + (0.6 * 0.3 + 0.045) * px_per_m, abs=1)
    middle = depth[:, 42]
    assert np.isfinite(middle).sum() == pytest.approx(2 * 0.05 * px_per_m, abs=1.5)


def test_what_is_nearer_hides_what_is_farther_and_is_brighter() -> None:
    both = np.concatenate([person(nose=(0, 1.0, 1)), person(nose=(0.02, 0, 1))])
    depth = body_depth_m(both, CAMERA, CROP)
    assert depth[49, 50] < 4 and np.array_equal(depth, body_depth_m(both[::-1], CAMERA, CROP))
    image = depth_map(np.concatenate([both[1:], person(nose=(1.2, 4.0, 1))]), CAMERA, CROP)
    assert image.shape == (100, 100, 3) and image.max() == 255
    far = image[40:60, 75:99].max()
    assert far == pytest.approx(255 * (4 - HEAD_M) / (8 - HEAD_M), abs=2)
    assert image[0, 0, 0] == 0


def test_a_measured_background_stands_behind_people() -> None:
    body = body_depth_m(person(nose=(0, 0, 1)), CAMERA, CROP)
    image = as_disparity(body, np.full((100, 100), 2 * (4 - HEAD_M)))
    assert image[49, 49, 0] == 255 and image[0, 0, 0] == 128
    near = as_disparity(body, np.full((100, 100), 1.0))
    assert near.min() == 255  # whatever stands before people
    assert not as_disparity(np.full((4, 4), np.inf)).any()


def test_a_cloud_is_seen_at_its_depth_without_pinholes() -> None:
    grid = np.stack(np.meshgrid(np.linspace(-2, 2, 161), [1.0], np.linspace(-1, 3, 161)), -1).reshape(-1, 3)
    depth = seen_depth_m(grid, CAMERA, CROP)
    np.testing.assert_allclose(depth, 5.0)  # a wall 5 m away that fills the picture
    nearer = seen_depth_m(np.concatenate([grid, [[0.0, -1.0, 1.0]]]), CAMERA, CROP)
    assert nearer[49:51, 49:51].min() == 3.0 and (nearer == 3.0).sum() <= 9
    assert np.isinf(seen_depth_m(np.array([[0.0, -5.0, 1.0]]), CAMERA, CROP)).all()


def test_people_who_are_not_known_or_behind_the_camera_leave_nothing() -> None:
    assert np.isinf(body_depth_m(np.full((2, 17, 3), np.nan), CAMERA, CROP)).all()
    assert np.isinf(body_depth_m(person(nose=(0, -9, 1)), CAMERA, CROP)).all()
    assert np.isinf(body_depth_m(np.zeros((0, 17, 3)), CAMERA, CROP)).all()


def test_the_mask_holds_the_body_and_a_margin() -> None:
    body = body_depth_m(person(nose=(0, 0, 1)), CAMERA, CROP)
    mask = person_mask(body, 0.05)
    assert mask[np.isfinite(body)].all()
    across = np.flatnonzero(mask.any(0))
    inner = np.flatnonzero(np.isfinite(body).any(0))
    assert (inner[0] - across[0], across[-1] - inner[-1]) == (5, 5)
