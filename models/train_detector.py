"""Training of the detector: EMA, exact resume after a kill, validation as it goes, one process or several.

Several processes (`torchrun --nproc_per_node N`) share the samples of a step and average their gradients; the main one alone
writes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from models.cuda_graph import capture
from models.curves import Meter, append_row
from models.detector import load_network
from models.detector_data import PoseSamples
from models.errors import DataError
from models.hourglass import StackedHourglass, build_hourglass
from models.losses import detector_loss
from models.optimizers import make_optimizer
from models.pasted import read_cutouts
from models.skeleton import TOPOLOGIES
from models.stop_signals import Stopping, stop_signals
from models.train_config import TrainConfig, learning_rate, make_accelerator, tag_weight
from models.training_sets import load_sources, mean_pose
from models.validate_detector import validation_report, validation_sets
from models.weights import load_tensors, save_tensors

__all__ = ["TrainConfig", "train"]

CURVE = ("step", "passes", "seconds", "learning_rate", "heatmap", "pull", "push", "images_per_s")


def train(config: TrainConfig, report: Callable[[str], None] = print) -> Path:
    """Train, or go on from `out`/checkpoint.safetensors when there is one; returns the path of the EMA weights.

    Raises ValueError for a configuration without sources, one that does not fit the checkpoint, or a batch that the
    processes cannot share.
    """
    if not config.sources:
        raise ValueError("train: expected at least one source folder (--data FOLDER=WEIGHT), got none")
    run = Run(config)
    if not run.accelerator.is_main_process:
        report = _say_nothing
    run.resume(report)
    run.loop(report)
    return run.save_ema()


class Run:
    """Everything that a checkpoint must hold to go on bit for bit: network, EMA, optimiser, step, random state."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.out = Path(config.out)
        self.out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(config.seed)
        self.accelerator = make_accelerator(config.precision, config.device)
        if config.batch % self.accelerator.num_processes:
            raise ValueError(
                f"batch: expected a multiple of the {self.accelerator.num_processes} processes, got {config.batch}"
            )
        if self.on_gpu:
            torch.set_float32_matmul_precision("high")  # TF32 for what autocast leaves in 32 bits
            torch.backends.cudnn.benchmark = True  # every step has the same shapes
        self.photos, self.held = load_sources(config)
        self.watched = validation_sets(config, self.held)
        self.cutouts = read_cutouts(Path(config.cutouts), TOPOLOGIES[config.network.topology]) if config.cutouts else []
        net = build_hourglass(config.network)
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.net, self.optimiser = self.accelerator.prepare(net, make_optimizer(net.parameters(), config))
        if self.on_gpu and self.accelerator.num_processes == 1 and not config.network.checkpoint_stacks:
            capture(self.net, self.images(torch.zeros(config.batch, 3, config.view.size_px, config.view.size_px)))
        self.ema = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.step, self.seconds, self.stopping = 0, 0.0, Stopping(config.seconds)
        self.earlier: list[dict[str, Any]] = []  # the runs that made the weights this one began from

    @property
    def model(self) -> StackedHourglass:
        """The network without accelerate's wrapper."""
        model: StackedHourglass = self.accelerator.unwrap_model(self.net)
        return model

    @property
    def on_gpu(self) -> bool:
        """Whether the network is on a GPU, which steps are queued for and batches pinned."""
        return self.accelerator.device.type == "cuda"

    @property
    def checkpoint(self) -> Path:
        """Where the run goes on from."""
        return self.out / "checkpoint.safetensors"

    def loader(self) -> DataLoader[Any]:
        """This process's share of each batch from the present step on; sample i depends on i alone, so nothing else needs to
        be restored, and the batches of a step are the same however many processes share them."""
        config, processes = self.config, self.accelerator.num_processes
        topology = TOPOLOGIES[config.network.topology]
        samples = PoseSamples(self.photos, config.sources, config.view, topology, config.seed, cutouts=self.cutouts)
        order = np.arange(self.step * config.batch, config.steps * config.batch).reshape(
            -1, processes, config.batch // processes
        )
        return DataLoader(
            samples, config.batch // processes, sampler=order[:, self.accelerator.process_index].ravel().tolist(),
            num_workers=config.workers, worker_init_fn=_quiet_worker, prefetch_factor=4 if config.workers else None,
            pin_memory=self.on_gpu,
        )  # fmt: skip

    def loop(self, report: Callable[[str], None]) -> None:
        """Train until the last step, `seconds`, SIGTERM or SIGINT; the checkpoint is written each time."""
        with stop_signals(self.stopping.stop):
            self._steps(report)

    def _steps(self, report: Callable[[str], None]) -> None:
        since, images, meter = time.monotonic(), 0, Meter()
        for batch in _told_plainly(self.loader()):
            meter.add(self.train_step(batch))
            images += self.config.batch
            last = self.stopping.everywhere(self.accelerator) or self.step >= self.config.steps
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

    def train_step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One optimiser step; returns the parts of the loss."""
        batch = {name: tensor.to(self.accelerator.device, non_blocking=True).float() for name, tensor in batch.items()}
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.step, self.config)
        weight = tag_weight(self.step, self.config)
        loss, parts = detector_loss(self.net(self.images(batch["image"])), batch, self.config.foreground, weight)
        self.accelerator.backward(loss)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self._update_ema()
        return parts

    def images(self, pixels: Tensor) -> Tensor:
        """The network's input from pixels (B, 3, S, S) in 0..255."""
        return (pixels.to(self.accelerator.device) / 255).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def _update_ema(self) -> None:
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        state = self.model.state_dict()
        floating = [name for name, value in state.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.ema[n] for n in floating], [state[n] for n in floating], 1 - decay)

    def save(self) -> None:
        """Checkpoint, atomically: a kill during the write leaves the previous one."""
        tensors = {f"net.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
        tensors["random"] = torch.get_rng_state()
        network = asdict(self.config.network)
        self._write(self.checkpoint, tensors, {"step": self.step, "seconds": self.seconds, "network": network,
                                               "seed": self.config.seed, "batch": self.config.batch,
                                               "optimizer": self.config.optimizer, "earlier": self.earlier})  # fmt: skip

    def _write(self, path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        """The main process writes; the others wait, so that nobody goes on from, or returns, a file that is not there yet."""
        if self.accelerator.is_main_process:
            save_tensors(path, tensors, about)
        self.accelerator.wait_for_everyone()

    def resume(self, report: Callable[[str], None]) -> None:
        """Go on from the checkpoint of `out`, if there is one."""
        if not self.checkpoint.exists():
            self.begin()
            photos, precision = sum(map(len, self.photos)), self.accelerator.mixed_precision
            report(f"{self.out}: new run, {photos} photos, {precision} precision")
            return
        tensors, about = load_tensors(self.checkpoint)
        network = asdict(self.config.network)
        about["network"]["checkpoint_stacks"] = network["checkpoint_stacks"]  # a matter of memory, not of results
        about.setdefault("optimizer", "adamw")  # the only one before it was recorded
        kept = {"network": network, "seed": self.config.seed, "batch": self.config.batch, "optimizer": self.config.optimizer}
        for key, mine in kept.items():
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
        if replace(trained.config, checkpoint_stacks=self.config.network.checkpoint_stacks) != self.config.network:
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
        """One line of curve.csv, reported too; the losses are those of the main process's share."""
        if not self.accelerator.is_main_process:
            return
        row = {
            "step": self.step, "passes": self.step * self.config.batch, "seconds": round(self.seconds, 1),
            "learning_rate": learning_rate(self.step, self.config), **meter.means(), "images_per_s": round(speed, 2),
        }  # fmt: skip
        append_row(self.out / "curve.csv", CURVE, row)
        report(" ".join(f"{k}={v:.5g}" if isinstance(v, float) else f"{k}={v}" for k, v in row.items()))

    def ema_model(self) -> StackedHourglass:
        """The averaged network, in evaluation mode, on the device of the training."""
        net = build_hourglass(self.config.network)
        net.load_state_dict(self.ema)
        return net.to(self.accelerator.device).eval()

    def validate(self, report: Callable[[str], None]) -> None:
        """Progress figures and pictures of the EMA network."""
        if self.accelerator.is_main_process:
            validation_report(self.ema_model(), self.config, self.watched, self.step, self.out, report)

    def save_ema(self) -> Path:
        """EMA weights with what is needed to build the network again."""
        about = {
            "network": asdict(self.config.network), "topology": self.config.network.topology, "step": self.step,
            "batch": self.config.batch, "seed": self.config.seed, "seconds": self.seconds, "earlier": self.earlier,
            "sources": {Path(s.folder).name: s.weight for s in self.config.sources}, "held_out": self.held,
            "mean_pose": mean_pose(self.photos).round(4).tolist(),
        }  # fmt: skip
        if self.config.cutouts:
            about["pasted"] = {Path(self.config.cutouts).name: self.config.view.paste}
        self._write(self.out / "detector.safetensors", self.ema, about)
        return self.out / "detector.safetensors"


def _told_plainly(batches: Iterable[Any]) -> Iterator[Any]:
    """Batches as they come; what is wrong with a photo reaches us from a worker below its traceback, as text."""
    try:
        yield from batches
    except DataError as error:
        raise DataError(str(error).strip().splitlines()[-1].removeprefix(f"{DataError.__module__}.DataError: ")) from error


def _say_nothing(_: str) -> None:
    """What the processes beside the main one report."""


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _quiet_worker(_: int) -> None:
    os.nice(5)  # the trainer comes first
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
