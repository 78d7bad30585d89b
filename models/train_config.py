"""Configuration and schedules of the detector's training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from models.detector_data import ViewConfig
from models.hourglass import HourglassConfig
from models.photos import Source

if TYPE_CHECKING:
    from accelerate import Accelerator

OPTIMIZERS = ("muon", "adamw")
PRECISIONS = {"auto": "", "fp32": "no", "bf16": "bf16"}  # in accelerate's words; "auto" asks the device


@dataclass(frozen=True)
class TrainConfig:
    """One training run. Everything but `steps`, `sources`, `seconds` and the device must stay the same on resume.

    steps: planned total. schedule: the learning rate warms up over `warmup`; "decay" then stays and falls linearly to zero
    over the last `decay` share, so a longer or shorter total can be given on resume; "cosine" falls by half a cosine wave
    all the way, so the total must stay. held_out: photos kept out, by folder name. cutouts: folder of synthetic people who
    are pasted into the share `view.paste` of the views. batch: images per step, over all processes together. seconds: stop
    cleanly (checkpoint written) after this long; None runs to the end. begin_from: trained weights (a name or file) that a
    new run starts with instead of random ones. decoded: every photo is decoded once and stays in memory as pixels, from
    which views are cut faster. Raises ValueError for settings that do not fit together.
    """

    out: str = "runs/detector"
    begin_from: str | None = None
    sources: tuple[Source, ...] = ()
    validation: tuple[Source, ...] = ()
    held_out: Mapping[str, int] = field(default_factory=lambda: {"stanford40_pose": 500})
    cutouts: str | None = None
    network: HourglassConfig = field(default_factory=HourglassConfig)
    view: ViewConfig = field(default_factory=ViewConfig)
    steps: int = 20_000
    batch: int = 16
    learning_rate: float = 2e-3
    optimizer: str = "muon"  # muon | adamw
    weight_decay: float = 0.01
    warmup: int = 500
    schedule: str = "decay"  # decay | cosine
    decay: float = 0.2
    ema: float = 0.9995
    foreground: float = 2.0  # extra loss weight on top of a Gaussian
    tag_weight: float = 1e-3  # Newell 2017: 1e-3 pull + 1e-3 push
    tag_ramp: tuple[int, int] = (1500, 4000)  # heatmaps first, tags after
    seed: int = 0
    workers: int = 0
    decoded: bool = False
    device: str = "cpu"
    precision: str = "auto"  # auto | fp32 | bf16
    checkpoint_every: int = 250
    validate_every: int = 1000
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name, known in (("schedule", SCHEDULES), ("precision", PRECISIONS), ("optimizer", OPTIMIZERS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}: expected one of {', '.join(known)}, got {getattr(self, name)!r}")
        if self.view.size_px % self.network.stride_px:
            raise ValueError(f"size: expected a multiple of {self.network.stride_px} px, which {self.network.depth} halvings "
                             f"after the stem ask for, got {self.view.size_px}")  # fmt: skip
        if (self.view.paste > 0) != (self.cutouts is not None):
            raise ValueError(f"pasted people: expected a share above 0 and a folder of cut-outs, or neither; got "
                             f"{self.view.paste} and {self.cutouts}")  # fmt: skip


def learning_rate(step: int, config: TrainConfig) -> float:
    """The rate of a step: linear up over `warmup` under the curve of the schedule."""
    return config.learning_rate * min((step + 1) / max(config.warmup, 1), SCHEDULES[config.schedule](step, config))


def _decay(step: int, config: TrainConfig) -> float:
    """Flat, then linear to zero over the last `decay` share of `steps`."""
    return float(np.clip((config.steps - step) / max(config.decay * config.steps, 1), 0, 1))


def _cosine(step: int, config: TrainConfig) -> float:
    """Half a cosine wave from the end of the warm-up to zero (Loshchilov 2017, equation 5 without restarts)."""
    done = (step - config.warmup) / max(config.steps - config.warmup, 1)
    return float((1 + np.cos(np.pi * np.clip(done, 0, 1))) / 2)


SCHEDULES = {"decay": _decay, "cosine": _cosine}


def tag_weight(step: int, config: TrainConfig) -> float:
    """Weight of pull and push: 0 until the ramp begins, then linear to `tag_weight`; whole at once on trained weights."""
    begin, end = config.tag_ramp if config.begin_from is None else (0, 0)
    return config.tag_weight * float(np.clip((step - begin) / max(end - begin, 1), 0, 1))


def make_accelerator(precision: str, device: str) -> Accelerator:
    """accelerate's view of the devices, for one training. It keeps one precision for a process; what an earlier training of
    this process chose is forgotten."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()
    return Accelerator(cpu=device == "cpu", mixed_precision=mixed_precision(precision, device))


def mixed_precision(precision: str, device: str) -> str:
    """accelerate's name of one of PRECISIONS: auto is bf16 where the device multiplies it natively, otherwise "no"."""
    if precision == "auto":
        if device == "cpu":
            return "bf16" if torch.cpu._is_avx512_bf16_supported() else "no"
        return "bf16" if torch.cuda.is_bf16_supported() else "no"
    return PRECISIONS[precision]
