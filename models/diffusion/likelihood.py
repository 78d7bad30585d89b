"""log p(x) of a diffusion or flow model, by the change of variables along its probability-flow ODE.

Song et al. 2021, section 4.3 and appendix D.2; FFJORD, Grathwohl et al. 2019: d log p / dt = -div v(x, t), the divergence exact
or by Hutchinson's estimator E[e^T (dv/dx) e] over random signs e.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.diffusion.ode import solve
from models.diffusion.processes import Process


@dataclass(frozen=True, eq=False)
class LogLikelihood:
    """nats: log p(x) (N,); standard_error (N,) of it from the random probes, 0 where the divergence is exact; latent: the
    states at t_max; evaluations: how often the velocity was asked for."""

    nats: Tensor
    standard_error: Tensor
    latent: Tensor
    evaluations: int

    @property
    def bits_per_dimension(self) -> Tensor:
        """-log2 p(x) over the number of dimensions (N,), for data as they are, with no scale of pixels taken off."""
        return -self.nats / (math.log(2) * self.latent[0].numel())


def log_likelihood(
    process: Process, x: Tensor, probes: int | None = None, seed: int = 0, rtol: float = 1e-5, atol: float = 1e-5
) -> LogLikelihood:
    """log p(x), in nats, of data x (N, ...) under the model, with the standard error of each.

    probes: random directions of Hutchinson's estimator, the same all along the ODE so that it stays smooth; at least 2, for the
    error is their spread. None takes the exact divergence: D backward passes an evaluation, for D up to a few dozen. The data
    are taken as states at `path.t_min`. Raises ValueError for data that are not finite, fewer than 2 probes, or an ODE that
    cannot be solved.
    """
    if not torch.isfinite(x).all():
        raise ValueError(f"log_likelihood: expected finite data, got {int((~torch.isfinite(x)).sum())} values that are not")
    if probes is not None and probes < 2:
        raise ValueError(f"log_likelihood: expected at least 2 probes, or None for the exact divergence, got {probes}")
    directions = _directions(x, probes, seed)
    return _solve(process, x, directions, probes is None, rtol, atol)


def _directions(x: Tensor, probes: int | None, seed: int) -> Tensor:
    """(K, N, ...) random signs, or the unit vectors of every dimension."""
    if probes is None:
        dims = x[0].numel()
        return torch.eye(dims, dtype=x.dtype).reshape(dims, 1, *x.shape[1:]).expand(dims, *x.shape)
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 2, (probes, *x.shape), generator=draw).to(x.dtype) * 2 - 1


def _solve(process: Process, x: Tensor, directions: Tensor, exact: bool, rtol: float, atol: float) -> LogLikelihood:
    size, count = x.numel(), len(directions)

    def rates(t: float, state: NDArray[np.float64]) -> NDArray[np.float64]:
        where = torch.from_numpy(state[:size].copy()).reshape(x.shape).to(x.dtype)
        velocity, traces = velocity_and_traces(process, where, t, directions)
        grown = traces.sum(0, keepdim=True) if exact else traces
        return np.concatenate([velocity.double().flatten().numpy(), grown.double().flatten().numpy()])

    begin = np.concatenate([x.double().flatten().numpy(), np.zeros((1 if exact else count) * len(x))])
    span = (process.path.t_min, process.path.t_max)
    solved, evaluations = solve(rates, begin, span, rtol, atol)
    end = torch.from_numpy(solved)
    latent, gained = end[:size].reshape(x.shape), end[size:].reshape(-1, len(x))
    error = torch.zeros(len(x)).double() if exact else gained.std(0) / math.sqrt(count)
    return LogLikelihood(_prior_nats(process, latent) + gained.mean(0), error, latent, evaluations)


def velocity_and_traces(process: Process, x: Tensor, t: float, directions: Tensor) -> tuple[Tensor, Tensor]:
    """The velocity (N, ...) and e^T (dv/dx) e (K, N) for each of the directions e (K, N, ...)."""
    count = len(directions)
    with torch.enable_grad():
        states = x.detach().repeat(count, *[1] * (x.dim() - 1)).requires_grad_()
        velocity = process.velocity(states, torch.full((len(states),), t, dtype=torch.float64))
        flat = directions.reshape(states.shape)
        [pulled] = torch.autograd.grad(velocity, states, flat)
    return velocity[: len(x)].detach(), (pulled * flat).flatten(1).sum(1).reshape(count, len(x))


def _prior_nats(process: Process, latent: Tensor) -> Tensor:
    """log N(latent; 0, sigma(t_max)^2) (N,)."""
    std, dims = process.prior_std, latent[0].numel()
    return -0.5 * (latent / std).square().flatten(1).sum(1) - dims * (math.log(std) + 0.5 * math.log(2 * math.pi))
