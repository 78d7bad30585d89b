"""Skeletons made canonical: where somebody stands, where they face and how large they are is taken off, and can be put back.

Canonical frame: root between the hips, the left at +x, the front at -y, z up as in the world, unit the person's own size: the
median over limbs of their length by the mean length of that limb. Heading is about z alone, for what hangs must hang.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.skeleton import COCO17

LIMBS = torch.tensor([limb for limb in COCO17.limbs if set(limb) <= set(COCO17.limb_joints)])
# How much a pair of joints says of the heading: the trunk's, and where they are not known the head's and the limbs'.
_TRUST = {"shoulder": 1.0, "hip": 1.0, "ear": 1e-2, "eye": 1e-2, "knee": 1e-3, "elbow": 1e-3, "wrist": 1e-4, "ankle": 1e-4}
PAIRS = torch.tensor([[COCO17.index(f"{side}_{name}") for side in ("left", "right")] for name in _TRUST])
TRUST = torch.tensor(list(_TRUST.values()))
HIPS = [COCO17.index("left_hip"), COCO17.index("right_hip")]
_LEAST_AXIS = 1e-6


@dataclass(frozen=True, eq=False)
class Canonical:
    """Joints (N, J, 3) in the canonical frame, and the way back: root_m (N, 3), heading (N, 2) the world's direction of the
    person's left, scale (N,)."""

    joints: Tensor
    root_m: Tensor
    heading: Tensor
    scale: Tensor

    def world(self, joints: Tensor) -> Tensor:
        """Canonical joints (..., N, J, 3) in world metres; volumes grow by scale cubed for each joint."""
        return turned(joints * self.scale[:, None, None], self.heading[:, None], back=True) + self.root_m[:, None]


def canonical(xyz_m: Tensor, limb_m: Tensor) -> Canonical:
    """Whole skeletons (N, J, 3) in metres, z up; limb_m (L,): mean lengths of LIMBS. The hips must not coincide."""
    known = torch.ones_like(xyz_m[..., 0], dtype=torch.bool)
    root_m = xyz_m[:, HIPS].mean(1)
    heading, scale = headings(xyz_m, known), scales(xyz_m, known, limb_m)
    joints = turned(xyz_m - root_m[:, None], heading[:, None]) / scale[:, None, None]
    return Canonical(joints, root_m, heading, scale)


def headings(xyz_m: Tensor, visible: Tensor) -> Tensor:
    """(..., 2) the horizontal direction from right to left, of joints (..., J, 3) of which `visible` (..., J) may be looked
    at; x where none of PAIRS tells."""
    both = visible[..., PAIRS].all(-1) * TRUST.to(xyz_m)
    across = xyz_m[..., PAIRS[:, 0], :2] - xyz_m[..., PAIRS[:, 1], :2]
    axis = torch.stack([_summed(both, plane) for plane in across.unbind(-1)], -1)
    length = axis.norm(dim=-1, keepdim=True)
    return torch.where(length > _LEAST_AXIS, axis / length.clamp(min=_LEAST_AXIS), axis.new_tensor([1.0, 0.0]))


def scales(xyz_m: Tensor, visible: Tensor, limb_m: Tensor) -> Tensor:
    """(...) how much longer limbs are than limb_m (L,): the median over those whose ends are visible, 1 without any."""
    ratio = (xyz_m[..., LIMBS[:, 0], :] - xyz_m[..., LIMBS[:, 1], :]).norm(dim=-1) / limb_m
    both = visible[..., LIMBS].all(-1)
    hidden = torch.where(both, ratio, torch.nan) if not _common(both, ratio) else None
    median = _medians(ratio, both[:, 0]) if hidden is None else hidden.nanmedian(-1).values
    return torch.where(both.any(-1), median, 1.0).clamp(min=1e-3)


def _common(chosen: Tensor, values: Tensor) -> bool:
    """Whether T choices (T, 1, L) are the same for all of N rows of values (N, L): most of the time is saved there."""
    return chosen.ndim == 3 and chosen.shape[1] == 1 and values.ndim == 2


def _summed(weight: Tensor, values: Tensor) -> Tensor:
    if _common(weight, values):
        return weight[:, 0] @ values.T
    # Plane by plane: products of small matrices, skeleton by skeleton, take ten times as long.
    return (weight * values).sum(-1)


def _medians(values: Tensor, chosen: Tensor) -> Tensor:
    """(T, N) the lower medians of those of values (N, L) that are chosen (T, L): sorted once, then counted."""
    ordered, order = values.T.sort(0)
    counted = chosen.T.to(torch.int8)[order].cumsum(0, dtype=torch.int8)
    place = (counted <= (chosen.sum(-1) - 1).div(2, rounding_mode="floor").to(torch.int8)).sum(0)
    return ordered.gather(0, place.T.clamp(max=len(ordered) - 1))


def turned(xyz: Tensor, heading: Tensor, back: bool = False) -> Tensor:
    """Vectors (..., 3) of the world in the frame of heading (..., 2), or back."""
    cos, sin = heading[..., 0], -heading[..., 1] if back else heading[..., 1]
    x, y = xyz[..., 0], xyz[..., 1]
    return torch.stack([cos * x + sin * y, cos * y - sin * x, xyz[..., 2]], -1)
