"""log p(x) along the flow is that of the distribution, and its standard error is honest."""

import math

import pytest
import torch

from models.diffusion.likelihood import log_likelihood
from models.diffusion.processes import (
    Path,
    Process,
    RectifiedFlow,
    SubVariancePreserving,
    VarianceExploding,
    VariancePreserving,
)
from tests.models.diffusion.mixture import Mixture, ring

# exploding noise forgets the data only as far as it is larger than they are
PATHS = (VariancePreserving(), SubVariancePreserving(), VarianceExploding(sigma_max=300.0), RectifiedFlow())


@pytest.mark.parametrize("path", PATHS, ids=lambda p: type(p).__name__)
def test_the_exact_divergence_gives_log_p_of_each_point(path: Path) -> None:
    mixture = ring(dims=3)
    x = mixture.sample(64, 1)
    found = log_likelihood(mixture.along(path), x)
    torch.testing.assert_close(found.nats, mixture.nats(x), rtol=0, atol=0.02)
    assert (found.standard_error == 0).all()
    assert found.bits_per_dimension.mean() == pytest.approx(-found.nats.mean() / (3 * math.log(2)))


def test_random_probes_give_it_within_their_standard_error() -> None:
    mixture = ring(dims=8, seed=3)
    x = mixture.sample(100, 2)
    found = log_likelihood(mixture.along(VariancePreserving()), x, probes=8, seed=4)
    error, spread = found.nats - mixture.nats(x), found.standard_error
    assert abs(error.mean()) < 2.5 * spread.square().sum().sqrt() / len(x) + 0.01
    assert 0.4 < error.std() / spread.square().mean().sqrt() < 2.0  # as large as it says
    more = log_likelihood(mixture.along(VariancePreserving()), x[:30], probes=32, seed=4)
    assert more.standard_error.mean() < 0.7 * spread[:30].mean()  # half, for 4 times the probes


def test_a_gaussian_has_the_same_standing_along_every_path() -> None:
    gaussian = Mixture(torch.ones(1).double(), torch.zeros(1, 2).double(), torch.full((1,), 0.5).double())
    x = gaussian.sample(20, 0)
    found = [log_likelihood(gaussian.along(path), x).nats for path in PATHS]
    for nats in found:
        torch.testing.assert_close(nats, gaussian.nats(x), rtol=0, atol=5e-3)


def test_images_keep_their_shape() -> None:
    process = Process(RectifiedFlow(), lambda x, t: x * 0.1, "flow")
    found = log_likelihood(process, torch.randn(3, 2, 4, 4).double(), probes=2)
    assert found.latent.shape == (3, 2, 4, 4)
    assert found.nats.shape == (3,)
    # dx/dt = x / 10 for a unit of time: log p(x) = log N(x e^0.1) + D / 10
    torch.testing.assert_close(found.standard_error, torch.zeros(3).double(), rtol=0, atol=1e-6)


def test_what_cannot_be_measured_is_refused() -> None:
    process = ring().along(VariancePreserving())
    with pytest.raises(ValueError, match="expected finite data, got 1 values"):
        log_likelihood(process, torch.tensor([[0.0, float("nan")]]).double())
    with pytest.raises(ValueError, match="at least 2 probes"):
        log_likelihood(process, torch.zeros(1, 2).double(), probes=1)
