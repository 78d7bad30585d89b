"""What a pose prior says of skeletons: how likely each is, which joint surprises most, where missing joints would be.

numpy in, numpy out; missing joints are NaN. The surprise of a joint is the squared length of its latent given all other joints:
for people it follows chi-square with 3 degrees of freedom, whatever the joint is free to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.canonical_pose import scales
from models.plausible import PEOPLE, Usual
from models.prior import JOINTS, LEAST_SEEN, ORDER, RANK, PosePrior, PriorConfig, all_others, in_order
from models.shipped import weights_path
from models.weights import WeightsError, load_tensors

Array = NDArray[np.float64]

# Skeletons at once: what fits a core's cache. Suspects are looked at without each joint in turn, 17 times as much.
BLOCK, SUSPECT_BLOCK = 256, 16
# Joints a skeleton must have to be judged: fewer say nothing of each other.
LEAST_JOINTS = 6
# Surprise beyond this is all the same: one joint that cannot be outweighs any number that are odd.
MOST_SURPRISE = 200.0
DRAWS = 64
# Posteriors are too narrow for movements unlike all that was learned from. A second training that was not shown spinkick,
# walk, crawl, dance_a and spin either covered 89.6 % of their missing joints with 95 % ellipsoids, 95.3 % with latents so wide.
WIDER = 1.2


@dataclass(frozen=True, eq=False)
class Scores:
    """nats (N,): mean log p of a joint given those before it, per unit of body size cubed; latent (N, J, 3): of each joint
    given all others, N(0, I) for people. NaN where too few joints are known, and for missing joints."""

    nats: Array
    latent: NDArray[np.float32]

    @property
    def surprise(self) -> Array:
        """(N, J) of each joint given all others."""
        return PEOPLE.surprise(self.latent)


@dataclass(frozen=True, eq=False)
class Posterior:
    """Missing joints given those that were seen: mean_m (N, J, 3), covariance_m2 (N, J, 3, 3), 0 for joints that were seen."""

    mean_m: Array
    covariance_m2: Array


@dataclass(frozen=True, eq=False)
class SkeletonPrior:
    """A trained coupling flow."""

    net: PosePrior

    def score(self, xyz_m: Array) -> Scores:
        """Likelihoods and latents of skeletons (N, J, 3) in metres, z up, NaN for missing joints."""
        nats, latent = np.zeros(len(xyz_m)), np.zeros(xyz_m.shape, np.float32)
        for some in _blocks(len(xyz_m), BLOCK):
            nats[some], latent[some] = self._score(xyz_m[some])
        return Scores(nats, latent)

    def blamed(self, xyz_m: Array, usual: Usual = PEOPLE) -> NDArray[np.int64]:
        """(N,) the joint most to blame: surprising by itself, while without it the others surprise least; -1 where not judged.

        usual: what surprises are measured by, `plausible.usual_latents` of the session.
        """
        relief = np.minimum(usual.surprise(self.score(xyz_m).latent), MOST_SURPRISE)
        for some in _blocks(len(xyz_m), SUSPECT_BLOCK):
            relief[some] -= self._left(xyz_m[some], usual)
        judged = np.isfinite(relief).any(1)
        return np.where(judged, np.where(np.isfinite(relief), relief, -np.inf).argmax(1), -1)

    def posterior(self, xyz_m: Array, draws: int = DRAWS, seed: int = 0) -> Posterior:
        """Mean and covariance of the joints that are NaN, given the others, of skeletons (N, J, 3) with LEAST_SEEN and more."""
        drawn_m = self.samples(xyz_m, draws, seed)
        mean_m = drawn_m.mean(0)
        away_m = drawn_m - mean_m
        return Posterior(mean_m, np.einsum("dnja,dnjb->njab", away_m, away_m) / (draws - 1))

    def each(self, xyz_m: Array, draws: int = DRAWS, seed: int = 0) -> Posterior:
        """Where each known joint would be thought to be if it alone were missing: mean and covariance; NaN where it is not
        known, or too little else is."""
        known = np.isfinite(xyz_m).all(-1)
        asked = known & (known.sum(1) >= LEAST_JOINTS)[:, None]
        row, joint = np.nonzero(asked)
        without = xyz_m[row].copy()
        without[np.arange(len(row)), joint] = np.nan
        drawn = self.posterior(without, draws, seed) if len(row) else Posterior(without, np.zeros((*without.shape, 3)))
        mean_m, covariance_m2 = np.full(xyz_m.shape, np.nan), np.full((*xyz_m.shape, 3), np.nan)
        mean_m[asked] = drawn.mean_m[np.arange(len(row)), joint]
        covariance_m2[asked] = drawn.covariance_m2[np.arange(len(row)), joint]
        return Posterior(mean_m, covariance_m2)

    def samples(self, xyz_m: Array, draws: int, seed: int = 0) -> Array:
        """(D, N, J, 3) skeletons whose NaN joints are drawn from their posterior. Raises ValueError for skeletons with fewer
        than LEAST_SEEN joints."""
        known = np.isfinite(xyz_m).all(-1)
        if (known.sum(1) < LEAST_SEEN).any():
            raise ValueError(f"samples: expected {LEAST_SEEN} joints and more in every skeleton, got {known.sum(1).min()}")
        draw = torch.Generator().manual_seed(seed)
        out = np.repeat(xyz_m[None], draws, 0)
        for some in _blocks(len(xyz_m), BLOCK):
            out[:, some] = self._drawn(xyz_m[some], draws, draw)
        return out

    def _drawn(self, xyz_m: Array, draws: int, draw: torch.Generator) -> Array:
        at_m, shown, middle_m = _tensors(xyz_m)
        at_m, shown = at_m.repeat(draws, 1, 1), shown.repeat(draws, 1)
        with torch.inference_mode():
            for joint in ORDER:
                rows = ~shown[:, joint]
                if rows.any():
                    latent = WIDER * torch.randn(int(rows.sum()), 3, generator=draw)
                    at_m[rows, joint] = self.net.place(at_m[rows], shown[rows], joint, latent)
                    shown[rows, joint] = True
        drawn_m = at_m.numpy().astype(np.float64).reshape(draws, *xyz_m.shape) + middle_m
        return np.where(np.isfinite(xyz_m), xyz_m, drawn_m)

    def _score(self, xyz_m: Array) -> tuple[Array, NDArray[np.float32]]:
        at_m, shown, _ = _tensors(xyz_m)
        size = scales(at_m, shown, self.net.limb_m)
        # Where every joint is known all skeletons see the same: the network then need not be told one by one.
        seen = shown[:1] if shown.all() else shown
        with torch.inference_mode():
            nats, _ = self.net.steps(at_m, in_order(seen, torch.zeros_like(seen)))
            _, latent = self.net.steps(at_m, all_others(seen))
        place = (shown[:, None] & (RANK[:, None] > RANK)[None]).sum(-1)
        scored = shown & (place >= LEAST_SEEN)
        mean = ((nats.T + 3 * size.log()[:, None]) * scored).sum(1) / scored.sum(1)
        judged = shown.sum(1) >= LEAST_JOINTS
        latent = torch.where((shown & judged[:, None])[..., None], latent.transpose(0, 1), torch.nan)
        return torch.where(judged, mean, torch.nan).numpy(), latent.numpy()

    def _left(self, xyz_m: Array, usual: Usual) -> Array:
        """(N, J) how much all others surprise together without a joint."""
        at_m, shown, _ = _tensors(xyz_m)
        without = shown[:, None] & ~torch.eye(JOINTS, dtype=torch.bool)
        with torch.inference_mode():
            _, latent = self.net.steps(at_m.repeat_interleave(JOINTS, 0), all_others(without.flatten(0, 1)))
        surprise = np.minimum(usual.surprise(latent.transpose(0, 1).numpy()), MOST_SURPRISE)
        return np.asarray(np.where(without.numpy(), surprise.reshape(len(at_m), JOINTS, JOINTS), 0.0).sum(-1))


def load_skeleton_prior(weights: str | Path = "prior") -> SkeletonPrior:
    """The shipped prior ("prior"), or a .safetensors file. Raises WeightsError for weights of anything but a coupling flow."""
    path = weights_path(weights)
    tensors, about = load_tensors(path)
    if about.get("kind") != "coupling":
        raise WeightsError(f"{path}: expected a pose prior of kind coupling, found {about.get('kind') or 'other weights'}")
    net = PosePrior(PriorConfig(**about["network"]))
    net.load_state_dict({name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()})
    return SkeletonPrior(net.requires_grad_(False).eval())


def _blocks(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]


def _tensors(xyz_m: Array) -> tuple[Tensor, Tensor, Array]:
    """Joints about the middle of what is known, zero where unknown; which are known; that middle (N, 1, 3) in metres."""
    known: NDArray[np.bool_] = np.asarray(np.isfinite(xyz_m).all(-1))
    filled = np.where(known[..., None], xyz_m, 0.0)
    middle_m = filled.sum(1, keepdims=True) / np.maximum(known.sum(1), 1)[:, None, None]
    at_m = np.where(known[..., None], filled - middle_m, 0.0)
    return torch.from_numpy(at_m).float(), torch.from_numpy(known), middle_m
