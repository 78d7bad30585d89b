"""Paths keep their own calculus, and what a network predicts means the same in every word for it."""

import itertools

import pytest
import torch

from models.diffusion.processes import (
    KINDS,
    Path,
    Process,
    RectifiedFlow,
    SubVariancePreserving,
    VarianceExploding,
    VariancePreserving,
    coefficients,
    convert,
)

PATHS = (VariancePreserving(), SubVariancePreserving(), VarianceExploding(), RectifiedFlow())
TIMES = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)


@pytest.mark.parametrize("path", PATHS, ids=lambda p: type(p).__name__)
def test_rates_are_the_derivatives_of_alpha_and_sigma(path: Path) -> None:
    times = TIMES.clone().requires_grad_()
    for value, rate in zip((path.alpha(times), path.sigma(times)), path.rates(TIMES), strict=True):
        [slope] = torch.autograd.grad((value + 0 * times).sum(), times, retain_graph=True)
        torch.testing.assert_close(rate, slope, rtol=1e-9, atol=1e-9)


def test_known_processes_have_their_known_coefficients() -> None:
    vp, sub, ve = VariancePreserving(), SubVariancePreserving(), VarianceExploding()
    beta, alpha = vp.beta(TIMES), vp.alpha(TIMES)
    for path, square in ((vp, beta), (sub, beta * (1 - alpha**4))):  # Song et al. 2021, equations 11 and 12
        linear, diffusion = coefficients(path, TIMES)
        torch.testing.assert_close(linear, -0.5 * beta)
        torch.testing.assert_close(diffusion**2, square)
    linear, diffusion = coefficients(ve, TIMES)  # equation 9: d sigma^2 / dt, sigma^2 = sigma_min^2 (ratio^2t - 1)
    assert (linear == 0).all()
    grown = 0.01**2 * (50 / 0.01) ** (2 * TIMES)
    torch.testing.assert_close(diffusion**2, 2 * torch.tensor(5000.0).double().log() * grown)


@pytest.mark.parametrize("path", PATHS, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize(("known", "wanted"), itertools.permutations(KINDS, 2))
def test_every_word_for_a_prediction_means_the_same(path: Path, known: str, wanted: str) -> None:
    draw = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, 25, 3, 2, generator=draw, dtype=torch.float64)
    alpha, sigma = (values.reshape(-1, 1, 1) for values in (path.alpha(TIMES), path.sigma(TIMES)))
    x = alpha * x0 + sigma * noise
    said = {"noise": noise, "x0": x0, "score": -noise / sigma, "v": alpha * noise - sigma * x0, "flow": noise - x0}
    torch.testing.assert_close(convert(said[known], x, alpha, sigma, known, wanted), said[wanted], rtol=1e-6, atol=1e-7)


def test_velocities_are_had_where_there_are_no_data_left() -> None:
    # zero terminal SNR (Lin et al. 2024): alpha 0, sigma 1
    v, x = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(1))
    zero, one = torch.zeros(4, 1), torch.ones(4, 1)
    torch.testing.assert_close(convert(v, x, zero, one, "v", "noise"), x)
    torch.testing.assert_close(convert(v, x, zero, one, "v", "x0"), -v)


def test_the_velocity_of_the_straight_path_is_the_flow() -> None:
    flow = torch.randn(5, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    process = Process(RectifiedFlow(), lambda x, t: flow, "flow")
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for t in (0.0, 0.4, 1.0):
        torch.testing.assert_close(process.velocity(x, torch.full((5,), t, dtype=torch.float64)), flow)


def test_an_unknown_word_is_named() -> None:
    x = torch.zeros(1, 2)
    with pytest.raises(ValueError, match="expected one of noise, x0, score, v, flow, got 'epsilon'"):
        convert(x, x, x, x, "epsilon", "x0")
