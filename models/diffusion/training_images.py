"""What a generator is trained on: square images, their pose maps and captions, and the tensors made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import max_pool2d


@dataclass(frozen=True, eq=False)
class TrainingImages:
    """N square images with what they show. images, pose_maps, mirrored_maps: RGB uint8 (N, S, S, 3); captions: N texts.

    mirrored_maps are the pose maps of the images seen in a mirror: flipped, and with left and right limbs exchanged.
    """

    images: NDArray[np.uint8]
    pose_maps: NDArray[np.uint8]
    mirrored_maps: NDArray[np.uint8]
    captions: tuple[str, ...]

    def __post_init__(self) -> None:
        shapes = {self.images.shape, self.pose_maps.shape, self.mirrored_maps.shape}
        if len(shapes) > 1 or len(self.captions) != len(self.images) or not len(self.images):
            raise ValueError(f"TrainingImages: expected N > 0 images, maps and captions of one size, got {shapes}")

    def __len__(self) -> int:
        return len(self.images)


def pixels(images: NDArray[np.uint8]) -> Tensor:
    """RGB uint8 (N, S, S, 3) as float32 (N, 3, S, S) in -1..1."""
    return torch.from_numpy(np.ascontiguousarray(images)).movedim(-1, 1).float() / 127.5 - 1


def drawn_people(pose_maps: Tensor, size: int) -> Tensor:
    """1 at the latent pixels (B, 1, size, size) that limbs of pose maps uint8 (B, S, S, 3) touch, and at those next to them,
    for bodies are wider than the limbs drawn for them; 0 elsewhere."""
    drawn = (pose_maps.amax(-1) > 0).float()[:, None]
    return max_pool2d(max_pool2d(drawn, drawn.shape[-1] // size), 3, stride=1, padding=1)


@torch.no_grad()
def latent_means(vae: Any, data: TrainingImages, batch: int = 64) -> Tensor:
    """Latents (2, N, c, h, w) of the images and of their mirror images, as the encoder gives them, on the processor."""
    both = []
    for images in (data.images, data.images[:, :, ::-1]):
        parts = [pixels(images[i : i + batch]).to(vae.device, vae.dtype) for i in range(0, len(images), batch)]
        both.append(torch.cat([vae.encode(part).latent_dist.mean.float().cpu() for part in parts]))
    return torch.stack(both)


def token_ids(tokenizer: Any, captions: Sequence[str]) -> Tensor:
    """Token ids (N + 1, L); the last row is the empty caption."""
    return tokenizer([*captions, ""], padding="max_length", truncation=True, return_tensors="pt").input_ids
