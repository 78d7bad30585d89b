"""Stacked hourglass with heatmap and associative-embedding tag heads on every stack.

Newell, Yang, Deng 2016 (stacked hourglass) and Newell, Huang, Deng 2017 (associative embedding).
Fully convolutional: any image whose sides are multiples of `HourglassConfig.stride_px`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils.checkpoint import checkpoint

STEM_STRIDE = 4  # image pixels per heatmap pixel


@dataclass(frozen=True)
class HourglassConfig:
    """Shape of the network. `depth` halvings inside each hourglass; `tag_dims` is K; `blocks` residuals per level."""

    topology: str = "coco17"
    joints: int = 17
    tag_dims: int = 1
    stacks: int = 2
    channels: int = 64
    block: str = "basic"
    depth: int = 4
    checkpoint_stacks: bool = False

    def __post_init__(self) -> None:
        if min(self.joints, self.tag_dims, self.stacks, self.channels, self.depth) < 1:
            raise ValueError(f"HourglassConfig: every count must be at least 1, got {self}")
        if self.block not in BLOCKS:
            raise ValueError(f"HourglassConfig.block: expected one of {sorted(BLOCKS)}, got {self.block!r}")

    @property
    def stride_px(self) -> int:
        """Image sides must be multiples of this (stem stride times the halvings)."""
        return STEM_STRIDE * 2**self.depth


def _conv(c_in: int, c_out: int, size: int = 3, stride: int = 1, relu: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(c_in, c_out, size, stride, size // 2, bias=False), nn.BatchNorm2d(c_out)]
    if relu:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class Basic(nn.Module):
    """Two 3x3 convolutions around a skip (He 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(channels, channels), _conv(channels, channels, relu=False))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return torch.relu(x + self.body(x))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 at half the width around a skip (Newell 2016, figure 4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.body = nn.Sequential(_conv(channels, half, 1), _conv(half, half, 3), _conv(half, channels, 1, relu=False))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return torch.relu(x + self.body(x))


BLOCKS: dict[str, type[nn.Module]] = {"basic": Basic, "bottleneck": Bottleneck}


Run = Callable[[nn.Module, Callable[[Tensor], Tensor], Tensor], Tensor]


def _kept(owner: nn.Module, part: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Run a part of a module; what it computes is kept for the backward pass."""
    return part(x)


def _recomputed(owner: nn.Module, part: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Run a part of a module; only its input is kept (Chen 2016). Three parts per stack and the stem: the largest
    part that is recomputed at once must not need more than the inputs that are kept."""
    return checkpoint(part, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _frozen_statistics(owner)))


@contextmanager
def _frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Keep running means as they are: the recomputation of a checkpoint sees the same batch a second time."""
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


class Hourglass(nn.Module):
    """One hourglass: halve `depth` times, come back up, add the skip of each level."""

    def __init__(self, depth: int, channels: int, block: type[nn.Module]) -> None:
        super().__init__()
        self.skip = block(channels)
        self.down = nn.Sequential(nn.MaxPool2d(2), block(channels))
        self.inner = Hourglass(depth - 1, channels, block) if depth > 1 else block(channels)
        self.up = block(channels)

    def forward(self, x: Tensor, run: Run = _kept) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return run(self, self.skip, x) + run(self, self._low, x)

    def _low(self, x: Tensor) -> Tensor:
        return interpolate(self.up(self.inner(self.down(x))), scale_factor=2.0, mode="nearest")


class Stack(nn.Module):
    """An hourglass, its features, and its heatmap + tag head."""

    def __init__(self, config: HourglassConfig) -> None:
        super().__init__()
        block = BLOCKS[config.block]
        self.hourglass = Hourglass(config.depth, config.channels, block)
        self.features = nn.Sequential(block(config.channels), _conv(config.channels, config.channels, 1))
        self.head = nn.Conv2d(config.channels, config.joints * (1 + config.tag_dims), 1)

    def forward(self, x: Tensor, run: Run = _kept) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) -> features (B, C, H, W) and maps (B, J (1 + K), H, W)."""
        features = run(self, self.features, self.hourglass(x, run))
        return features, self.head(features)


class StackedHourglass(nn.Module):
    """(B, 3, H, W) float32 RGB in 0..1 -> per stack a heatmap (B, J, H/4, W/4) and tags (B, J, H/4, W/4, K)."""

    mean: Tensor
    scale: Tensor

    def __init__(self, config: HourglassConfig) -> None:
        super().__init__()
        self.config = config
        width, maps = config.channels, config.joints * (1 + config.tag_dims)
        block = BLOCKS[config.block]
        self.stem = nn.Sequential(_conv(3, width // 2, 7, 2), _conv(width // 2, width, 3, 2), block(width))
        self.stacks = nn.ModuleList(Stack(config) for _ in range(config.stacks))
        self.merge_features = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(config.stacks - 1))
        self.merge_maps = nn.ModuleList(nn.Conv2d(maps, width, 1) for _ in range(config.stacks - 1))
        self.register_buffer("mean", torch.full((1, 3, 1, 1), 0.45), persistent=False)
        self.register_buffer("scale", torch.full((1, 3, 1, 1), 1 / 0.27), persistent=False)

    def forward(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Raises ValueError when a side is no multiple of `config.stride_px`."""
        stride = self.config.stride_px
        if images.shape[-1] % stride or images.shape[-2] % stride:
            raise ValueError(f"StackedHourglass: expected sides that are multiples of {stride}, got {images.shape}")
        run = _recomputed if self.config.checkpoint_stacks and self.training and torch.is_grad_enabled() else _kept
        x = run(self, self.stem, (images - self.mean) * self.scale)
        outputs = []
        for s, stack in enumerate(self.stacks):
            features, maps = stack(x, run)
            outputs.append(self._split(maps))
            if s + 1 < len(self.stacks):
                x = x + self.merge_features[s](features) + self.merge_maps[s](maps)
        return outputs

    def _split(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        joints, dims = self.config.joints, self.config.tag_dims
        tags = maps[:, joints:].unflatten(1, (joints, dims)).movedim(2, -1)
        return maps[:, :joints].float(), tags.float()


def build_hourglass(config: HourglassConfig) -> StackedHourglass:
    """The network with its heads set so that the first heatmaps are near zero (most pixels hold no joint)."""
    net = StackedHourglass(config)
    for module in net.modules():
        if isinstance(module, Stack):
            nn.init.normal_(module.head.weight, std=0.01)
            nn.init.zeros_(module.head.bias)  # type: ignore[arg-type]
    return net
