import pytest
import torch
from diffusers.training_utils import compute_snr

from models.diffusion.objectives import KINDS, Objective, denoising_error, make_noise_schedule
from models.diffusion.processes import convert, like

LATENTS = torch.randn((64, 2, 3, 3), generator=torch.Generator().manual_seed(1))


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", ["v", "epsilon", "flow"])
def test_the_target_said_as_x0_is_the_data(name: str) -> None:
    objective = Objective.of(make_noise_schedule(name))
    noised = objective.noised(LATENTS, draw())
    if name == "flow":
        alpha, sigma = 1 - noised.times / 1000, noised.times / 1000
    else:
        share = objective.alphas_cumprod[noised.times]
        alpha, sigma = share.sqrt(), (1 - share).sqrt()
    x0 = convert(noised.target, noised.x, like(alpha, LATENTS), like(sigma, LATENTS), KINDS[name], "x0")
    torch.testing.assert_close(x0, LATENTS, atol=2e-4, rtol=0)
    assert float(denoising_error(noised.target, noised)) == 0


def test_errors_count_by_where_they_are() -> None:
    noised = Objective.of(make_noise_schedule("v")).noised(LATENTS, draw())
    where = torch.ones(len(LATENTS), 1, *LATENTS.shape[2:])
    where[:, :, :2] = 5
    off = noised.target.clone()
    off[:, :, 0] += 1
    plain, weighed = float(denoising_error(off, noised)), float(denoising_error(off, noised, where))
    assert plain > 0 and weighed == pytest.approx(5 * plain)
    off = noised.target.clone()
    off[:, :, -1] += 1
    assert float(denoising_error(off, noised, where)) == pytest.approx(plain)


@pytest.mark.parametrize("name", ["v", "epsilon"])
def test_noise_and_targets_are_those_of_diffusers(name: str) -> None:
    scheduler = make_noise_schedule(name)
    noised = Objective.of(scheduler).noised(LATENTS, draw())
    noise = torch.randn(LATENTS.shape, generator=draw())
    torch.testing.assert_close(noised.x, scheduler.add_noise(LATENTS, noise, noised.times))
    expected = scheduler.get_velocity(LATENTS, noise, noised.times) if name == "v" else noise
    torch.testing.assert_close(noised.target, expected)


@pytest.mark.parametrize("name", ["v", "epsilon"])
def test_min_snr_weights_are_those_of_diffusers(name: str) -> None:
    """Its training scripts: min(SNR, gamma) / SNR, for v over SNR + 1."""
    scheduler = make_noise_schedule(name)
    noised = Objective.of(scheduler, min_snr=5.0).noised(LATENTS, draw())
    snr = compute_snr(scheduler, noised.times)
    torch.testing.assert_close(noised.weight, snr.clamp(max=5.0) / (snr + 1 if name == "v" else snr), rtol=1e-4, atol=1e-6)


def test_min_snr_weighs_a_flow_by_the_error_of_x0() -> None:
    """An error e of the flow is an error sigma e of x0."""
    objective = Objective("flow", min_snr=5.0)
    sigma = torch.tensor([0.1, 0.5, 0.9])
    torch.testing.assert_close(objective.weights(1 - sigma, sigma), torch.tensor([5.0, 1.0, 1 / 81]) * sigma**2)


def test_without_min_snr_all_weigh_the_same() -> None:
    assert Objective.of(make_noise_schedule("v")).noised(LATENTS, draw()).weight.unique().tolist() == [1.0]


def test_a_flow_is_never_without_data_or_noise() -> None:
    times = Objective("flow").noised(LATENTS, draw()).times
    assert times.min() > 0 and times.max() < 1000 and times.median() == pytest.approx(500, abs=150)


def test_a_scheduler_that_predicts_something_else_is_refused() -> None:
    from diffusers import DDIMScheduler

    with pytest.raises(ValueError, match="v_prediction, epsilon, flow_prediction, got 'sample'"):
        Objective.of(DDIMScheduler(prediction_type="sample"))
