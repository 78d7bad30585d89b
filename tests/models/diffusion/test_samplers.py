"""Every sampler ends in the distribution whose exact score it is given."""

import pytest
import torch
from torch import Tensor

from models.diffusion.processes import (
    Path,
    Process,
    RectifiedFlow,
    SubVariancePreserving,
    VarianceExploding,
    VariancePreserving,
)
from models.diffusion.samplers import Corrector, euler_maruyama, probability_flow
from tests.models.diffusion.mixture import noise_band, ring, sliced_w1

COUNT = 2000
MIXTURE = ring()
BAND = noise_band(MIXTURE, COUNT)
SDES = {"VP": VariancePreserving(), "sub-VP": SubVariancePreserving(), "VE": VarianceExploding()}


def start(process: Process) -> Tensor:
    return process.prior((COUNT, 2), torch.Generator().manual_seed(5)).double()


def distance(samples: Tensor) -> float:
    return sliced_w1(samples, MIXTURE.sample(COUNT, 77))


def test_the_band_tells_another_distribution() -> None:
    wider = MIXTURE.sample(COUNT, 3) * 1.15
    assert distance(wider) > 1.2 * BAND
    assert distance(MIXTURE.sample(COUNT, 3)) < BAND


@pytest.mark.parametrize("name", SDES)
def test_a_reverse_sde_ends_in_the_data(name: str) -> None:
    process = MIXTURE.along(SDES[name])
    made = euler_maruyama(process, start(process), 1000, torch.Generator().manual_seed(6))
    assert distance(made) < 1.3 * BAND  # the band holds 97.5 % of pairs; 1.3 of it, practically all


@pytest.mark.parametrize("path", [*SDES.values(), RectifiedFlow()], ids=lambda p: type(p).__name__)
def test_the_probability_flow_ends_in_the_data(path: Path) -> None:
    process = MIXTURE.along(path)
    made, asked = probability_flow(process, start(process))
    assert distance(made) < 1.3 * BAND
    assert asked < 1000


def test_a_corrector_mends_what_too_few_steps_leave() -> None:
    process = MIXTURE.along(VariancePreserving())
    few, mended = (
        euler_maruyama(process, start(process), 60, torch.Generator().manual_seed(6), corrector)
        for corrector in (None, Corrector(steps=2, signal_to_noise=0.1))
    )
    assert distance(mended) < 0.8 * distance(few)


def test_the_flow_there_and_back_returns_the_data() -> None:
    process, data = MIXTURE.along(VariancePreserving()), MIXTURE.sample(50, 8)
    latent, _ = probability_flow(process, data, 1e-7, 1e-7, forward=True)
    back, _ = probability_flow(process, latent, 1e-7, 1e-7)
    torch.testing.assert_close(back, data, rtol=0, atol=1e-3)


def test_the_same_seed_gives_the_same_samples() -> None:
    process = MIXTURE.along(VariancePreserving())
    first, second = (euler_maruyama(process, start(process), 20, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, second)


def test_an_ode_that_cannot_be_solved_is_said() -> None:
    process = Process(RectifiedFlow(), lambda x, t: x * float("inf"), "flow")
    with pytest.raises(ValueError, match="the rate of change at t = 1 is not finite"):
        probability_flow(process, torch.ones(2, 2).double())


def test_a_path_that_ends_without_data_is_sent_to_the_flow() -> None:
    process = MIXTURE.along(RectifiedFlow())
    with pytest.raises(ValueError, match="RectifiedFlow has alpha = 0 at t_max.*use probability_flow"):
        euler_maruyama(process, start(process), 10)
