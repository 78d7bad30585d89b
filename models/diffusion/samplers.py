"""Samplers that diffusers has none of: reverse SDEs by Euler-Maruyama with a Langevin corrector, and the adaptive
probability-flow ODE (Song et al. 2021, algorithms 2 to 5 and section 4.3), for any path of `models.diffusion.processes`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.diffusion.ode import solve
from models.diffusion.processes import Process, like


@dataclass(frozen=True)
class Corrector:
    """Langevin steps after every step of the predictor. signal_to_noise: r of Song et al., about 0.16 for images."""

    steps: int = 1
    signal_to_noise: float = 0.16


@torch.no_grad()
def euler_maruyama(
    process: Process, x: Tensor, steps: int, generator: torch.Generator | None = None, corrector: Corrector | None = None
) -> Tensor:
    """Data (N, ...) from states x (N, ...) at t_max along the reverse SDE, in `steps` equal steps of time.

    The last step adds no noise (Jolicoeur-Martineau et al. 2021): it ends at the expected x0. Cost: one prediction a step, and
    one more for each step of the corrector. Raises ValueError for a path that ends without data, whose SDE has no coefficients
    there.
    """
    path = process.path
    if float(path.alpha(torch.tensor(path.t_max))) == 0:
        raise ValueError(f"euler_maruyama: {type(path).__name__} has alpha = 0 at t_max, where its SDE is not defined; "
                         "use probability_flow")  # fmt: skip
    times = torch.linspace(path.t_max, path.t_min, steps + 1, dtype=torch.float64)
    for now, then in zip(times[:-1], times[1:], strict=True):
        drift, diffusion = process.reverse_drift(x, now.expand(len(x)))
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        x = x - drift * float(now - then) + diffusion * float(now - then) ** 0.5 * noise
        if corrector is not None:
            x = _corrected(process, x, then.expand(len(x)), corrector, generator)
    return process.as_kind("x0", x, times[-1].expand(len(x)))


def _corrected(process: Process, x: Tensor, t: Tensor, corrector: Corrector, generator: torch.Generator | None) -> Tensor:
    """Langevin dynamics towards the marginal at t; step sizes by Song et al. 2021, algorithm 5."""
    alpha = like(process.path.alpha(t), x)
    for _ in range(corrector.steps):
        score = process.as_kind("score", x, t)
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        ratio = noise.flatten(1).norm(dim=1).mean() / score.flatten(1).norm(dim=1).mean().clamp(min=1e-12)
        size = 2 * alpha**2 * (corrector.signal_to_noise * ratio) ** 2
        x = x + size * score + torch.sqrt(2 * size) * noise
    return x


@torch.no_grad()
def probability_flow(
    process: Process, x: Tensor, rtol: float = 1e-5, atol: float = 1e-5, forward: bool = False
) -> tuple[Tensor, int]:
    """Data (N, ...) from states at t_max, or the other way with `forward`, along the ODE; and how many predictions it took.

    An adaptive Runge-Kutta method of order 5 (scipy), one step size for all states: deterministic, and invertible to the
    tolerance.
    """
    ends = (process.path.t_min, process.path.t_max)

    def velocity(t: float, flat: NDArray[np.float64]) -> NDArray[np.float64]:
        state = torch.from_numpy(flat).reshape(x.shape).to(x.dtype)
        found = process.velocity(state, torch.full((len(x),), t, dtype=torch.float64))
        return np.asarray(found.double().flatten().numpy())

    end, evaluations = solve(velocity, x.double().flatten().numpy(), ends if forward else ends[::-1], rtol, atol)
    return torch.from_numpy(end).reshape(x.shape).to(x.dtype), evaluations
