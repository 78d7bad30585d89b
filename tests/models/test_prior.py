"""The pose prior: a density in space, exact, the same for people anywhere, told by visible joints alone."""

import math

import numpy as np
import pytest
import torch

from models.canonical_pose import turned
from models.prior import JOINTS, ORDER, PosePrior, PriorConfig, all_others, in_order

WHOLE = torch.ones(1, JOINTS, dtype=torch.bool)


def people(count: int = 6, seed: int = 3) -> torch.Tensor:
    return 0.4 * torch.randn(count, JOINTS, 3, generator=torch.Generator().manual_seed(seed)).double()


@pytest.fixture(scope="module")
def prior() -> PosePrior:
    torch.manual_seed(0)
    made = PosePrior(PriorConfig(hidden=16, layer=8)).double()
    made.look(people(500))
    for parameter in made.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return made.requires_grad_(False)


def test_a_joint_goes_from_its_latent_back_to_its_place(prior):
    xyz_m, others = people(), all_others(WHOLE)
    _, latent = prior.steps(xyz_m, others)
    for joint in range(JOINTS):
        placed_m = prior.place(xyz_m, others[joint].expand(6, -1), joint, latent[joint])
        assert torch.allclose(placed_m, xyz_m[:, joint], atol=1e-9)


@pytest.mark.parametrize("joint", [0, 9, 12])
def test_the_log_likelihood_of_a_joint_is_exact_by_its_jacobian(prior, joint):
    xyz_m, others = people(), all_others(WHOLE)
    nats, latent = prior.steps(xyz_m, others)
    for n in range(3):

        def moved(at_m: torch.Tensor, n: int = n) -> torch.Tensor:
            some = xyz_m[n : n + 1].clone()
            some[0, joint] = at_m
            return prior.steps(some, others)[1][joint, 0]

        jacobian = torch.autograd.functional.jacobian(moved, xyz_m[n, joint])
        wanted = torch.linalg.slogdet(jacobian)[1] - 0.5 * latent[joint, n].square().sum() - 1.5 * math.log(2 * math.pi)
        assert float(nats[joint, n]) == pytest.approx(float(wanted), abs=1e-9)


def test_a_whole_skeletons_likelihood_is_exact_by_the_jacobian_of_its_45_numbers(prior):
    """The steps in order are one triangular map of all joints but the first two."""
    xyz_m = people(1)
    visible = in_order(WHOLE, ~WHOLE)
    scored = ORDER[2:]

    def latents(numbers: torch.Tensor) -> torch.Tensor:
        some = xyz_m.clone()
        some[0, scored] = numbers.reshape(-1, 3)
        return prior.steps(some, visible)[1][scored, 0].flatten()

    jacobian = torch.autograd.functional.jacobian(latents, xyz_m[0, scored].flatten())
    nats, latent = prior.steps(xyz_m, visible)
    square = latent[scored].square().sum()
    wanted = torch.linalg.slogdet(jacobian)[1] - 0.5 * square - 22.5 * math.log(2 * math.pi)
    assert float(nats[scored].sum()) == pytest.approx(float(wanted), abs=1e-8)


def test_a_step_is_a_density_that_integrates_to_one(prior):
    """Importance sampling around the flow's own samples, twice as wide."""
    xyz_m, joint, count = people(1).expand(20_000, -1, -1).clone(), 9, 20_000
    draw = torch.Generator().manual_seed(0)
    others = all_others(WHOLE)[joint].expand(count, -1)
    drawn_m = prior.place(xyz_m, others, joint, torch.randn(count, 3, generator=draw).double())
    centre, root = drawn_m.mean(0), torch.linalg.cholesky(2.0 * torch.cov(drawn_m.T))
    noise = torch.distributions.StudentT(4.0, torch.zeros(3).double(), torch.ones(3).double())
    torch.manual_seed(1)
    z = noise.sample((count,))
    xyz_m[:, joint] = centre + z @ root.T
    proposed = noise.log_prob(z).sum(-1) - root.diagonal().log().sum()
    nats, _ = prior.steps(xyz_m, others[None, :1], slice(joint, joint + 1))
    assert float((nats[0] - proposed).exp().mean()) == pytest.approx(1.0, abs=0.08)


def test_people_elsewhere_turned_and_grown_are_as_likely_but_for_their_volume(prior):
    xyz_m = people()
    heading = torch.tensor([math.cos(0.7), math.sin(0.7)]).double().expand(6, 1, 2)
    elsewhere = 1.3 * turned(xyz_m, heading) + torch.tensor([5.0, 2.0, 1.0]).double()
    here, there = (prior.steps(x, all_others(WHOLE))[0] for x in (xyz_m, elsewhere))
    assert torch.allclose(here, there + 3 * math.log(1.3), atol=1e-8)


def test_what_is_not_visible_changes_nothing(prior):
    xyz_m, visible = people(), all_others(WHOLE).expand(JOINTS, 6, JOINTS).clone()
    visible[..., [4, 7]] = False
    moved = xyz_m.clone()
    moved[:, [4, 7]] += 3.0
    kept = [j for j in range(JOINTS) if j not in (4, 7)]
    before, after = (prior.steps(x, visible)[0][kept] for x in (xyz_m, moved))
    assert torch.equal(before, after)


def test_joints_are_put_in_place_one_after_the_other():
    visible = in_order(WHOLE, ~WHOLE)
    assert [int(visible[j, 0].sum()) for j in ORDER] == list(range(JOINTS))
    given = WHOLE.clone()
    given[0, 16] = False
    assert int(in_order(WHOLE, given)[16].sum()) == JOINTS - 1
    assert not visible.diagonal(dim1=0, dim2=2).any()


def test_parameters_look_the_same_to_numpy_readers(prior):
    assert all(np.isfinite(p.numpy()).all() for p in prior.state_dict().values())
