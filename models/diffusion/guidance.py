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

from models.detector_data import SIGMA_MAX, gaussian_maps
from models.diffusion.schedulers import noise_levels, step_of
from models.hourglass import STEM_STRIDE, StackedHourglass

JOINT_WEIGHT = 9.0  # extra weight of the error on a Gaussian: a joint's own pixels are few


@dataclass(frozen=True, eq=False)
class Guide:
    """network: the detector's; strength: how far x0 moves a step, in its own standard deviations; size_px: side at which the
    detector looks, a multiple of its stride; until: share of the steps that are guided, for the last ones only sharpen."""

    network: StackedHourglass
    strength: float = 0.2
    size_px: int = 192
    until: float = 0.8

    def aimed_at(self, labels_px: Sequence[NDArray[np.float64]]) -> Guided:
        """The guidance of images whose people have labels (P, J, 2) in px each, NaN where nothing is labelled."""
        return Guided(self, labels_px)


@dataclass(frozen=True, eq=False)
class Guided:
    """A detector that guides, and the labels (P, J, 2) in px of every image, NaN where nothing is labelled."""

    guide: Guide
    labels_px: Sequence[NDArray[np.float64]]

    def callback(self, image_px: int) -> DetectorGuidance:
        """What the pipeline calls after every step of images of side image_px."""
        side = self.guide.size_px // STEM_STRIDE
        maps = []
        for labels_px in self.labels_px:
            xy = (np.asarray(labels_px, np.float32) + 0.5) * (side / image_px) - 0.5
            labelled = np.isfinite(xy).all(-1)
            maps.append(gaussian_maps(np.nan_to_num(xy), labelled, np.full(len(xy), SIGMA_MAX, np.float32), (side, side)))
        return DetectorGuidance(self.guide, torch.from_numpy(np.stack(maps)))


@dataclass
class DetectorGuidance:
    """Called by a pipeline after every step of a GUIDABLE sampler, for one batch. targets: (B, J, h, w) of its labels."""

    guide: Guide
    targets: Tensor
    _before: Tensor | None = field(default=None, repr=False)

    def __call__(self, pipeline: Any, step: int, timestep: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The latents (B, c, h, w) after a step, moved."""
        latents, scheduler = tensors["latents"], pipeline.scheduler
        step = step_of(scheduler, timestep)
        if self._before is not None and step < self.guide.until * len(scheduler.timesteps):
            before, after = noise_levels(scheduler, step)
            latents = latents + after[0] * self.shift(pipeline.vae, one_step_x0(self._before, latents, before, after))
        self._before = latents
        return {"latents": latents}

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
        target = self.targets.to(heatmaps.device)
        return ((heatmaps - target).square() * (1 + JOINT_WEIGHT * target)).mean((1, 2, 3)).sum()


def one_step_x0(before: Tensor, after: Tensor, level: tuple[float, float], level_after: tuple[float, float]) -> Tensor:
    """The x0 that a deterministic step went towards, from the latents before and after it and (alpha, sigma) of both.

    before = a x0 + s noise and after = a' x0 + s' noise share x0 and noise (Song et al. 2021, equation 12).
    """
    (a, s), (a_next, s_next) = level, level_after
    return (s_next * before - s * after) / (a * s_next - a_next * s)
