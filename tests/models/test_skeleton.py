import numpy as np
import pytest

from models.skeleton import COCO17, Topology


def test_every_left_joint_mirrors_to_the_right_one() -> None:
    for j, name in enumerate(COCO17.joints):
        other = COCO17.joints[COCO17.mirror[j]]
        assert other == name.replace("left", "LEFT").replace("right", "left").replace("LEFT", "right")


def test_limb_joints_are_the_twelve_from_shoulder_to_ankle() -> None:
    assert COCO17.limb_joints == tuple(range(5, 17))


def test_a_mirror_that_is_not_its_own_inverse_is_refused() -> None:
    with pytest.raises(ValueError, match="mirror must be its own inverse"):
        Topology("three", ("a", "b", "c"), (), (1, 2, 0), np.ones(3))


def test_lists_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected 2 mirror entries and sigmas, got 2 and \(3,\)"):
        Topology("two", ("a", "b"), (), (0, 1), np.ones(3))
    with pytest.raises(ValueError, match="limbs name joints beyond 1"):
        Topology("two", ("a", "b"), ((0, 2),), (0, 1), np.ones(2))


def test_an_unknown_joint_is_named_with_the_known_ones() -> None:
    assert COCO17.index("left_knee") == 13
    with pytest.raises(ValueError, match="no joint 'neck'.*left_knee"):
        COCO17.index("neck")
