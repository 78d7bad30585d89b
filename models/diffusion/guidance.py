"""Classifier guidance by the detector: while an image is sampled, its people are drawn to where their labels are.

After every step the expected image (the one-step x0) is decoded and looked at; the gradient of the detector's heatmap error,
through detector and decoder but not through the denoiser, moves x0 (Dhariwal & Nichol 2021; on x0 as in Bansal et al. 2023 and
He et al. 2024): far while there is much noise, less and less towards the end, where people stand and are only set right. It
works on top of classifier-free guidance and ControlNet, through diffusers' `callback_on_step_end`.

At every step the detector looks from a little elsewhere: what pleases it then is a person, and no pattern that one network
takes for one on one grid of pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from models.detector_data import SIGMA_MAX, gaussian_maps
from models.diffusion.schedulers import noise_levels, step_of
from models.hourglass import STEM_STRIDE, StackedHourglass
from models.skeleton import COCO17, Topology

Array = NDArray[np.float64]

JOINT_WEIGHT = 9.0  # extra weight of the error on a Gaussian: a joint's own pixels are few


@dataclass(frozen=True, eq=False)
class Guide:
    """network: the detector's; strength: how far x0 moves at a step from pure noise, in its own standard deviations, and by the
    share of noise that is left at later ones; size_px: side at which the detector looks, a multiple of its stride; jitter: how
    much its looks differ from step to step, 0 for not at all (see `Look.drawn`)."""

    network: StackedHourglass
    strength: float = 0.3
    size_px: int = 320
    jitter: float = 0.15

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
        return DetectorGuidance(self.guide, [(np.asarray(xy, np.float64) + 0.5) / image_px * 2 - 1 for xy in self.labels_px])


@dataclass(frozen=True)
class Look:
    """What a detector is shown of an image: enlarged about its middle, shifted by shares of half its side, or in a mirror."""

    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    mirrored: bool = False

    @staticmethod
    def drawn(step: int, jitter: float) -> Look:
        """The look at a step, the same for all images: zoom by 1 - jitter / 4 to 1 + 3 jitter / 4, shift up to 0.4 jitter."""
        if not jitter:
            return Look()
        draw = np.random.default_rng(step)
        x, y = draw.uniform(-0.4, 0.4, 2) * jitter
        return Look(1 + jitter * draw.uniform(-0.25, 0.75), (float(x), float(y)), bool(draw.integers(2)))

    def at(self, images: Tensor, size_px: int) -> Tensor:
        """Images (B, 3, S, S) as seen, (B, 3, size_px, size_px); beyond the border its pixels go on."""
        x, y = self.shift
        to_image = torch.tensor([[(-1 if self.mirrored else 1) / self.zoom, 0, x], [0, 1 / self.zoom, y]]).to(images)
        grid = affine_grid(to_image.expand(len(images), 2, 3), [len(images), 3, size_px, size_px], align_corners=False)
        return grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)

    def heatmaps(self, labels: Array, side: int, topology: Topology = COCO17) -> NDArray[np.float32]:
        """Heatmaps (J, side, side) of labels (P, J, 2) in -1..1 from edge to edge of an image, where the look shows them."""
        seen = (labels - self.shift) * self.zoom
        if self.mirrored:
            seen = seen[:, list(topology.mirror)] * (-1, 1)
        xy = ((seen + 1) / 2 * side - 0.5).astype(np.float32)
        labelled = np.asarray(np.isfinite(xy).all(-1))
        return gaussian_maps(np.nan_to_num(xy), labelled, np.full(len(xy), SIGMA_MAX, np.float32), (side, side))


@dataclass
class DetectorGuidance:
    """Called by a pipeline after every step of a GUIDABLE sampler, for one batch. labels: (P, J, 2) of each of its images, in
    -1..1 from edge to edge."""

    guide: Guide
    labels: Sequence[Array]
    _before: Tensor | None = field(default=None, repr=False)

    def __call__(self, pipeline: Any, step: int, timestep: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The latents (B, c, h, w) after a step, moved."""
        latents, scheduler = tensors["latents"], pipeline.scheduler
        step = step_of(scheduler, timestep)
        if self._before is not None:
            before, after = noise_levels(scheduler, step)
            moved = self.shift(pipeline.vae, one_step_x0(self._before, latents, before, after), step)
            latents = latents + after[0] * noise_share(before) * moved
        self._before = latents
        return {"latents": latents}

    def shift(self, vae: Any, x0: Tensor, step: int = 0) -> Tensor:
        """Where x0 (B, c, h, w) goes at a step: against the gradient, `strength` of its spread for each image."""
        with torch.enable_grad():
            x0 = x0.detach().requires_grad_()
            loss = self.heatmap_error(vae.decode((x0 / vae.config.scaling_factor).to(vae.dtype)).sample, step)
            [gradient] = torch.autograd.grad(loss, x0)
        size = gradient.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-12)
        spread = x0.detach().std((1, 2, 3), keepdim=True)
        return -self.guide.strength * spread * gradient / size

    def heatmap_error(self, pixels: Tensor, step: int = 0) -> Tensor:
        """Sum over images (B, 3, S, S) in -1..1 of the squared error of the heatmaps, as the detector looks at that step."""
        look = Look.drawn(step, self.guide.jitter)
        heatmaps = self.guide.network(look.at((pixels.float() / 2 + 0.5).clamp(0, 1), self.guide.size_px))[-1][0]
        target = torch.from_numpy(self.targets(look)).to(heatmaps.device)
        return ((heatmaps - target).square() * (1 + JOINT_WEIGHT * target)).mean((1, 2, 3)).sum()

    def targets(self, look: Look) -> NDArray[np.float32]:
        """Heatmaps (B, J, h, w) that the detector should see."""
        side = self.guide.size_px // STEM_STRIDE
        return np.stack([look.heatmaps(labels, side) for labels in self.labels])


def noise_share(level: tuple[float, float]) -> float:
    """Share of noise in latents of (alpha, sigma): 1 for nothing else, 0 for none; the same however a sampler scales them."""
    alpha, sigma = level
    return sigma / math.hypot(alpha, sigma)


def one_step_x0(before: Tensor, after: Tensor, level: tuple[float, float], level_after: tuple[float, float]) -> Tensor:
    """The x0 that a deterministic step went towards, from the latents before and after it and (alpha, sigma) of both.

    before = a x0 + s noise and after = a' x0 + s' noise share x0 and noise (Song et al. 2021, equation 12).
    """
    (a, s), (a_next, s_next) = level, level_after
    return (s_next * before - s * after) / (a * s_next - a_next * s)
