"""Coupling layers: exact likelihood, exact inverse, a closed form where there is one."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from models.coupling_flow import CouplingFlow

MOVED = torch.tensor([[0, 1, 1], [1, 0, 0], [0, 1, 0]])


def shaken(flows: int = 4) -> CouplingFlow:
    torch.manual_seed(0)
    flow = CouplingFlow(flows, MOVED, 5, 8).double()
    for parameter in flow.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return flow.requires_grad_(False)


def test_a_new_flow_is_the_identity():
    flow, y = CouplingFlow(2, MOVED, 5, 8), torch.randn(2, 7, 3)
    z, gained = flow(y, torch.randn(2, 7, 5))
    assert torch.equal(z, y)
    assert not gained.any()


def test_latents_go_back_to_the_data():
    flow, y, context = shaken(), torch.randn(4, 7, 3).double(), torch.randn(4, 7, 5).double()
    z, _ = flow(y, context)
    assert (z - y).abs().max() > 0.1
    assert torch.allclose(flow.inverse(z, context), y, atol=1e-10)


def test_what_a_flow_gains_is_the_logarithm_of_its_jacobian():
    flow, y, context = shaken(1), torch.randn(1, 3, 3).double(), torch.randn(1, 3, 5).double()
    _, gained = flow(y, context)
    for n in range(3):
        jacobian = torch.autograd.functional.jacobian(
            lambda one, n=n: flow(one[None, None], context[:, n : n + 1])[0][0, 0], y[0, n]
        )
        assert float(torch.linalg.slogdet(jacobian)[1]) == pytest.approx(float(gained[0, n].detach()), abs=1e-10)


def test_some_of_the_flows_alone_say_the_same():
    flow, y, context = shaken(), torch.randn(4, 7, 3).double(), torch.randn(4, 7, 5).double()
    some = slice(2, 3)
    z, gained = flow(y[some], context[some], some)
    whole = flow(y, context)
    assert torch.allclose(z, whole[0][some])
    assert torch.allclose(gained, whole[1][some])


def test_two_linear_layers_are_the_normal_density_that_they_ought_to_be():
    """x = a z1, y = b z1 + c z2: relu(u) - relu(-u) = u makes the conditioner linear."""
    flow = CouplingFlow(1, torch.tensor([[0, 1], [1, 0]]), 1, 2).double()
    a, b, c = 1.7, -0.6, 0.4
    with torch.no_grad():
        flow.kept[0, 0, 0] = torch.tensor([1.0, -1.0], dtype=torch.float64)
        flow.out[0, 0, :, 3] = torch.tensor([-b / a / c, b / a / c], dtype=torch.float64)
        flow.out_bias[0, 0, 0, 1] = 2 * math.atanh(-math.log(c) / 2)
        flow.out_bias[0, 1, 0, 0] = 2 * math.atanh(-math.log(a) / 2)
    y = torch.randn(1, 50, 2).double()
    z, gained = flow(y, torch.zeros(1, 50, 1).double())
    nats = gained - 0.5 * z.square().sum(-1) - math.log(2 * math.pi)
    wanted = multivariate_normal(cov=np.array([[a * a, a * b], [a * b, b * b + c * c]])).logpdf(y[0].numpy())
    assert np.abs(nats[0].detach().numpy() - wanted).max() < 1e-9
