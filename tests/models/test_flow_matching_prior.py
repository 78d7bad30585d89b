"""The continuous flow: seen joints stand still, likelihoods are those of the ODE, noise comes back as people."""

import math

import pytest
import torch

from models.flow_matching_prior import ContinuousConfig, ContinuousPrior
from models.prior import JOINTS


def people(count: int = 4) -> torch.Tensor:
    return 0.4 * torch.randn(count, JOINTS, 3, generator=torch.Generator().manual_seed(3)).double()


def seen(count: int = 4) -> torch.Tensor:
    visible = torch.ones(count, JOINTS, dtype=torch.bool)
    visible[:, [7, 9]] = False
    return visible


@pytest.fixture
def prior() -> ContinuousPrior:
    torch.manual_seed(0)
    made = ContinuousPrior(ContinuousConfig(hidden=16, layers=1)).double()
    made.look(people(200))
    return made


def test_the_field_moves_missing_joints_alone(prior):
    data, *_ = prior.framed(people(), seen())
    velocity = prior.velocity(data, torch.full((4,), 0.3).double(), data, seen())
    assert not velocity[:, [j for j in range(JOINTS) if j not in (7, 9)]].any()
    assert velocity[:, [7, 9]].abs().min() > 0


def test_a_field_that_stands_still_has_the_likelihood_of_noise_in_the_persons_frame(prior):
    for parameter in prior.field[-1].parameters():
        parameter.data.zero_()
    xyz_m, visible = people(), seen()
    data, _, _, scale = prior.framed(xyz_m, visible)
    found = prior.log_likelihood(xyz_m, visible)
    missing = [7, 9]
    noise = -0.5 * data[:, missing].square().sum((1, 2)) - 3 * math.log(2 * math.pi)
    wanted = noise - prior.spread[missing].log().sum() - 6 * scale.log()
    assert torch.allclose(found.nats, wanted, atol=1e-6)
    drawn_m = prior.samples(xyz_m, visible)
    assert torch.equal(drawn_m[visible], xyz_m[visible])
    assert (drawn_m - xyz_m)[:, missing].norm(dim=-1).min() > 0.01


def test_learning_one_person_by_heart_draws_that_person(prior):
    xyz_m, visible = people(1), seen(1)
    optimiser = torch.optim.Adam(prior.parameters(), 1e-2)
    draw = torch.Generator().manual_seed(0)
    for _ in range(300):
        many = xyz_m.expand(64, -1, -1)
        noise, t = torch.randn(64, JOINTS, 3, generator=draw).double(), torch.rand(64, generator=draw).double()
        optimiser.zero_grad()
        prior.matching_error(many, visible.expand(64, -1), noise, t).backward()
        optimiser.step()
    drawn_m = prior.samples(xyz_m, visible)
    far_m = (prior.spread * 1.0)[[7, 9]].norm(dim=-1)
    assert ((drawn_m - xyz_m)[0, [7, 9]].norm(dim=-1) < 0.3 * far_m).all()
