"""How noise comes in: Gaussian paths x_t = alpha(t) x0 + sigma(t) noise, the equations that run along them, and the one place
that turns noise, x0, score and velocities into each other.

Every path is an SDE dx = f(t) x dt + g(t) dw with f = alpha' / alpha and g^2 = 2 sigma (sigma' - f sigma), and an ODE with the
same marginals, dx = (alpha' x0 + sigma' noise) dt with the expected x0 and noise (Song et al. 2021, equations 6 and 13; Lipman
et al. 2023; Karras et al. 2022). Time t is in 0..1, data at 0; states are tensors (N, ...), times tensors (N,).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

KINDS = ("noise", "x0", "score", "v", "flow")


class Path(Protocol):
    """A Gaussian path. t_min, t_max: between which its equations can be solved."""

    @property
    def t_min(self) -> float:
        """Where data are."""
        ...

    @property
    def t_max(self) -> float:
        """Where noise is."""
        ...

    def alpha(self, t: Tensor) -> Tensor:
        """Share of the data."""
        ...

    def sigma(self, t: Tensor) -> Tensor:
        """Spread of the noise."""
        ...

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha'(t) and sigma'(t)."""
        ...


@dataclass(frozen=True)
class VariancePreserving:
    """VP of Song et al. 2021: beta rises linearly, alpha^2 + sigma^2 = 1 (DDPM in continuous time)."""

    beta_min: float = 0.1
    beta_max: float = 20.0
    t_min: float = 1e-4
    t_max: float = 1.0

    def beta(self, t: Tensor) -> Tensor:
        """Rate at which data fade."""
        return self.beta_min + (self.beta_max - self.beta_min) * t

    def alpha(self, t: Tensor) -> Tensor:
        """exp(-1/2 integral of beta)."""
        return torch.exp(-0.25 * t**2 * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min)

    def sigma(self, t: Tensor) -> Tensor:
        """sqrt(1 - alpha^2), without cancellation near 0."""
        return torch.sqrt(-torch.expm1(2 * torch.log(self.alpha(t))))

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha' = -beta alpha / 2, sigma' = beta alpha^2 / (2 sigma)."""
        alpha, beta = self.alpha(t), self.beta(t)
        return -0.5 * beta * alpha, 0.5 * beta * alpha**2 / self.sigma(t)


@dataclass(frozen=True)
class SubVariancePreserving(VariancePreserving):
    """sub-VP of Song et al. 2021, equation 12: the same data, sigma = 1 - alpha^2, less noise on the way."""

    def sigma(self, t: Tensor) -> Tensor:
        """1 - alpha^2."""
        return -torch.expm1(2 * torch.log(self.alpha(t)))

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha' = -beta alpha / 2, sigma' = beta alpha^2."""
        alpha, beta = self.alpha(t), self.beta(t)
        return -0.5 * beta * alpha, beta * alpha**2


@dataclass(frozen=True)
class VarianceExploding:
    """VE of Song et al. 2021: data stay, noise grows geometrically; starts without any at 0."""

    sigma_min: float = 0.01
    sigma_max: float = 50.0
    t_min: float = 1e-4
    t_max: float = 1.0

    def _growth(self) -> float:
        return math.log(self.sigma_max / self.sigma_min)

    def alpha(self, t: Tensor) -> Tensor:
        """1."""
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        """sigma_min sqrt((sigma_max / sigma_min)^2t - 1)."""
        return self.sigma_min * torch.sqrt(torch.expm1(2 * self._growth() * t))

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """0 and the derivative of sigma."""
        grown = torch.exp(2 * self._growth() * t)
        return torch.zeros_like(t), self.sigma_min**2 * self._growth() * grown / self.sigma(t)


@dataclass(frozen=True)
class RectifiedFlow:
    """Straight lines from data to noise, alpha = 1 - t, sigma = t (Liu et al. 2023; Lipman et al. 2023 with time reversed)."""

    t_min: float = 0.0
    t_max: float = 1.0

    def alpha(self, t: Tensor) -> Tensor:
        """1 - t."""
        return 1 - t

    def sigma(self, t: Tensor) -> Tensor:
        """t."""
        return t

    def rates(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """-1 and 1."""
        return -torch.ones_like(t), torch.ones_like(t)


def convert(value: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor, known: str, wanted: str) -> Tensor:
    """What a network predicts at x = alpha x0 + sigma noise, said in another of KINDS.

    score = -noise / sigma; v = alpha noise - sigma x0 (Salimans & Ho 2022); flow = noise - x0 (rectified flow's velocity).
    alpha, sigma: broadcastable to x. Raises ValueError for a kind that is not known. x0 from noise divides by alpha and noise
    from x0 by sigma: neither can be had where its divisor is 0.
    """
    for kind in (known, wanted):
        if kind not in KINDS:
            raise ValueError(f"convert: expected one of {', '.join(KINDS)}, got {kind!r}")
    if known == wanted:
        return value
    x0, noise = _both(value, x, alpha, sigma, known)
    return stated(x0, noise, alpha, sigma, wanted)


def stated(x0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor, wanted: str) -> Tensor:
    """x0 and noise said as one of KINDS: what a network that predicts `wanted` ought to say."""
    if wanted in ("x0", "noise"):
        return x0 if wanted == "x0" else noise
    if wanted == "score":
        return -noise / sigma
    return alpha * noise - sigma * x0 if wanted == "v" else noise - x0


def _both(value: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor, known: str) -> tuple[Tensor, Tensor]:
    """x0 and noise."""
    if known == "x0":
        return value, (x - alpha * value) / sigma
    if known == "v":
        unit = alpha**2 + sigma**2
        return (alpha * x - sigma * value) / unit, (sigma * x + alpha * value) / unit
    if known == "flow":
        return (x - sigma * value) / (alpha + sigma), (x + alpha * value) / (alpha + sigma)
    noise = value if known == "noise" else -sigma * value
    return (x - sigma * noise) / alpha, noise


@dataclass(frozen=True)
class Process:
    """A path and what is predicted along it: predict(x (N, ...), t (N,)) -> the `kind` of KINDS."""

    path: Path
    predict: Callable[[Tensor, Tensor], Tensor]
    kind: str = "noise"

    def as_kind(self, wanted: str, x: Tensor, t: Tensor) -> Tensor:
        """The prediction at states x (N, ...) and times t (N,), said as `wanted`."""
        return convert(self.predict(x, t), x, like(self.path.alpha(t), x), like(self.path.sigma(t), x), self.kind, wanted)

    def velocity(self, x: Tensor, t: Tensor) -> Tensor:
        """dx/dt of the probability-flow ODE, alpha' x0 + sigma' noise."""
        alpha, sigma = like(self.path.alpha(t), x), like(self.path.sigma(t), x)
        x0, noise = _both(self.predict(x, t), x, alpha, sigma, self.kind)
        data_rate, noise_rate = (like(rate, x) for rate in self.path.rates(t))
        return data_rate * x0 + noise_rate * noise

    def reverse_drift(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """f x - g^2 score, and g, of the reverse SDE (Anderson 1982)."""
        linear, diffusion = coefficients(self.path, t)
        diffusion = like(diffusion, x)
        return like(linear, x) * x - diffusion**2 * self.as_kind("score", x, t), diffusion

    def prior(
        self, shape: tuple[int, ...], generator: torch.Generator | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """States at t_max of data that are small beside the noise: N(0, sigma(t_max)^2)."""
        return torch.randn(shape, generator=generator) * self.prior_std

    @property
    def prior_std(self) -> float:
        """sigma(t_max)."""
        return float(self.path.sigma(torch.tensor(self.path.t_max, dtype=torch.float64)))


def coefficients(path: Path, t: Tensor) -> tuple[Tensor, Tensor]:
    """f(t) and g(t) of the forward SDE of a path."""
    alpha, sigma = path.alpha(t), path.sigma(t)
    data_rate, noise_rate = path.rates(t)
    linear = data_rate / alpha
    return linear, torch.sqrt(torch.clamp(2 * sigma * (noise_rate - linear * sigma), min=0))


def like(values: Tensor, x: Tensor) -> Tensor:
    """(N,) as (N, 1, ...), to multiply states with."""
    return values.reshape(-1, *[1] * (x.dim() - 1)).to(x.dtype)
