import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.errors import CalibrationError
from calibration.transforms import Rigid, align, look_at, rotation_angle_rad, scale_px

vectors = st.tuples(*[st.floats(-3, 3) for _ in range(3)])


@given(vectors, vectors, vectors)
def test_a_motion_and_its_inverse_return_the_point(rvec, t, x) -> None:
    a_from_b = Rigid.from_rvec(rvec, t)
    np.testing.assert_allclose(a_from_b.inverse().apply(a_from_b.apply(x)), x, atol=1e-9)


@given(vectors, vectors, vectors)
def test_composing_motions_composes_their_matrices(r1, r2, t) -> None:
    a, b = Rigid.from_rvec(r1, t), Rigid.from_rvec(r2, t[::-1])
    np.testing.assert_allclose((a @ b).matrix, a.matrix @ b.matrix, atol=1e-9)


def test_tiny_angles_are_measured_exactly() -> None:
    assert rotation_angle_rad(Rigid.from_rvec([0, 0, 1e-9], np.zeros(3)).R, np.eye(3)) == pytest.approx(1e-9, rel=1e-3)


def test_align_finds_the_motion_that_moved_the_points() -> None:
    points = np.random.default_rng(0).normal(size=(6, 3))
    moved_from_still = Rigid.from_rvec([0.3, -0.7, 2.0], [1, 2, 3])
    found = align(points, moved_from_still.apply(points))
    np.testing.assert_allclose(found.matrix, moved_from_still.matrix, atol=1e-12)


def test_aligning_mirrored_points_never_gives_a_mirror() -> None:
    points = np.random.default_rng(0).normal(size=(6, 3))
    assert np.linalg.det(align(points, points * [1, 1, -1]).R) == pytest.approx(1)


def test_look_at_puts_the_target_on_the_axis_and_up_is_up() -> None:
    cam_from_world = look_at([3, 2, 1.5], [0, 0, 1])
    x, y, z = cam_from_world.apply([0, 0, 1])
    assert (x, y) == pytest.approx((0, 0))
    assert z == pytest.approx(np.sqrt(13.25))
    assert cam_from_world.apply([0, 0, 2])[1] < 0  # image y points down


def test_looking_along_up_is_refused() -> None:
    with pytest.raises(CalibrationError, match="parallel"):
        look_at([0, 0, 3], [0, 0, 0])


def test_halving_an_image_keeps_the_outer_corner() -> None:
    # The outer corner of the first pixel is (-.5, -.5) in every size.
    np.testing.assert_allclose(scale_px([-0.5, -0.5], 0.5), [-0.5, -0.5])
    np.testing.assert_allclose(scale_px([1.5, 3.5], 0.5), [0.5, 1.5])


@pytest.mark.parametrize(
    ("R", "t", "message"),
    [
        (np.eye(3) * 2, np.zeros(3), "orthonormal"),
        (np.diag([1, 1, -1]), np.zeros(3), "determinant"),
        (np.full((3, 3), np.nan), np.zeros(3), "finite"),
        (np.eye(2), np.zeros(3), r"got \(2, 2\)"),
    ],
)
def test_what_is_no_motion_is_refused(R, t, message) -> None:
    with pytest.raises(CalibrationError, match=message):
        Rigid(R, t)
