"""A density over human poses whose log-likelihood is exact: a flow that puts a skeleton together joint by joint.

Every step is a coupling: one joint moves by what the joints that are in place already say, in the chart of the bone that
ties it to the steadiest of them (`bone_chart`), by a small conditional flow (`coupling_flow`). The Jacobian is triangular, so
log p(skeleton) = sum of log p(joint | joints before it). The steps are learned for any set of joints in place (order-agnostic:
Uria et al. 2014; Hoogeboom et al. 2022), so that one network gives the likelihood of a skeleton, of a joint given all others,
and the posterior of missing joints given those that were seen.

Whose frame: heading and size come from the joints in place alone (`canonical_pose`) and positions are relative to one of
them, so a step is a density in space, in 1/m^3, for people anywhere, of any heading and size. The first two joints, which
root and heading rest on, are given: 45 dimensions of a whole skeleton's 51 are scored, none of which the frame fixes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.bone_chart import BoneChart
from models.canonical_pose import LIMBS, headings, scales, turned
from models.coupling_flow import ALL, CouplingFlow, GroupedPerceptron
from models.skeleton import COCO17

JOINTS = len(COCO17)
# The order in which a skeleton is put together: from the trunk outwards.
ORDER = [COCO17.index(name) for name in (
    "left_hip", "right_hip", "left_shoulder", "right_shoulder", "nose", "left_eye", "right_eye", "left_ear", "right_ear",
    "left_knee", "right_knee", "left_ankle", "right_ankle", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
)]  # fmt: skip
RANK = torch.tensor([ORDER.index(j) for j in range(JOINTS)])
# Joints that a step needs in place: to be tied to, and to have a heading.
LEAST_SEEN = 2
# What each coupling layer moves of (log length, two of the direction).
MOVED = torch.tensor([[0, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
# Joints that are nearer than this on average are no good to measure a direction from, in m.
LEAST_BONE_M = 0.2


@dataclass(frozen=True)
class PriorConfig:
    """hidden: width of a joint's perceptron; layer: of its coupling layers."""

    hidden: int = 48
    layer: int = 12


class PosePrior(nn.Module):
    """The steps of all joints. Shapes: N skeletons, T steps (one for each joint), J joints of COCO-17 in metres, z up."""

    limb_m: Tensor
    neighbours: Tensor
    middle: Tensor

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("limb_m", torch.ones(len(LIMBS)))
        self.register_buffer("neighbours", torch.tensor([[k for k in range(JOINTS) if k != j] for j in range(JOINTS)]))
        self.register_buffer("middle", torch.eye(3)[2].repeat(JOINTS, 1))
        self.told = nn.Parameter(torch.randn(JOINTS, 4, JOINTS, config.hidden) / (3 * JOINTS) ** 0.5)
        self.told_bias = nn.Parameter(torch.zeros(JOINTS, 1, config.hidden))
        self.trunk = GroupedPerceptron(JOINTS, (config.hidden, config.hidden))
        self.aim = nn.Parameter(torch.zeros(JOINTS, config.hidden, 7))
        self.aim_bias = nn.Parameter(torch.zeros(JOINTS, 1, 7))
        self.flow = CouplingFlow(JOINTS, MOVED, config.hidden, config.layer)

    def look(self, xyz_m: Tensor) -> None:
        """Take lengths, steadiest neighbours and usual directions from whole skeletons (N, J, 3), before training."""
        known = torch.ones(xyz_m.shape[:2], dtype=torch.bool)
        upright = turned(xyz_m, headings(xyz_m, known)[:, None])
        self.limb_m.copy_((upright[:, LIMBS[:, 0]] - upright[:, LIMBS[:, 1]]).norm(dim=-1).mean(0))
        bone = (upright[:, :, None] - upright[:, None]) / scales(xyz_m, known, self.limb_m)[:, None, None, None]
        length = bone.norm(dim=-1)
        unsteady = length.clamp(min=1e-6).log().std(0) + 10.0 * (length.mean(0) < LEAST_BONE_M) + 1e3 * torch.eye(JOINTS)
        self.neighbours.copy_(unsteady.argsort(-1)[:, :-1])
        first = self.neighbours[:, 0]
        usual = bone[:, torch.arange(JOINTS), first].mean(0)
        self.middle.copy_(usual / usual.norm(dim=-1, keepdim=True))
        self.aim_bias.data[:, 0, :3] = self.middle
        self.aim_bias.data[:, 0, 3] = length[:, torch.arange(JOINTS), first].log().mean(0)
        self.aim_bias.data[:, 0, 4:] = -1.0

    def steps(self, xyz_m: Tensor, visible: Tensor, joints: slice = ALL) -> tuple[Tensor, Tensor]:
        """log p(joint | visible joints) in nats for a density in 1/m^3 (T, N), and the latents (T, N, 3), N(0, I) for people.

        visible (T, N or 1, J): what may be looked at at each step. Values mean nothing where fewer than LEAST_SEEN are.
        """
        seen = self._seen(xyz_m, visible, joints)
        target_m = xyz_m.transpose(0, 1)[joints]
        bone = turned(target_m - seen.from_m, seen.heading) / seen.scale[..., None]
        chart, centre, spread = self._chart(seen.features, joints)
        flat, gained = chart.flat(bone)
        latent, more = self.flow((flat - centre) * torch.exp(-spread), seen.features, joints)
        nats = -0.5 * latent.square().sum(-1) - 1.5 * math.log(2 * math.pi) + more + gained - spread.sum(-1)
        return nats - 3 * seen.scale.log(), latent

    def place(self, xyz_m: Tensor, visible: Tensor, joint: int, latent: Tensor) -> Tensor:
        """Where a joint is (N, 3) in metres, given the visible (N, J) ones of xyz_m (N, J, 3) and latents (N, 3)."""
        one = slice(joint, joint + 1)
        seen = self._seen(xyz_m, visible[None], one)
        chart, centre, spread = self._chart(seen.features, one)
        flat = self.flow.inverse(latent[None], seen.features, one) * spread.exp() + centre
        return (turned(chart.bone(flat) * seen.scale[..., None], seen.heading, back=True) + seen.from_m)[0]

    def _chart(self, features: Tensor, joints: slice) -> tuple[BoneChart, Tensor, Tensor]:
        """The chart of each step, and the centre and log spread (T, N, 3) of what is expected in it."""
        aim = torch.baddbmm(self.aim_bias[joints].mT, self.aim[joints].mT, features.mT).mT
        middle, length, spread = aim.split((3, 1, 3), -1)
        centre = torch.cat([length, torch.zeros_like(length), torch.zeros_like(length)], -1)
        return BoneChart.about(middle, -self.middle[joints, None]), centre, spread.clamp(-5.0, 1.5)

    def _seen(self, xyz_m: Tensor, visible: Tensor, joints: slice) -> _Seen:
        order = self.neighbours[joints]
        first = visible.gather(-1, order[:, None].expand(-1, visible.shape[1], -1)).float().argmax(-1)
        tied = order.gather(-1, first).expand(-1, len(xyz_m))
        from_m = xyz_m.transpose(0, 1)[tied, torch.arange(len(xyz_m))]
        heading, scale = headings(xyz_m, visible), scales(xyz_m, visible, self.limb_m)
        # Planes of one coordinate each: all that is (T, N, J) here takes most of the time.
        x, y, z = (
            plane - start[..., None] for plane, start in zip(xyz_m.movedim(-1, 0).contiguous(), from_m.unbind(-1), strict=True)
        )
        cos, sin = (heading / scale[..., None])[..., None].unbind(-2)
        planes = (torch.addcmul(cos * x, sin, y), torch.addcmul(cos * y, sin, x, value=-1.0), z / scale[..., None])
        return _Seen(self.trunk(self._told(planes, visible, joints), joints), from_m, heading, scale)

    def _told(self, planes: tuple[Tensor, ...], visible: Tensor, joints: slice) -> Tensor:
        """The first layer of what is seen: coordinates of visible joints, and which they are."""
        shown = visible.to(planes[0].dtype)
        weights, which = self.told[joints], torch.baddbmm(self.told_bias[joints], shown, self.told[joints, 3])
        if visible.shape[1] == 1:  # the same joints in every skeleton: hide the others' weights rather than their places
            weights = weights * shown.mT[:, None]
        else:
            planes = tuple(plane * shown for plane in planes)
        told = torch.bmm(planes[0], weights[:, 0]).add_(which)
        return told.baddbmm_(planes[1], weights[:, 1]).baddbmm_(planes[2], weights[:, 2]).relu_()


@dataclass(frozen=True, eq=False)
class _Seen:
    """What a step (T, N) knows: features (T, N, C), the joint it is tied to, heading and size of the person."""

    features: Tensor
    from_m: Tensor
    heading: Tensor
    scale: Tensor


def in_order(known: Tensor, given: Tensor) -> Tensor:
    """(T, N, J) what is visible when joints are put in place one after the other in ORDER, after the given (N, J) ones; of the
    known (N, J) others none before its turn."""
    before = RANK[None] < RANK[:, None]
    return given[None] | (before[:, None] & known[None])


def all_others(known: Tensor) -> Tensor:
    """(T, N, J) every known (N, J) joint but the step's own."""
    return known[None] & ~torch.eye(JOINTS, dtype=torch.bool)[:, None]
