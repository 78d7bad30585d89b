"""Canonical skeletons: nothing of where, whereto and how large is left, and nothing is lost."""

import math

import pytest
import torch

from models.canonical_pose import HIPS, LIMBS, PAIRS, canonical, headings, scales, turned
from models.skeleton import COCO17

ONES = torch.ones(len(LIMBS)).double()


def people(count: int = 6) -> torch.Tensor:
    draw = torch.Generator().manual_seed(3)
    return torch.randn(count, len(COCO17), 3, generator=draw).double()


def test_canonical_skeletons_go_back_to_where_they_were():
    xyz_m = people()
    found = canonical(xyz_m, ONES)
    assert torch.allclose(found.world(found.joints), xyz_m, atol=1e-12)


@pytest.mark.parametrize("angle", [0.3, 2.0, -3.0])
def test_a_person_moved_turned_and_grown_has_the_same_canonical_skeleton(angle: float):
    xyz_m = people()
    heading = torch.tensor([math.cos(angle), math.sin(angle)]).double()
    elsewhere = 1.7 * turned(xyz_m, heading.expand(len(xyz_m), 1, 2)) + torch.tensor([4.0, -2.0, 1.0])
    assert torch.allclose(canonical(xyz_m, ONES).joints, canonical(elsewhere, ONES).joints, atol=1e-12)


def test_the_root_is_between_the_hips_the_left_at_positive_x_and_the_median_limb_of_mean_length():
    found = canonical(people(), ONES)
    assert found.joints[:, HIPS].mean(1).abs().max() < 1e-12
    across = found.joints[:, PAIRS[:2, 0]].sum(1) - found.joints[:, PAIRS[:2, 1]].sum(1)
    assert (across[:, 0] > 0).all()
    assert across[:, 1].abs().max() < 0.05  # the trunk decides; limbs add a thousandth
    known = torch.ones(6, len(COCO17), dtype=torch.bool)
    assert torch.allclose(scales(found.joints, known, ONES), torch.ones(6).double())


def test_volumes_grow_by_the_scale_cubed_for_each_joint():
    found = canonical(people(1), ONES)
    jacobian = torch.autograd.functional.jacobian(lambda joints: found.world(joints), found.joints)
    gained = torch.linalg.slogdet(jacobian.reshape(51, 51))[1]
    assert float(gained) == pytest.approx(51 * math.log(float(found.scale[0])), abs=1e-9)


def test_what_may_not_be_looked_at_changes_neither_heading_nor_scale():
    xyz_m, visible = people(), torch.ones(6, len(COCO17), dtype=torch.bool)
    visible[:, [9, 11]] = False
    moved = xyz_m.clone()
    moved[:, [9, 11]] += 5.0
    assert torch.equal(headings(xyz_m, visible), headings(moved, visible))
    assert torch.equal(scales(xyz_m, visible, ONES), scales(moved, visible, ONES))


def test_nothing_to_see_gives_a_heading_along_x_and_a_scale_of_one():
    nothing = torch.zeros(6, len(COCO17), dtype=torch.bool)
    assert torch.equal(headings(people(), nothing), torch.tensor([[1.0, 0.0]]).double().expand(6, 2))
    assert torch.equal(scales(people(), nothing, ONES), torch.ones(6).double())


def test_medians_by_counting_are_those_of_every_skeleton_by_itself():
    xyz_m, choices = people(40), torch.rand(30, 1, len(COCO17), generator=torch.Generator().manual_seed(1)) < 0.6
    apart = choices.expand(-1, 40, -1)
    assert torch.equal(scales(xyz_m, choices, ONES), scales(xyz_m, apart, ONES))
    assert torch.allclose(headings(xyz_m, choices), headings(xyz_m, apart), atol=1e-12)
