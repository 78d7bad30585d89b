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
    """away (..., 3): what Householder's reflection mirrors along, to take the middle of the chart to the last of the
    orthonormal rows (..., 3, 3); the first two are the tangents."""

    away: Tensor
    rows: Tensor

    @staticmethod
    def about(middle: Tensor, rare: Tensor) -> BoneChart:
        """Around directions `middle` (..., 3) of any length. rare (..., 3), broadcastable: a unit vector that the middle hardly
        ever is near, for there the tangents of a sphere cannot be chosen without a jump."""
        away = rare - middle / _length(middle, _LEAST_LENGTH)
        return BoneChart(away / _length(away, 1e-5), _completed(rare))

    def flat(self, bone: Tensor) -> tuple[Tensor, Tensor]:
        """(log length, two of the direction) of bones (..., 3), and log |d flat / d bone| (...)."""
        length = _length(bone, _LEAST_LENGTH)
        x, y, z = self._mirrored(bone / length).unbind(-1)
        first, second, third = (x * row[..., 0] + y * row[..., 1] + z * row[..., 2] for row in self.rows.unbind(-2))
        near = 2.0 / (1.0 + third).clamp(min=1e-6)
        flat = torch.stack([length[..., 0].log(), near * first, near * second], -1)
        return flat, -_log_volume(flat)

    def bone(self, flat: Tensor) -> Tensor:
        """Bones (..., 3) of the numbers that `flat` gives."""
        half = flat[..., 1:] / 2
        square = half.square().sum(-1, keepdim=True)
        at = torch.cat([2 * half, 1 - square], -1) / (1 + square)
        return self._mirrored((at[..., None] * self.rows).sum(-2)) * flat[..., :1].exp()

    def _mirrored(self, vector: Tensor) -> Tensor:
        return vector - 2 * (vector * self.away).sum(-1, keepdim=True) * self.away


def _length(vector: Tensor, least: float) -> Tensor:
    """Lengths (..., 1), `least` or more. Not `norm`, which is slow where coordinates lie in planes."""
    return vector.square().sum(-1, keepdim=True).clamp(min=least**2).sqrt()


def _log_volume(flat: Tensor) -> Tensor:
    """log |d bone / d flat|: length cubed, and the area of the sphere where it is flattened."""
    return 3 * flat[..., 0] - 2 * torch.log1p(flat[..., 1:].square().sum(-1) / 4)


def _completed(axis: Tensor) -> Tensor:
    """Orthonormal rows (..., 3, 3) whose last is the unit vector axis (..., 3)."""
    least = torch.nn.functional.one_hot(axis.abs().argmin(-1), 3).to(axis)
    first = torch.linalg.cross(axis, least)
    first = first / first.norm(dim=-1, keepdim=True)
    return torch.stack([first, torch.linalg.cross(axis, first), axis], -2)
