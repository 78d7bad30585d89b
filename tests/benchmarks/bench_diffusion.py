"""Samplers and likelihood against a distribution whose score is known: diffusers' samplers and ours, the same toy, one run.

Run: ``python -m tests.benchmarks.bench_diffusion``. The toy is a Gaussian mixture in two dimensions with its exact prediction,
so all that a sampler adds is its own error. A distance is the sliced Wasserstein-1 to a true sample; the band is what two true
samples of that size stay below in 97.5 % of cases. Times are CPU seconds of one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from models.diffusion.likelihood import log_likelihood
from models.diffusion.processes import RectifiedFlow, SubVariancePreserving, VarianceExploding, VariancePreserving, convert
from models.diffusion.samplers import Corrector, euler_maruyama, probability_flow
from tests.benchmarks.timing import best_of
from tests.models.diffusion.mixture import Mixture, noise_band, ring, sliced_w1

COUNT = 5000


def diffusers_samples(mixture: Mixture, scheduler: Any, steps: int) -> Tensor:
    """A diffusers sampler driven by the exact noise, or flow for a flow-matching one."""
    draw = torch.Generator().manual_seed(5)
    scheduler.set_timesteps(steps)
    x = torch.randn((COUNT, mixture.means.shape[1]), generator=draw, dtype=torch.float64)
    for t in scheduler.timesteps:
        alpha, sigma = _discrete(scheduler, t)
        flow = mixture.flow(x, alpha, sigma)
        told = flow if hasattr(scheduler, "sigmas") and not hasattr(scheduler, "alphas_cumprod") else None
        noise = convert(flow, x, alpha[:, None], sigma[:, None], "flow", "noise") if told is None else told
        extra = {"generator": draw} if "DDPM" in type(scheduler).__name__ or told is not None else {}
        x = scheduler.step(noise, t, x, **extra).prev_sample.double()
    return x


def _discrete(scheduler: Any, t: Tensor) -> tuple[Tensor, Tensor]:
    if hasattr(scheduler, "alphas_cumprod"):
        share = scheduler.alphas_cumprod[int(t)].double()
        return share.sqrt().expand(1), (1 - share).sqrt().expand(1)
    sigma = torch.as_tensor(t / scheduler.config.num_train_timesteps).double().expand(1)
    return 1 - sigma, sigma


def samplers(mixture: Mixture) -> dict[str, Callable[[], Tensor]]:
    """Every sampler by the name that the table gives it."""
    from diffusers import DDIMScheduler, DDPMScheduler, FlowMatchEulerDiscreteScheduler

    # beta 1e-4..0.02 over 1,000 steps is the VP path of the reverse SDE (Ho et al. 2020); DDIM may not clip what is no image
    plain = {"num_train_timesteps": 1000, "beta_schedule": "linear", "clip_sample": False}
    ddim = {**plain, "timestep_spacing": "trailing"}
    found: dict[str, Callable[[], Tensor]] = {
        "DDPM, 1000 steps (diffusers)": lambda: diffusers_samples(mixture, DDPMScheduler(**plain), 1000),
        "DDIM, 50 steps (diffusers)": lambda: diffusers_samples(mixture, DDIMScheduler(**ddim), 50),
        "flow matching, 100 steps (diffusers)": lambda: diffusers_samples(mixture, FlowMatchEulerDiscreteScheduler(), 100),
    }
    for name, path in (
        ("VP", VariancePreserving()),
        ("sub-VP", SubVariancePreserving()),
        ("VE", VarianceExploding()),
        ("rectified flow", RectifiedFlow()),
    ):
        process = mixture.along(path)
        start = process.prior((COUNT, mixture.means.shape[1]), torch.Generator().manual_seed(5)).double()
        found[f"{name} probability-flow ODE"] = lambda process=process, start=start: probability_flow(process, start)[0]
        if not isinstance(path, RectifiedFlow):
            found[f"{name} reverse SDE, 1000 steps"] = lambda process=process, start=start: euler_maruyama(
                process, start, 1000, torch.Generator().manual_seed(6)
            )
            found[f"{name} reverse SDE, 500 steps, corrector"] = lambda process=process, start=start: euler_maruyama(
                process, start, 500, torch.Generator().manual_seed(6), Corrector(1, 0.1)
            )
    return found


def sampling_table(mixture: Mixture) -> None:
    """Distance and time of every sampler, and DDIM's share of DDPM's time."""
    band, truth = noise_band(mixture, COUNT), mixture.sample(COUNT, 77)
    print(f"toy: {len(mixture.weights)} Gaussians, {COUNT} samples; band of two true samples {band:.4f}")
    seconds: dict[str, float] = {}
    for name, make in samplers(mixture).items():
        seconds[name], made = best_of(make, 1)
        distance = sliced_w1(made, truth)
        print(f"  {name:42s} {distance:.4f} {'inside' if distance < band else 'OUTSIDE'} {seconds[name]:7.2f} s")
    ddpm, ddim = (next(v for k, v in seconds.items() if k.startswith(name)) for name in ("DDPM", "DDIM"))
    print(f"DDIM 50 steps takes 1/{ddpm / ddim:.0f} of DDPM's 1000 (bar: 1/20)")


def likelihood_table() -> None:
    """Mean log p per dimension against the truth, with the interval of the random probes."""
    print(
        "probability-flow log-likelihood, Gaussian mixtures, 200 points (bar: within 0.02 nats per dimension, interval covers)"
    )
    for dims in (2, 8, 32):
        mixture = ring(dims=dims, seed=dims)
        x = mixture.sample(200, 1)
        truth = mixture.nats(x)
        for probes in (None, 16):
            if probes is None and dims > 8:
                continue
            found = log_likelihood(mixture.along(VariancePreserving()), x, probes, seed=2)
            error = float((found.nats - truth).mean()) / dims
            half = 1.96 * float(found.standard_error.square().sum().sqrt()) / len(x) / dims
            covers = "exact" if probes is None else f"± {half:.4f} {'covers' if abs(error) <= half else 'MISSES'}"
            print(f"  {dims:2d} dimensions, {probes or 'exact'} probes: {error:+.5f} nats per dimension, {covers}")


def main() -> None:
    torch.set_num_threads(1)
    sampling_table(ring())
    likelihood_table()


if __name__ == "__main__":
    main()
