"""Configuration and schedules of the detector's training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from models.detector_data import ViewConfig
from models.hourglass import HourglassConfig
from models.photos import Source


@dataclass(frozen=True)
class TrainConfig:
    """One training run. Everything but `steps`, `sources`, `seconds` and the device must stay the same on resume.

    steps: planned total; the learning rate warms up over `warmup`, stays, and falls linearly to zero over the last
    `decay` share, so a longer or shorter total can be given on resume. held_out: photos kept out, by folder name.
    seconds: stop cleanly (checkpoint written) after this long; None runs to the end. begin_from: trained weights (a name or
    file) that a new run starts with instead of random ones.
    """

    out: str = "runs/detector"
    begin_from: str | None = None
    sources: tuple[Source, ...] = ()
    validation: tuple[Source, ...] = ()
    held_out: Mapping[str, int] = field(default_factory=lambda: {"stanford40_pose": 500})
    network: HourglassConfig = field(default_factory=HourglassConfig)
    view: ViewConfig = field(default_factory=ViewConfig)
    steps: int = 20_000
    batch: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup: int = 500
    decay: float = 0.2
    ema: float = 0.9995
    foreground: float = 2.0  # extra loss weight on top of a Gaussian
    tag_weight: float = 1e-3  # Newell 2017: 1e-3 pull + 1e-3 push
    tag_ramp: tuple[int, int] = (1500, 4000)  # heatmaps first, tags after
    seed: int = 0
    workers: int = 0
    device: str = "cpu"
    precision: str = "auto"  # auto | fp32 | bf16
    checkpoint_every: int = 250
    validate_every: int = 1000
    seconds: float | None = None


def learning_rate(step: int, config: TrainConfig) -> float:
    """Warm-up / stable / decay: linear up, flat, linear to zero over the last `decay` share of `steps`."""
    left = (config.steps - step) / max(config.decay * config.steps, 1)
    return config.learning_rate * min(1.0, (step + 1) / max(config.warmup, 1), max(left, 0.0))


def tag_weight(step: int, config: TrainConfig) -> float:
    """Weight of pull and push: 0 until the ramp begins, then linear to `tag_weight`; whole at once on trained weights."""
    begin, end = config.tag_ramp if config.begin_from is None else (0, 0)
    return config.tag_weight * float(np.clip((step - begin) / max(end - begin, 1), 0, 1))


def mixed_precision(config: TrainConfig) -> str:
    """accelerate's name of the precision: bf16 where the processor multiplies it natively, otherwise "no"."""
    if config.precision == "auto":
        if config.device == "cpu":
            return "bf16" if torch.cpu._is_avx512_bf16_supported() else "no"
        return "bf16" if torch.cuda.is_bf16_supported() else "no"
    return {"fp32": "no", "bf16": "bf16"}[config.precision]
