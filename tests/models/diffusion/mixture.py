"""A Gaussian mixture whose score is known along every path: the truth that samplers and likelihoods are held against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.diffusion.processes import Path, Process


@dataclass(frozen=True, eq=False)
class Mixture:
    """weights (K,), means (K, D), spreads (K,) of round Gaussians, float64."""

    weights: Tensor
    means: Tensor
    spreads: Tensor

    def sample(self, count: int, seed: int) -> Tensor:
        """(N, D) draws."""
        draw = torch.Generator().manual_seed(seed)
        pick = torch.multinomial(self.weights, count, replacement=True, generator=draw)
        noise = torch.randn((count, self.means.shape[1]), generator=draw, dtype=torch.float64)
        return self.means[pick] + self.spreads[pick, None] * noise

    def nats(self, x: Tensor) -> Tensor:
        """log p(x) (N,)."""
        return self._log_parts(x, torch.ones(1), torch.zeros(1)).logsumexp(1)

    def flow(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """The expected noise - x0 (N, D) in x = alpha x0 + sigma noise, for any alpha and sigma (N,), 0 too."""
        share = self._log_parts(x, alpha, sigma).softmax(1)[..., None]
        variance = ((alpha[:, None] * self.spreads) ** 2 + sigma[:, None] ** 2)[..., None]
        away = x[:, None] - alpha[:, None, None] * self.means
        x0 = self.means + alpha[:, None, None] * self.spreads[:, None] ** 2 * away / variance
        return (share * (sigma[:, None, None] * away / variance - x0)).sum(1)

    def along(self, path: Path) -> Process:
        """The mixture as a process whose prediction is exact."""
        return Process(path, lambda x, t: self.flow(x.double(), path.alpha(t), path.sigma(t)), "flow")

    def _log_parts(self, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        variance = (alpha[:, None] * self.spreads) ** 2 + sigma[:, None] ** 2
        square = (x[:, None] - alpha[:, None, None] * self.means).square().sum(-1)
        dims = x.shape[1]
        return self.weights.log() - 0.5 * square / variance - 0.5 * dims * torch.log(2 * torch.pi * variance)


def ring(dims: int = 2, parts: int = 5, seed: int = 0) -> Mixture:
    """Parts of unequal weight and width, of about unit spread in all."""
    draw = torch.Generator().manual_seed(seed)
    means = torch.randn((parts, dims), generator=draw, dtype=torch.float64)
    spreads = 0.1 + 0.2 * torch.rand(parts, generator=draw, dtype=torch.float64)
    weights = 0.5 + torch.rand(parts, generator=draw, dtype=torch.float64)
    return Mixture(weights / weights.sum(), means, spreads)


def sliced_w1(a: Tensor, b: Tensor, directions: int = 64) -> float:
    """Wasserstein-1 distance of two samples (N, D) of one size, mean over fixed random directions (Bonneel et al. 2015)."""
    rng = np.random.default_rng(0)
    unit = rng.normal(size=(a.shape[1], directions))
    unit /= np.linalg.norm(unit, axis=0)
    ordered: list[NDArray[np.float64]] = [np.sort(x.double().numpy() @ unit, axis=0) for x in (a, b)]
    return float(np.abs(ordered[0] - ordered[1]).mean())


def noise_band(mixture: Mixture, count: int, pairs: int = 40) -> float:
    """The distance that two true samples of that size stay below in 97.5 % of cases."""
    found = [sliced_w1(mixture.sample(count, 2 * k), mixture.sample(count, 2 * k + 1)) for k in range(1000, 1000 + pairs)]
    return float(np.quantile(found, 0.975))
