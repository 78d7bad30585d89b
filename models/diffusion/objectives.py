"""What a denoiser learns to predict, where noise comes in, and how the errors at different noise are weighed.

epsilon: Ho et al. 2020; v: Salimans and Ho 2022, ending in pure noise (Lin et al. 2024); flow: rectified flow (Liu et al. 2023)
with times drawn as Esser et al. 2024 draw them; weights: min-SNR (Hang et al. 2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.diffusion.processes import like, stated

# An objective, as diffusers' schedulers name what is predicted, and as `processes` does.
PREDICTIONS = {"v": "v_prediction", "epsilon": "epsilon", "flow": "flow_prediction"}
KINDS = {"v": "v", "epsilon": "noise", "flow": "flow"}
TIMES = 1000  # diffusers counts a network's times from 0 to here


@dataclass(frozen=True, eq=False)
class Noised:
    """Latents x (B, c, h, w) with noise at times (B,), the target of the prediction, and the weight (B,) of its square."""

    x: Tensor
    times: Tensor
    target: Tensor
    weight: Tensor


@dataclass(frozen=True, eq=False)
class Objective:
    """name: of PREDICTIONS. alphas_cumprod (T,): alpha^2 at every time, None for a flow. min_snr: gamma of the weights, None
    weighs all errors of the prediction alike."""

    name: str
    alphas_cumprod: Tensor | None = None
    min_snr: float | None = None

    @staticmethod
    def of(scheduler: Any, min_snr: float | None = None) -> Objective:
        """The objective that a pipeline's scheduler belongs to. Raises ValueError for a prediction that is none of ours."""
        predicted = scheduler.config.get("prediction_type", "flow_prediction")  # flow schedulers do not name theirs
        name = next((name for name, known in PREDICTIONS.items() if known == predicted), "")
        if not name:
            raise ValueError(f"prediction_type: expected one of {', '.join(PREDICTIONS.values())}, got {predicted!r}")
        return Objective(name, None if name == "flow" else scheduler.alphas_cumprod, min_snr)

    def noised(self, latents: Tensor, draw: torch.Generator) -> Noised:
        """Latents (B, c, h, w) with fresh noise at random times, drawn on the processor."""
        noise = torch.randn(latents.shape, generator=draw).to(latents)
        times, alpha, sigma = (value.to(latents.device) for value in self._times(len(latents), draw))
        a, s = like(alpha, latents), like(sigma, latents)
        x = a * latents + s * noise
        return Noised(x, times, stated(latents, noise, a, s, KINDS[self.name]), self.weights(alpha, sigma))

    def _times(self, count: int, draw: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Times as the network counts them, with alpha and sigma there."""
        if self.alphas_cumprod is None:
            sigma = torch.sigmoid(torch.randn(count, generator=draw))
            return sigma * TIMES, 1 - sigma, sigma
        times = torch.randint(len(self.alphas_cumprod), (count,), generator=draw)
        share = self.alphas_cumprod.cpu()[times]
        return times, share.sqrt(), (1 - share).sqrt()

    def weights(self, alpha: Tensor, sigma: Tensor) -> Tensor:
        """(B,) weights of the squared error: min(SNR, gamma) of that of x0, which is so many times that of the prediction."""
        if self.min_snr is None:
            return torch.ones_like(sigma)
        x0_per_prediction = {"v": sigma, "flow": sigma / (alpha + sigma), "epsilon": sigma / alpha.clamp(min=1e-6)}[self.name]
        return ((alpha / sigma) ** 2).clamp(max=self.min_snr) * x0_per_prediction**2


def denoising_error(prediction: Tensor, noised: Noised, where: Tensor | float = 1.0) -> Tensor:
    """The weighted mean square of a prediction (B, c, h, w). where: weights (B, 1, h, w) of its pixels."""
    return (((prediction - noised.target).square() * where).mean((1, 2, 3)) * noised.weight).mean()


def make_noise_schedule(objective: str) -> Any:
    """The scheduler of a new pipeline: Stable Diffusion's noise for v and epsilon, straight lines for flow.

    The last is DPM-Solver++ on them, for diffusers' Stable Diffusion pipelines cannot call its FlowMatchEulerDiscreteScheduler.
    """
    import diffusers

    predicted = PREDICTIONS[objective]
    if objective == "flow":
        return diffusers.DPMSolverMultistepScheduler(prediction_type=predicted, use_flow_sigmas=True)
    return diffusers.DDIMScheduler(
        num_train_timesteps=TIMES,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=predicted,
        timestep_spacing="trailing",  # starts at the last step, which the zero-SNR schedule needs
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        rescale_betas_zero_snr=objective == "v",  # ends in pure noise
    )
