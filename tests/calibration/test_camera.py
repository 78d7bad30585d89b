import numpy as np
import pytest

from calibration.camera import Camera
from calibration.errors import CalibrationError
from calibration.rig import Rig
from calibration.transforms import look_at

K = np.array([[600.0, 0, 320], [0, 610, 240], [0, 0, 1]])
LENS_COEFFICIENTS = {
    "brown": [-0.25, 0.08, 1e-3, -5e-4, 0.01],
    "rational": [0.1, -0.05, 1e-3, 2e-3, 0.01, 0.2, -0.02, 0.03],
    "fisheye": [0.05, -0.01, 0.002, -0.001],
}


def _camera(lens: str = "brown") -> Camera:
    return Camera("left", (640, 480), K, np.array(LENS_COEFFICIENTS[lens]), lens, look_at([3, 1, 1.5], [0, 0, 1]))


@pytest.mark.parametrize("lens", LENS_COEFFICIENTS)
def test_projecting_then_undistorting_returns_the_ray(lens: str) -> None:
    camera = _camera(lens)
    xyz_m = np.random.default_rng(1).uniform([-0.6, -0.6, 0.4], [0.6, 0.6, 1.6], (200, 3))
    cam_m = camera.cam_from_world.apply(xyz_m)
    np.testing.assert_allclose(camera.undistort(camera.project(xyz_m)), cam_m[:, :2] / cam_m[:, 2:], atol=1e-9)


def test_a_point_behind_the_camera_has_no_pixel() -> None:
    camera = _camera()
    behind = camera.centre_m + (camera.centre_m - np.array([0, 0, 1]))
    assert np.isnan(camera.project(behind[None])).all()


def test_nan_pixels_stay_nan() -> None:
    rays = _camera().undistort([[np.nan, 3], [10, 20]])
    assert np.isnan(rays[0]).all()
    assert np.isfinite(rays[1]).all()


def test_four_brown_coefficients_mean_k3_is_zero() -> None:
    assert Camera("a", (4, 4), K, np.array([1e-3, 2e-3, 0, 0])).dist.tolist() == [1e-3, 2e-3, 0, 0, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"K": np.full((3, 3), np.nan)}, "left: K holds NaN"),
        ({"dist": np.array([np.nan] * 5)}, "left: dist holds NaN"),
        ({"dist": np.zeros(3)}, "5 distortion coefficients"),
        ({"lens": "zoom"}, "one of brown, rational, fisheye"),
        ({"K": -K}, "positive"),
        ({"size_wh": (0, 480)}, "0x480"),
    ],
)
def test_a_broken_camera_is_refused_by_name(change: dict, message: str) -> None:
    values = {"name": "left", "size_wh": (640, 480), "K": K, "dist": np.zeros(5)} | change
    with pytest.raises(CalibrationError, match=message):
        Camera(**values)


def test_a_rig_is_asked_by_name_and_keeps_whole_pairs_only() -> None:
    cameras = tuple(Camera(name, (640, 480), K) for name in ("a", "b", "c"))
    rig = Rig(cameras, (("a", "b"),))
    assert rig["b"] is cameras[1]
    assert rig.subset(["b", "a"]).stereo_pairs == (("a", "b"),)
    assert rig.subset(["a", "c"]).stereo_pairs == ()
    with pytest.raises(CalibrationError, match="no camera 'd'; the cameras are a, b, c"):
        rig["d"]
    with pytest.raises(CalibrationError, match="found twice: a"):
        Rig((cameras[0], cameras[0]))
    with pytest.raises(CalibrationError, match="stereo pair names 'z'"):
        Rig(cameras, (("a", "z"),))


def rig_with_covariances() -> Rig:
    lenses = {"brown": 5, "rational": 8, "fisheye": 4}
    cameras = tuple(Camera(name, (640, 480), K, np.zeros(n), name) for name, n in lenses.items())
    A = np.random.default_rng(0).normal(size=(18, 18))
    return Rig(cameras, (), A @ A.T, tuple(np.eye(4 + n) * n for n in lenses.values()))


def test_a_subset_keeps_its_parts_of_the_covariances() -> None:
    rig = rig_with_covariances()
    part = rig.subset(["fisheye", "brown"])
    order = [*range(12, 18), *range(6)]
    np.testing.assert_array_equal(part.covariance, rig.covariance[order][:, order])
    assert [block[0, 0] for block in part.lens_covariance] == [4.0, 5.0]
    assert Rig(rig.cameras).subset(["brown"]).covariance is Rig(rig.cameras).subset(["brown"]).lens_covariance is None


@pytest.mark.parametrize(
    ("blocks", "says"),
    [
        ([np.eye(9), np.eye(12)], "expected 3 matrices, one per camera, got 2"),
        ([np.eye(9), np.eye(9), np.eye(8)], r"camera rational: expected \(12, 12\) over fx, fy, cx, cy and the 8"),
        ([np.eye(9), np.eye(12), np.ones(8)], r"camera fisheye: expected \(8, 8\).*got \(8,\)"),
    ],
)
def test_a_lens_covariance_of_another_shape_is_refused(blocks: list, says: str) -> None:
    with pytest.raises(CalibrationError, match=says):
        Rig(rig_with_covariances().cameras, lens_covariance=tuple(blocks))
