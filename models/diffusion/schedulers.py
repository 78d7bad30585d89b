"""Samplers by name, as diffusers has them, and where along the noise a step of one stands."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from models.diffusion.objectives import PREDICTIONS
from models.weights import WeightsError

# Samplers by name: diffusers' class, what it is told beside the folder's own settings, and the objectives it can sample. All
# but ddpm, which goes on drawing from the image's own seed, are deterministic once the first noise is drawn.
SCHEDULERS: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "ddim": ("DDIMScheduler", {}, ("v", "epsilon")),
    "ddpm": ("DDPMScheduler", {}, ("v", "epsilon")),
    "dpm++": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}, ("v", "epsilon", "flow")),
    "euler": ("EulerDiscreteScheduler", {}, ("v", "epsilon")),
    "flow": ("FlowMatchEulerDiscreteScheduler", {}, ("flow",)),
}
GUIDABLE = ("ddim", "euler", "flow")  # one step tells the x0 it went towards


def make_scheduler(name: str, config: Any) -> Any:
    """A sampler by name that keeps the noise schedule and the prediction the networks were trained with.

    Raises WeightsError for a name that is not known, or that cannot sample what these networks predict.
    """
    import diffusers

    if name not in SCHEDULERS:
        raise WeightsError(f"scheduler: expected one of {', '.join(SCHEDULERS)}, got {name!r}")
    kind, told, objectives = SCHEDULERS[name]
    predicted = config.get("prediction_type", PREDICTIONS["flow"])
    if predicted not in {PREDICTIONS[objective] for objective in objectives}:
        able = [other for other, (_, _, known) in SCHEDULERS.items() if predicted in {PREDICTIONS[k] for k in known}]
        raise WeightsError(f"scheduler {name}: cannot sample networks that predict {predicted}; use {' or '.join(able)}")
    if name == "flow":
        return _flow_euler().from_config({"shift": config.get("shift") or config.get("flow_shift", 1.0)})
    return getattr(diffusers, kind).from_config(config, **told)


def _flow_euler() -> Any:
    """diffusers' rectified-flow sampler with the two names that its Stable Diffusion pipelines ask every sampler for."""
    import diffusers

    base: Any = diffusers.FlowMatchEulerDiscreteScheduler

    class FlowEuler(base):
        init_noise_sigma = 1.0

        def scale_model_input(self, sample: Tensor, timestep: Any = None) -> Tensor:
            return sample

        def add_noise(self, sample: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
            return self.scale_noise(sample, timesteps, noise)  # type: ignore[no-any-return]

    return FlowEuler


def sampler_name(scheduler: Any) -> str:
    """The name in SCHEDULERS of a scheduler of diffusers, or its class's."""
    kinds = {base.__name__ for base in type(scheduler).__mro__}
    return next((name for name, (kind, _, _) in SCHEDULERS.items() if kind in kinds), type(scheduler).__name__)


def step_of(scheduler: Any, timestep: Any) -> int:
    """Which of a sampler's steps goes from a timestep: a pipeline that begins with an image counts from its own first one."""
    return int((scheduler.timesteps == timestep).nonzero()[0])


def noise_levels(scheduler: Any, step: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """(alpha, sigma) of the latents x = alpha x0 + sigma noise before and after a step of a GUIDABLE sampler."""
    if hasattr(scheduler, "sigmas"):
        flow = sampler_name(scheduler) == "flow"
        sigmas = [float(scheduler.sigmas[step]), float(scheduler.sigmas[step + 1])]
        before, after = ((1 - sigma if flow else 1.0, sigma) for sigma in sigmas)
        return before, after
    times, shares = scheduler.timesteps, scheduler.alphas_cumprod
    following = shares[int(times[step + 1])] if step + 1 < len(times) else scheduler.final_alpha_cumprod
    before, after = ((float(share) ** 0.5, (1 - float(share)) ** 0.5) for share in (shares[int(times[step])], following))
    return before, after
