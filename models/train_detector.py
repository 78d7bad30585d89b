"""Training of the detector: warm-up / stable / decay schedule, EMA, exact resume after a kill, validation as it goes."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from models.curves import Meter, append_row
from models.detector import load_network
from models.detector_data import PoseSamples
from models.hourglass import StackedHourglass, build_hourglass
from models.losses import associative_embedding_loss, heatmap_loss
from models.photos import Photo, held_out_photos, read_photos
from models.skeleton import TOPOLOGIES
from models.train_config import TrainConfig, learning_rate, mixed_precision, tag_weight
from models.validate_detector import validation_report
from models.weights import load_tensors, save_tensors

__all__ = ["TrainConfig", "train"]

CURVE = ("step", "passes", "seconds", "learning_rate", "heatmap", "pull", "push", "images_per_s")


def train(config: TrainConfig, report: Callable[[str], None] = print) -> Path:
    """Train, or go on from `out`/checkpoint.safetensors when there is one; returns the path of the EMA weights.

    Raises ValueError for a configuration without sources, or one that does not fit the checkpoint.
    """
    if not config.sources:
        raise ValueError("train: expected at least one source folder (--data FOLDER=WEIGHT), got none")
    run = Run(config)
    run.resume(report)
    run.loop(report)
    return run.save_ema()


def detector_loss(
    outputs: list[tuple[Tensor, Tensor]], batch: Mapping[str, Tensor], config: TrainConfig, step: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Sum over the stacks of heatmap and tag losses; the parts (of the last stack) as detached scalars."""
    mask = batch["weight"] * (1 + config.foreground * batch["target"])
    weight, total, parts = tag_weight(step, config), torch.zeros((), device=mask.device), {}
    for heatmaps, tags in outputs:
        heat = heatmap_loss(heatmaps, batch["target"], mask)
        pull, push = associative_embedding_loss(tags, batch["joints"])
        total = total + heat + weight * (pull + push)
        parts = {"heatmap": heat.detach(), "pull": pull.detach(), "push": push.detach()}
    return total, parts


def load_sources(config: TrainConfig) -> tuple[list[list[Photo]], dict[str, list[str]]]:
    """Training photos per source, and the file names kept out per folder name."""
    topology = TOPOLOGIES[config.network.topology]
    photos, held = [], held_out_names(config)
    for source in config.sources:
        folder = Path(source.folder)
        found = [p for p in read_photos(folder, topology, held.get(folder.name, ())) if p.people]
        if not found:
            raise ValueError(f"{folder}: expected photos with labelled people, found none")
        photos.append(found)
    return photos, held


def held_out_names(config: TrainConfig) -> dict[str, list[str]]:
    """File names kept out of training, by folder name."""
    names = {}
    for source in config.sources:
        folder = Path(source.folder)
        if count := config.held_out.get(folder.name):
            names[folder.name] = held_out_photos(json.loads((folder / "annotations.json").read_text()), count)
    return names


def mean_pose(photos: Sequence[Sequence[Photo]]) -> NDArray[np.float64]:
    """(J, 2) mean joints of the labelled people in shares of their boxes: the baseline that sees no picture."""
    people = [p for group in photos for photo in group for p in photo.people]
    shares = np.stack([(p.xy_px - p.box[:2]) / np.maximum(p.box[2:], 1) for p in people])
    return np.asarray(np.nanmean(shares, axis=0))


class Run:
    """Everything that a checkpoint must hold to go on bit for bit: network, EMA, optimiser, step, random state."""

    def __init__(self, config: TrainConfig) -> None:
        from accelerate import Accelerator

        self.config = config
        self.out = Path(config.out)
        self.out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(config.seed)
        self.accelerator = Accelerator(cpu=config.device == "cpu", mixed_precision=mixed_precision(config))
        self.photos, self.held = load_sources(config)
        net = build_hourglass(config.network)
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimiser = torch.optim.AdamW(net.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True)
        self.net, self.optimiser = self.accelerator.prepare(net, optimiser)
        self.ema = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.step, self.seconds, self.stopping = 0, 0.0, False
        self.earlier: list[dict[str, Any]] = []  # the runs that made the weights this one began from

    @property
    def model(self) -> StackedHourglass:
        """The network without accelerate's wrapper."""
        model: StackedHourglass = self.accelerator.unwrap_model(self.net)
        return model

    @property
    def checkpoint(self) -> Path:
        """Where the run goes on from."""
        return self.out / "checkpoint.safetensors"

    def loader(self) -> DataLoader[Any]:
        """Batches from the present step on; sample i depends on i alone, so nothing else needs to be restored."""
        config = self.config
        samples = PoseSamples(self.photos, config.sources, config.view, TOPOLOGIES[config.network.topology], config.seed)
        order = range(self.step * config.batch, config.steps * config.batch)
        return DataLoader(
            samples, config.batch, sampler=order, num_workers=config.workers, worker_init_fn=_quiet_worker,
            prefetch_factor=4 if config.workers else None,
        )  # fmt: skip

    def loop(self, report: Callable[[str], None]) -> None:
        """Train until the last step, `seconds`, SIGTERM or SIGINT; the checkpoint is written each time."""
        begin, since, images, meter = time.monotonic(), time.monotonic(), 0, Meter()
        previous = _on_signals(self.stop)
        for batch in self.loader():
            meter.add(self.train_step(batch))
            images += self.config.batch
            if self.config.seconds is not None and time.monotonic() - begin > self.config.seconds:
                self.stopping = True
            last = self.stopping or self.step >= self.config.steps
            if last or self.step % self.config.checkpoint_every == 0:
                now = time.monotonic()
                self.seconds += now - since
                self.write_curve(meter, images / (now - since), report)
                self.save()
                since, images, meter = time.monotonic(), 0, Meter()
            if last or self.step % self.config.validate_every == 0:
                self.validate(report)
                since = time.monotonic()
            if last:
                break
        _restore_signals(previous)

    def train_step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One optimiser step; returns the parts of the loss."""
        batch = {name: tensor.to(self.accelerator.device) for name, tensor in batch.items()}
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, self.config)
        images = (batch["image"].float() / 255).contiguous(memory_format=torch.channels_last)
        loss, parts = detector_loss(self.net(images), batch, self.config, self.step)
        self.accelerator.backward(loss)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self._update_ema()
        return parts

    @torch.no_grad()
    def _update_ema(self) -> None:
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        state = self.model.state_dict()
        floating = [name for name, value in state.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.ema[n] for n in floating], [state[n] for n in floating], 1 - decay)

    def stop(self, *_: object) -> None:
        """End after the step in progress."""
        self.stopping = True

    def save(self) -> None:
        """Checkpoint, atomically: a kill during the write leaves the previous one."""
        tensors = {f"net.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
        tensors["random"] = torch.get_rng_state()
        network = asdict(self.config.network)
        save_tensors(self.checkpoint, tensors, {"step": self.step, "seconds": self.seconds, "network": network,
                                                "seed": self.config.seed, "batch": self.config.batch,
                                                "earlier": self.earlier})  # fmt: skip

    def resume(self, report: Callable[[str], None]) -> None:
        """Go on from the checkpoint of `out`, if there is one."""
        if not self.checkpoint.exists():
            self.begin()
            report(f"{self.out}: new run, {sum(map(len, self.photos))} photos, {mixed_precision(self.config)} precision")
            return
        tensors, about = load_tensors(self.checkpoint)
        for key, mine in (("network", asdict(self.config.network)), ("seed", self.config.seed), ("batch", self.config.batch)):
            if about[key] != mine:
                raise ValueError(
                    f"{self.checkpoint}: made with {key}={about[key]}, asked to go on with {mine}; use another folder"
                )
        self.model.load_state_dict(_part(tensors, "net."))
        self.ema = {k: v.to(self.accelerator.device) for k, v in _part(tensors, "ema.").items()}
        self._restore_optimiser(_part(tensors, "optimiser."))
        torch.set_rng_state(tensors["random"])
        self.step, self.seconds, self.earlier = about["step"], about["seconds"], about.get("earlier", [])
        report(f"{self.out}: going on at step {self.step} of {self.config.steps}")

    def begin(self) -> None:
        """Start from `begin_from`, where it is given: its weights, with the optimiser and the steps anew."""
        if self.config.begin_from is None:
            return
        trained, about = load_network(self.config.begin_from)
        if trained.config != self.config.network:
            raise ValueError(f"{self.config.begin_from}: expected {self.config.network} to begin from, found {trained.config}")
        self.model.load_state_dict(trained.state_dict())
        self.ema = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.earlier = [*about.get("earlier", []), {key: about[key] for key in ("step", "batch", "seconds", "sources")}]

    def _restore_optimiser(self, tensors: Mapping[str, Tensor]) -> None:
        """Moments go back in the memory layout of their parameters: the fused update walks both by raw position."""
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            index, key = name.split(".", 1)
            states.setdefault(int(index), {})[key] = value
        for parameter, state in zip(self.model.parameters(), (states[i] for i in sorted(states)), strict=True):
            for key, value in state.items():
                if value.shape == parameter.shape:
                    state[key] = torch.empty_like(parameter).copy_(value)
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": states})

    def write_curve(self, meter: Meter, speed: float, report: Callable[[str], None]) -> None:
        """One line of curve.csv, reported too."""
        row = {
            "step": self.step, "passes": self.step * self.config.batch, "seconds": round(self.seconds, 1),
            "learning_rate": learning_rate(self.step, self.config), **meter.means(), "images_per_s": round(speed, 2),
        }  # fmt: skip
        append_row(self.out / "curve.csv", CURVE, row)
        report(" ".join(f"{k}={v:.5g}" if isinstance(v, float) else f"{k}={v}" for k, v in row.items()))

    def ema_model(self) -> StackedHourglass:
        """The averaged network, in evaluation mode."""
        net = build_hourglass(self.config.network)
        net.load_state_dict(self.ema)
        return net.eval()

    def validate(self, report: Callable[[str], None]) -> None:
        """Progress figures and pictures of the EMA network."""
        validation_report(self.ema_model(), self.config, self.held, self.step, self.out, report)

    def save_ema(self) -> Path:
        """EMA weights with what is needed to build the network again."""
        about = {
            "network": asdict(self.config.network), "topology": self.config.network.topology, "step": self.step,
            "batch": self.config.batch, "seed": self.config.seed, "seconds": self.seconds, "earlier": self.earlier,
            "sources": {Path(s.folder).name: s.weight for s in self.config.sources}, "held_out": self.held,
            "mean_pose": mean_pose(self.photos).round(4).tolist(),
        }  # fmt: skip
        save_tensors(self.out / "detector.safetensors", self.ema, about)
        return self.out / "detector.safetensors"


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _quiet_worker(_: int) -> None:
    os.nice(5)  # the trainer comes first
    torch.set_num_threads(1)


def _on_signals(handler: Callable[..., None]) -> dict[int, Any]:
    """Stop cleanly on SIGTERM and SIGINT (main thread only)."""
    try:
        return {number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # not in the main thread: the caller handles signals
        return {}


def _restore_signals(previous: Mapping[int, Any]) -> None:
    for number, handler in previous.items():
        signal.signal(number, handler)
