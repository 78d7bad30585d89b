"""Classifier guidance by the detector: while an image is sampled, its people are drawn to where their labels are.

After every step the expected image (the one-step x0) is decoded and looked at; the gradient of the detector's heatmap error,
through detector and decoder but not through the denoiser, moves x0 (Dhariwal & Nichol 2021; on x0 as in Bansal et al. 2023 and
He et al. 2024). It works on top of classifier-free guidance and ControlNet, through diffusers' `callback_on_step_end`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from models.hourglass import STEM_STRIDE, StackedHourglass

SIGMA_PX = 1.5  # of a target's Gaussian, in heatmap pixels: the widest that the detector was trained with


@dataclass(frozen=True, eq=False)
class Guide:
    """network: the detector's; strength: how far x0 moves a step, in its own standard deviations; size_px: side at which the
    detector looks, a multiple of its stride; until: share of the steps that are guided, for the last ones only sharpen."""

    network: StackedHourglass
    strength: float = 0.3
    size_px: int = 128
    until: float = 0.8

    def towards(self, labels_px: Sequence[NDArray[np.float64]], image_px: int) -> DetectorGuidance:
        """A callback for images of that side with people at labels (P, J, 2) in px each, NaN where nothing is labelled."""
        most, joints = max((len(people) for people in labels_px), default=0), self.network.config.joints
        padded = torch.full((len(labels_px), max(most, 1), joints, 2), torch.nan)
        for row, people in zip(padded, labels_px, strict=True):
            row[: len(people)] = torch.as_tensor(people)
        return DetectorGuidance(self, padded, image_px)


@dataclass
class DetectorGuidance:
    """Called by a pipeline after every step of DDIM, for one batch. labels_px: (B, P, J, 2), NaN where nothing is labelled."""

    guide: Guide
    labels_px: Tensor
    image_px: int
    _before: Tensor | None = field(default=None, repr=False)

    def __call__(self, pipeline: Any, step: int, timestep: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The latents (B, c, h, w) after a step, moved."""
        latents = tensors["latents"]
        shares = pipeline.scheduler.alphas_cumprod
        alpha_now, alpha_next = self._alphas(pipeline, step, shares)
        moved = latents
        if self._before is not None and step < self.guide.until * len(pipeline.scheduler.timesteps):
            x0 = one_step_x0(self._before, latents, alpha_now, alpha_next)
            moved = latents + alpha_next**0.5 * self.shift(pipeline.vae, x0)
        self._before = moved
        return {"latents": moved}

    def _alphas(self, pipeline: Any, step: int, shares: Tensor) -> tuple[float, float]:
        """alpha^2 of the latents before and after a step."""
        times = pipeline.scheduler.timesteps
        following = shares[int(times[step + 1])] if step + 1 < len(times) else pipeline.scheduler.final_alpha_cumprod
        return float(shares[int(times[step])]), float(following)

    def shift(self, vae: Any, x0: Tensor) -> Tensor:
        """Where x0 (B, c, h, w) goes: against the gradient, `strength` of its spread for each image."""
        with torch.enable_grad():
            x0 = x0.detach().requires_grad_()
            loss = self.heatmap_error(vae.decode((x0 / vae.config.scaling_factor).to(vae.dtype)).sample)
            [gradient] = torch.autograd.grad(loss, x0)
        size = gradient.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-12)
        spread = x0.detach().std((1, 2, 3), keepdim=True)
        return -self.guide.strength * spread * gradient / size

    def heatmap_error(self, pixels: Tensor) -> Tensor:
        """Sum over images (B, 3, S, S) in -1..1 of the squared error of the detector's heatmaps at the labels."""
        seen = interpolate((pixels.float() / 2 + 0.5).clamp(0, 1), size=(self.guide.size_px,) * 2, mode="bilinear")
        heatmaps = self.guide.network(seen)[-1][0]
        target = self.targets().to(heatmaps.device)
        weight = 1 + 9 * target  # a joint's own pixels are few
        return ((heatmaps - target).square() * weight).mean((1, 2, 3)).sum()

    def targets(self) -> Tensor:
        """(B, J, S/4, S/4) Gaussians at the labels."""
        side = self.guide.size_px // STEM_STRIDE
        xy = (self.labels_px + 0.5) * (side / self.image_px) - 0.5
        grid = torch.arange(side, dtype=xy.dtype)
        gx, gy = (torch.exp(-0.5 * ((grid - xy[..., axis, None]) / SIGMA_PX) ** 2) for axis in (0, 1))
        return (gy[..., :, None] * gx[..., None, :]).nan_to_num(0).amax(1)


def one_step_x0(before: Tensor, after: Tensor, share_before: float, share_after: float) -> Tensor:
    """The x0 that a deterministic DDIM step went towards, from the latents before and after it and their alpha^2.

    before = a x0 + s noise and after = a' x0 + s' noise share x0 and noise (Song et al. 2021, equation 12).
    """
    a, s = share_before**0.5, (1 - share_before) ** 0.5
    a_next, s_next = share_after**0.5, (1 - share_after) ** 0.5
    return (s_next * before - s * after) / (a * s_next - a_next * s)
