import numpy as np
import pytest

from pipeline.types import Frame, Poses2D, Skeletons3D


def test_shapes_that_disagree_are_named_with_their_letters() -> None:
    with pytest.raises(ValueError, match=r"Poses2D.score: expected \(P=2, J=17\), got \(2, 16\)"):
        Poses2D("cam1", 0, np.zeros((2, 17, 2)), np.zeros((2, 16)), np.zeros((2, 1)))


def test_no_people_is_a_valid_record() -> None:
    assert len(Poses2D("cam1", 0, np.zeros((0, 17, 2)), np.zeros((0, 17)), np.zeros((0, 1)))) == 0


def test_records_cannot_be_written_to() -> None:
    pose = Poses2D("cam1", 0, np.zeros((1, 17, 2)), np.zeros((1, 17)), np.zeros((1, 1)))
    with pytest.raises(ValueError, match="read-only"):
        pose.xy_px[0] = 1


def test_a_float_image_is_no_frame() -> None:
    with pytest.raises(ValueError, match="uint8"):
        Frame("cam1", 0, 0, np.zeros((4, 4, 3)))  # type: ignore[arg-type]


def test_skeletons_check_their_covariance() -> None:
    zeros = np.zeros((1, 17))
    with pytest.raises(ValueError, match=r"covariance_m2: expected \(P=1, J=17, 3, 3\)"):
        Skeletons3D(0, np.zeros(1), np.zeros((1, 17, 3)), zeros, zeros, zeros, np.zeros((1, 17, 3)))
