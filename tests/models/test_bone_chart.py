"""The chart of a bone: exact both ways, its volume that of its Jacobian."""

import torch

from models.bone_chart import BoneChart


def charts() -> tuple[BoneChart, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    middle, bone = torch.randn(2, 40, 3, generator=draw).double()
    rare = torch.nn.functional.normalize(torch.randn(40, 3, generator=draw).double(), dim=-1)
    return BoneChart.about(middle, rare), bone


def test_bones_come_back_from_their_three_numbers():
    chart, bone = charts()
    flat, _ = chart.flat(bone)
    assert torch.allclose(chart.bone(flat), bone, atol=1e-9)
    assert torch.allclose(flat[:, 0].exp(), bone.norm(dim=-1))


def test_the_middle_of_the_chart_is_the_expected_direction():
    wanted = torch.nn.functional.normalize(torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(2)).double(), dim=-1)
    chart = BoneChart.about(5.0 * wanted[0], wanted[1])
    middle = chart.bone(torch.zeros(40, 3).double())
    assert torch.allclose(middle, wanted[0])
    assert chart.flat(3.0 * middle)[0][:, 1:].abs().max() < 1e-9


def test_the_change_of_volume_is_that_of_the_jacobian():
    chart, bone = charts()
    _, gained = chart.flat(bone)
    for n in range(5):
        one = BoneChart(chart.away[n], chart.rows[n])
        jacobian = torch.autograd.functional.jacobian(lambda b, one=one: one.flat(b)[0], bone[n])
        assert torch.allclose(torch.linalg.slogdet(jacobian)[1], gained[n], atol=1e-9)
