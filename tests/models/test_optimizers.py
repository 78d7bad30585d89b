from dataclasses import replace

import pytest
import torch
from torch import nn

from models.optimizers import ADAMW_RMS, Muon, make_optimizer, orthogonal
from models.train_config import TrainConfig


@pytest.mark.parametrize("shape", [(3, 16, 40), (2, 40, 16), (1, 8, 8)])
def test_orthogonal_keeps_the_singular_vectors_and_levels_the_values(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found, (u, _, vh) = orthogonal(matrices), torch.linalg.svd(matrices, full_matrices=False)
    within = u.mT @ found @ vh.mT  # diagonal, when the singular vectors are the same
    values = within.diagonal(dim1=1, dim2=2)
    assert ((values > 0.6) & (values < 1.3)).all()
    torch.testing.assert_close(within, torch.diag_embed(values), atol=1e-4, rtol=0)


def test_a_gradient_of_nothing_moves_nothing() -> None:
    assert orthogonal(torch.zeros(2, 4, 6)).abs().max() == 0


def test_what_is_no_matrix_moves_as_in_adamw() -> None:
    mine, theirs = (torch.linspace(-1, 1, 5).requires_grad_() for _ in range(2))
    muon = Muon([mine], 1e-2, betas=(0.9, 0.95))
    adamw = torch.optim.AdamW([theirs], 1e-2, betas=(0.9, 0.95), weight_decay=0.01)
    for k in range(20):
        for parameter, optimizer in ((mine, muon), (theirs, adamw)):
            parameter.grad = torch.sin(parameter.detach() * 3 + k)
            optimizer.step()
    torch.testing.assert_close(mine, theirs)


def test_the_first_step_of_a_convolution_has_the_size_of_adamws() -> None:
    weight = torch.zeros(32, 16, 3, 3, requires_grad=True)
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    Muon([weight], 1e-2).step()
    rms = weight.detach().square().mean().sqrt()
    assert 0.6 * ADAMW_RMS < rms / 1e-2 < 1.3 * ADAMW_RMS


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_both_fit_a_convolution(name: str) -> None:
    torch.manual_seed(0)
    net, wanted = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
    images = torch.randn(8, 3, 12, 12)
    optimizer = make_optimizer(net.parameters(), replace(TrainConfig(), optimizer=name, learning_rate=1e-2, weight_decay=0.0))
    losses = []
    for _ in range(300):
        loss = (net(images) - wanted(images)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.01 * losses[0]
