"""What is asked of a generator: conditions, prompts and seeds of some images, and what they begin as or have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.diffusion.guidance import Guided


@dataclass(frozen=True, eq=False)
class Captured:
    """What images begin as: RGB uint8 (B, H, W, 3); masks (B, H, W) bool of what is painted anew, None for all of it; strength:
    share of the noise that is put on, 1 forgets the image."""

    images: NDArray[np.uint8]
    masks: NDArray[np.bool_] | None = None
    strength: float = 1.0


@dataclass(frozen=True, eq=False)
class Shared:
    """What several images have in common, as the views of one person at one instant do.

    seeds (B,): images with the same seed share `share` of the variance of their first noise. pictures: RGB uint8 (H, W, 3) for
    an IP-Adapter, and which of them each image takes (B,).
    """

    seeds: tuple[int, ...]
    share: float = 0.0
    pictures: Sequence[NDArray[np.uint8]] | None = None
    picture: tuple[int, ...] = ()

    def mixed(self, own: Tensor) -> Tensor:
        """Noise (B, c, h, w) of variance 1, of each image's own and the shared."""
        if self.share == 0:
            return own
        common = torch.stack([torch.randn(own.shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in self.seeds])
        return self.share**0.5 * common + (1 - self.share) ** 0.5 * own


@dataclass(frozen=True, eq=False)
class Order:
    """conditions RGB uint8 (B, K, H, W, 3) of K kinds, prompts (B,), seeds (B,)."""

    conditions: NDArray[np.uint8]
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    guided: Guided | None = None
    captured: Captured | None = None
    shared: Shared | None = None

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the images in px."""
        return self.conditions.shape[2], self.conditions.shape[3]

    def part(self, part: slice) -> Order:
        """Some of the images."""
        guided = self.guided and replace(self.guided, labels_px=self.guided.labels_px[part])
        captured, shared = self.captured, self.shared
        if captured is not None:
            masks = None if captured.masks is None else captured.masks[part]
            captured = replace(captured, images=captured.images[part], masks=masks)
        if shared is not None:
            shared = replace(shared, seeds=shared.seeds[part], picture=shared.picture[part])
        return Order(self.conditions[part], self.prompts[part], self.seeds[part], guided, captured, shared)

    def check(self, form: str, kinds: int) -> None:
        """Raises ValueError where shapes do not fit each other, or a pipeline of that form with so many kinds of conditions."""
        maps = self.conditions
        if maps.ndim != 5 or maps.shape[-1] != 3 or maps.dtype != np.uint8:
            raise ValueError(f"generate: expected conditions uint8 (B, H, W, 3), got {maps.dtype} {maps.shape}")
        if maps.shape[1] != kinds:
            raise ValueError(f"generate: expected {kinds} kinds of conditions, got {maps.shape[1]}")
        if not len(maps) == len(self.prompts) == len(self.seeds):
            raise ValueError(
                f"generate: {len(maps)} conditions, {len(self.prompts)} prompts and {len(self.seeds)} seeds must agree"
            )
        if self.guided is not None and len(self.guided.labels_px) != len(maps):
            raise ValueError(f"generate: labels of {len(self.guided.labels_px)} for {len(maps)} images")
        if self.shared is not None and len(self.shared.seeds) != len(maps):
            raise ValueError(f"generate: {len(self.shared.seeds)} shared seeds for {len(maps)} images")
        if (self.captured is None) != (form == "text"):
            needs = "needs" if self.captured is None else "takes no"
            raise ValueError(f"generate: the form {form} {needs} captured images")
        if self.captured is not None:
            self._check_captured(self.captured, form)

    def _check_captured(self, begin: Captured, form: str) -> None:
        images, masks = (len(self), *self.size_hw, 3), (len(self), *self.size_hw) if form == "inpaint" else None
        if begin.images.shape != images or begin.images.dtype != np.uint8:
            raise ValueError(f"generate: expected captured images uint8 {images}, got {begin.images.shape}")
        found = None if begin.masks is None else begin.masks.shape
        if found != masks:
            raise ValueError(f"generate: masks: the form {form} wants {masks or 'none'}, got {found or 'none'}")
        if not 0 < begin.strength <= 1:
            raise ValueError(f"generate: strength: expected above 0 and at most 1, got {begin.strength}")
