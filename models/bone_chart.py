"""A bone as three numbers in which people are simple: the logarithm of its length, and where it points on a flattened sphere.

Lengths hardly change and directions do: in these numbers a thin shell around the neighbouring joint becomes a slab. The sphere
is flattened stereographically about the direction that is expected; the change of variables is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_LEAST_LENGTH = 1e-6


@dataclass(frozen=True, eq=False)
class BoneChart:
    """axes (..., 3, 3): rows two tangents and the middle of the chart, orthonormal."""

    axes: Tensor

    @staticmethod
    def about(middle: Tensor, rare: Tensor) -> BoneChart:
        """Around directions `middle` (..., 3) of any length. rare (..., 3): a unit vector that the middle hardly ever is near,
        for there the tangents of a sphere cannot be chosen without a jump (Householder's reflection takes rare to the middle).
        """
        middle = middle / middle.norm(dim=-1, keepdim=True).clamp(min=_LEAST_LENGTH)
        away = rare - middle
        mirror = away[..., :, None] * away[..., None, :] * (-2.0 / away.square().sum(-1).clamp(min=1e-9))[..., None, None]
        mirror = mirror + torch.eye(3, dtype=middle.dtype, device=middle.device)
        return BoneChart(_completed(rare) @ mirror)

    def flat(self, bone: Tensor) -> tuple[Tensor, Tensor]:
        """(log length, two of the direction) of bones (..., 3), and log |d flat / d bone| (...)."""
        length = bone.norm(dim=-1).clamp(min=_LEAST_LENGTH)
        at = (self.axes @ (bone / length[..., None])[..., None])[..., 0]
        side = 2.0 * at[..., :2] / (1.0 + at[..., 2:]).clamp(min=1e-6)
        flat = torch.cat([length.log()[..., None], side], -1)
        return flat, -_log_volume(flat)

    def bone(self, flat: Tensor) -> Tensor:
        """Bones (..., 3) of the numbers that `flat` gives."""
        half = flat[..., 1:] / 2
        square = half.square().sum(-1, keepdim=True)
        at = torch.cat([2 * half, 1 - square], -1) / (1 + square)
        return (at[..., None, :] @ self.axes)[..., 0, :] * flat[..., :1].exp()


def _log_volume(flat: Tensor) -> Tensor:
    """log |d bone / d flat|: length cubed, and the area of the sphere where it is flattened."""
    return 3 * flat[..., 0] - 2 * torch.log1p(flat[..., 1:].square().sum(-1) / 4)


def _completed(axis: Tensor) -> Tensor:
    """Orthonormal rows (..., 3, 3) whose last is the unit vector axis (..., 3)."""
    least = torch.nn.functional.one_hot(axis.abs().argmin(-1), 3).to(axis)
    first = torch.linalg.cross(axis, least)
    first = first / first.norm(dim=-1, keepdim=True)
    return torch.stack([first, torch.linalg.cross(axis, first), axis], -2)
