"""Training of a pose prior: skeletons drawn as they are needed, exact resume after a kill, one core is enough."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.curves import Meter, append_row
from models.flow_matching_prior import ContinuousConfig, ContinuousPrior
from models.prior import JOINTS, LEAST_SEEN, PosePrior, PriorConfig, all_others, in_order
from models.prior_masks import any_seen, few_missing
from models.prior_motion import Crowd
from models.stop_signals import Stopping, stop_signals
from models.weights import load_tensors, save_tensors

KINDS = ("coupling", "continuous")
CURVE = ("step", "skeletons", "seconds", "learning_rate", "loss")
LOOKED_AT = 20_000  # skeletons that lengths and spreads are taken from
NEVER_BELOW = -60.0  # nats: a joint that cannot be says no more than this while learning


@dataclass(frozen=True)
class PriorTraining:
    """One run; `steps` must stay on resume, for the learning rate falls as a cosine to zero. batch: skeletons a step.

    real: share of the skeletons that come from sessions, where there are any. Raises ValueError for an unknown kind.
    """

    out: str = "runs/prior"
    kind: str = "coupling"
    steps: int = 6000
    batch: int = 1024
    learning_rate: float = 3e-3
    warmup: int = 100
    real: float = 0.3
    seed: int = 0
    seconds: float | None = None
    checkpoint_every: int = 250

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {self.kind!r}")


def make_prior(kind: str, network: Mapping[str, Any]) -> PosePrior | ContinuousPrior:
    """An untrained prior of KINDS."""
    return PosePrior(PriorConfig(**network)) if kind == "coupling" else ContinuousPrior(ContinuousConfig(**network))


def train(
    config: PriorTraining, crowd: Crowd, about: Mapping[str, Any], real_m: NDArray[np.float64] | None = None,
    report: Callable[[str], None] = print,
) -> Path:  # fmt: skip
    """Train, or go on from `out`/checkpoint.safetensors; returns the path of the weights. real_m (M, J, 3): whole skeletons of
    sessions, z up. about: what the card is to say of the data, JSON-able."""
    run = Run(config, crowd, real_m)
    run.resume(report)
    with stop_signals(run.stopping.stop):
        run.loop(report)
    path = run.out / "prior.safetensors"
    save_tensors(path, run.net.state_dict(), {**run.recorded(), **about})
    return path


class Run:
    """What a checkpoint must hold to go on bit for bit: network, optimiser and step; data and masks follow from the step."""

    def __init__(self, config: PriorTraining, crowd: Crowd, real_m: NDArray[np.float64] | None) -> None:
        torch.manual_seed(config.seed)
        self.config, self.crowd, self.real_m, self.out = config, crowd, real_m, Path(config.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.net = make_prior(config.kind, {})
        self.net.look(torch.from_numpy(crowd.skeletons(np.random.default_rng(config.seed), LOOKED_AT)).float())
        self.optimiser = torch.optim.AdamW(self.net.parameters(), config.learning_rate, weight_decay=1e-3)
        self.step, self.seconds, self.stopping = 0, 0.0, Stopping(config.seconds)

    def loop(self, report: Callable[[str], None]) -> None:
        """Train until the last step, `seconds`, SIGTERM or SIGINT; the checkpoint is written each time."""
        since, meter = time.monotonic(), Meter()
        while self.step < self.config.steps and not self.stopping.told:
            meter.add({"loss": self.train_step()})
            self.stopping.told |= self.stopping.deadline is not None and time.monotonic() > self.stopping.deadline
            last = self.stopping.told or self.step == self.config.steps
            if last or self.step % self.config.checkpoint_every == 0:
                self.seconds, since = self.seconds + time.monotonic() - since, time.monotonic()
                self.save()
                row = {"step": self.step, "skeletons": self.step * self.config.batch, "seconds": round(self.seconds, 1),
                       "learning_rate": self.rate(), **meter.means()}  # fmt: skip
                append_row(self.out / "curve.csv", CURVE, row)
                report(" ".join(f"{k}={v:.5g}" for k, v in row.items()))
                meter = Meter()

    def rate(self) -> float:
        """Linear up over `warmup`, then half a cosine wave down to zero."""
        up = min((self.step + 1) / self.config.warmup, 1.0)
        return float(self.config.learning_rate * up * (1 + np.cos(np.pi * min(self.step / self.config.steps, 1.0))) / 2)

    def train_step(self) -> Tensor:
        """One optimiser step; returns the loss."""
        rng = np.random.default_rng((self.config.seed, self.step))
        loss = LOSSES[self.config.kind](self.net, self.batch(rng), rng)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        return loss.detach()

    def batch(self, rng: np.random.Generator) -> Tensor:
        """Skeletons (B, J, 3), those of sessions among them."""
        real = 0 if self.real_m is None else round(self.config.real * self.config.batch)
        xyz_m = self.crowd.skeletons(rng, self.config.batch - real)
        if self.real_m is not None:
            xyz_m = np.concatenate([xyz_m, self.real_m[rng.integers(len(self.real_m), size=real)]])
            xyz_m = xyz_m[rng.permutation(len(xyz_m))]
        return torch.from_numpy(xyz_m - xyz_m.mean(1, keepdims=True)).float()

    def recorded(self) -> dict[str, Any]:
        """What weights and checkpoints say of themselves."""
        return {"kind": self.config.kind, "network": asdict(self.net.config), "step": self.step, "steps": self.config.steps,
                "batch": self.config.batch, "seed": self.config.seed, "seconds": round(self.seconds, 1)}  # fmt: skip

    def save(self) -> None:
        """Checkpoint, atomically: a kill during the write leaves the previous one."""
        tensors = {f"net.{k}": v for k, v in self.net.state_dict().items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{k}": v for k, v in state.items()}
        save_tensors(self.out / "checkpoint.safetensors", tensors, self.recorded())

    def resume(self, report: Callable[[str], None]) -> None:
        """Go on from the checkpoint of `out`, if there is one. Raises ValueError where it is another run's."""
        path = self.out / "checkpoint.safetensors"
        if not path.exists():
            report(f"{self.out}: new run, {sum(p.numel() for p in self.net.parameters())} parameters")
            return
        tensors, about = load_tensors(path)
        for key, mine in self.recorded().items():
            if key not in ("step", "seconds") and about[key] != mine:
                raise ValueError(f"{path}: made with {key}={about[key]}, asked to go on with {mine}; use another folder")
        self.net.load_state_dict({k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")})
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, index, key = name.split(".")
                states.setdefault(int(index), {})[key] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": states})
        self.step, self.seconds = about["step"], about["seconds"]
        report(f"{self.out}: going on at step {self.step} of {self.config.steps}")


def _coupling_loss(net: PosePrior, xyz_m: Tensor, rng: np.random.Generator) -> Tensor:
    """Mean -log p of a joint: a quarter of the skeletons each with all others seen, those before, all but a few, and any."""
    whole = torch.ones(1, JOINTS, dtype=torch.bool)
    parts = xyz_m.chunk(4)
    few, some = few_missing(rng, len(parts[2]))[None], any_seen(rng, len(parts[3]))[None]
    sets = (all_others(whole), in_order(whole, ~whole), few.expand(JOINTS, -1, -1), some.expand(JOINTS, -1, -1))
    return torch.stack([_mean_loss(net, part, seen) for part, seen in zip(parts, sets, strict=True)]).mean()


def _mean_loss(net: PosePrior, xyz_m: Tensor, visible: Tensor) -> Tensor:
    nats, _ = net.steps(xyz_m, visible)
    asked = ~visible.diagonal(dim1=0, dim2=2).T & (visible.sum(-1) >= LEAST_SEEN)
    return -(nats.clamp(min=NEVER_BELOW) * asked).sum() / asked.expand_as(nats).sum()


def _continuous_loss(net: ContinuousPrior, xyz_m: Tensor, rng: np.random.Generator) -> Tensor:
    """The flow-matching error: a quarter of the skeletons each with the hips seen, the trunk, all but a few, and any."""
    hips = torch.zeros(len(xyz_m) // 4, JOINTS, dtype=torch.bool)
    hips[:, [11, 12]] = True
    trunk = hips.clone()
    trunk[:, [5, 6]] = True
    rest = len(xyz_m) - 2 * len(hips)
    few, some = few_missing(rng, rest // 2), any_seen(rng, rest - rest // 2)
    noise = torch.from_numpy(rng.standard_normal(xyz_m.shape)).float()
    t = torch.from_numpy(rng.random(len(xyz_m))).float()
    return net.matching_error(xyz_m, torch.cat([hips, trunk, few, some]), noise, t)


LOSSES: dict[str, Callable[[Any, Tensor, np.random.Generator], Tensor]] = {
    "coupling": _coupling_loss,
    "continuous": _continuous_loss,
}
