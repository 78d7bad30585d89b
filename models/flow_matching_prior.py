"""The same density as a continuous flow: a velocity field learned by flow matching (Lipman et al. 2023) turns noise to people.

Missing joints flow, those that are seen stand still and tell the field; log p(missing | seen) is that of the probability-flow
ODE (`diffusion.likelihood`). Slower than the coupling flow and bound to no order of joints.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.canonical_pose import HIPS, LIMBS, canonical, headings, scales, turned
from models.diffusion.likelihood import LogLikelihood, log_likelihood
from models.diffusion.ode import solve
from models.diffusion.processes import Process, RectifiedFlow
from models.skeleton import COCO17

JOINTS = len(COCO17)
WAVES = 2.0 ** torch.arange(5)  # of time, told to the network as sines and cosines


@dataclass(frozen=True)
class ContinuousConfig:
    """hidden: width; layers: how many of that width."""

    hidden: int = 256
    layers: int = 3


class ContinuousPrior(nn.Module):
    """A velocity field over skeletons (N, J, 3) in the frame of the joints that are seen, each number by its spread."""

    limb_m: Tensor
    spread: Tensor

    def __init__(self, config: ContinuousConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("limb_m", torch.ones(len(LIMBS)))
        self.register_buffer("spread", torch.ones(JOINTS, 3))
        sizes = [4 * JOINTS + 2 * len(WAVES), *[config.hidden] * config.layers]
        hidden = [layer for a, b in zip(sizes[:-1], sizes[1:], strict=True) for layer in (nn.Linear(a, b), nn.SiLU())]
        self.field = nn.Sequential(*hidden, nn.Linear(config.hidden, 3 * JOINTS))

    def look(self, xyz_m: Tensor) -> None:
        """Take limb lengths and spreads from whole skeletons (N, J, 3), before training."""
        self.limb_m.copy_((xyz_m[:, LIMBS[:, 0]] - xyz_m[:, LIMBS[:, 1]]).norm(dim=-1).mean(0))
        self.spread.copy_(canonical(xyz_m, self.limb_m).joints.std(0).clamp(min=0.05))

    def velocity(self, state: Tensor, t: Tensor, seen: Tensor, visible: Tensor) -> Tensor:
        """noise - data (N, J, 3), 0 where visible (N, J); seen (N, J, 3) are the visible ones in the frame."""
        phase = t[:, None] * WAVES.to(state) * math.pi
        shown = visible[..., None].to(state)
        at = (state * (1 - shown) + seen * shown).flatten(1)
        field = self.field(torch.cat([at, shown[..., 0], phase.sin(), phase.cos()], -1))
        return field.reshape(state.shape) * (1 - shown)

    def matching_error(self, xyz_m: Tensor, visible: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Squared error of the velocity per missing number, at times t (N,) on straight lines to noise (N, J, 3)."""
        data, _, _, _ = self.framed(xyz_m, visible)
        missing = (~visible)[..., None]
        state = (1 - t[:, None, None]) * data + t[:, None, None] * noise
        error = (self.velocity(state, t, data, visible) - (noise - data)) * missing
        return error.square().sum() / (3 * missing.sum())

    def framed(self, xyz_m: Tensor, visible: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Joints in the frame of the visible ones by their spread (N, J, 3), with root_m, heading and scale (N, ...)."""
        trunk = visible & torch.isin(torch.arange(JOINTS), torch.tensor(HIPS))
        rooted = torch.where(trunk.any(-1, keepdim=True), trunk, visible)[..., None]
        root_m = (xyz_m * rooted).sum(1) / rooted.sum(1)
        heading, scale = headings(xyz_m, visible), scales(xyz_m, visible, self.limb_m)
        joints = turned(xyz_m - root_m[:, None], heading[:, None]) / scale[:, None, None]
        return joints / self.spread, root_m, heading, scale

    def log_likelihood(self, xyz_m: Tensor, visible: Tensor, rtol: float = 1e-4) -> LogLikelihood:
        """log p(missing | visible) in nats for a density in 1/m^3 for every missing joint, of skeletons (N, J, 3) of which
        `visible` (N, J) are given."""
        data, _, _, scale = self.framed(xyz_m, visible)
        missing = ~visible
        found = log_likelihood(self._process(data, visible), data * missing[..., None], rtol=rtol, atol=rtol)
        still = 1.5 * math.log(2 * math.pi) * visible.sum(-1)  # what stands still counts as noise that is 0
        unit = (missing * self.spread.log().sum(-1)).sum(-1) + 3 * missing.sum(-1) * scale.log()
        return LogLikelihood(found.nats + still - unit, found.standard_error, found.latent, found.evaluations)

    def samples(self, xyz_m: Tensor, visible: Tensor, seed: int = 0, rtol: float = 1e-3) -> Tensor:
        """Skeletons (N, J, 3) in metres with the missing joints drawn from their posterior."""
        data, root_m, heading, scale = self.framed(xyz_m, visible)
        missing = (~visible)[..., None]
        process = self._process(data, visible)
        noise = torch.randn(data.shape, generator=torch.Generator().manual_seed(seed)) * missing

        def rates(t: float, state: object) -> object:
            where = torch.as_tensor(state).reshape(data.shape).to(data)
            with torch.no_grad():
                return process.velocity(where, torch.full((len(data),), t)).double().flatten().numpy()

        end, _ = solve(rates, noise.double().flatten().numpy(), (1.0, 0.0), rtol, rtol)  # type: ignore[arg-type]
        joints = torch.as_tensor(end).reshape(data.shape).to(data) * self.spread * scale[:, None, None]
        return torch.where(missing, turned(joints, heading[:, None], back=True) + root_m[:, None], xyz_m)

    def _process(self, data: Tensor, visible: Tensor) -> Process:
        """Straight lines; the states of the exact divergence come D at a time."""

        def predict(state: Tensor, t: Tensor) -> Tensor:
            times = len(state) // len(data)
            return self.velocity(state, t.to(state), data.repeat(times, 1, 1), visible.repeat(times, 1))

        return Process(RectifiedFlow(), predict, "flow")
