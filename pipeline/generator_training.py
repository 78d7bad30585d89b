"""Training the generator, or a ControlNet beside one, from labelled images."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from models.diffusion.base import load_base
from models.diffusion.controlnet import load_generator
from models.diffusion.networks import GeneratorShape
from models.diffusion.objectives import Objective
from models.diffusion.train import Report, train_controlnet, train_generator, write_generator
from models.diffusion.train_settings import TrainSettings
from pipeline.atomic import write_atomically
from pipeline.errors import InputError
from pipeline.generator_card import write_card
from pipeline.generator_data import read_examples, training_images

CURVE = Path("checkpoints") / "curve.csv"


def train_from_folder(
    data: Path,
    out: Path,
    settings: TrainSettings,
    shape: GeneratorShape,
    held_out: int = 100,
    crops_per_person: int = 1,
    report: Report = lambda *_: None,
) -> Path:
    """Train on a COCO-layout folder or our export but for its last `held_out` images; returns OUT/pipeline, a diffusers folder.

    Goes on from OUT/checkpoints. Raises InputError when the data cannot be used or the checkpoints are of another training, and
    Stopped.
    """
    examples = read_examples(data, shape.size_px, crops_per_person, settings.seed, held_out)
    try:
        networks, tokenizer = train_generator(training_images(examples), shape, settings, out / "checkpoints", report)
    except ValueError as error:
        raise InputError(str(error)) from error
    write_generator(networks, tokenizer, out / "pipeline", settings.objective)
    told = {"examples": len(examples), "held_out_images": held_out, "shape": shape.to_dict(), "settings": asdict(settings)}
    write_atomically(out / "pipeline" / "training.json", json.dumps(told, indent=1))
    kept_out = read_examples(data, shape.size_px, seed=settings.seed, held_out=-held_out) if held_out else []
    generator = load_generator(out / "pipeline", settings.device, scheduler="flow" if settings.objective == "flow" else "ddim")
    write_card(out / "pipeline", {"data": str(data), **told}, out / CURVE, generator, kept_out)
    return out / "pipeline"


def train_controlnet_from_folder(
    data: Path,
    base: Path,
    out: Path,
    settings: TrainSettings,
    begin_from: Path | None = None,
    size_px: int | None = None,
    held_out: int = 0,
    report: Report = lambda *_: None,
) -> Path:
    """Train a ControlNet beside the pipeline `base`, from scratch or from another; returns OUT/controlnet, a diffusers folder.

    size_px: side of the images; None: what the pipeline was trained at. Raises as `train_from_folder`, and WeightsError.
    """
    ready = load_base(base, begin_from)
    size = size_px or ready.size_px
    examples = read_examples(data, size, seed=settings.seed, held_out=held_out)
    try:
        networks = train_controlnet(
            training_images(examples), ready.networks, ready.tokenizer, ready.scheduler, settings, out / "checkpoints",
            ready.digest, report,
        )  # fmt: skip
    except ValueError as error:
        raise InputError(str(error)) from error
    networks.controlnet.half().save_pretrained(out / "controlnet")
    told = {"examples": len(examples), "held_out_images": held_out, "base": ready.digest, "settings": asdict(settings)}
    write_atomically(out / "controlnet" / "training.json", json.dumps(told, indent=1))
    kept_out = read_examples(data, size, seed=settings.seed, held_out=-held_out) if held_out else []
    generator = load_generator(base, settings.device, [out / "controlnet"], _sampler(ready.scheduler))
    write_card(out / "controlnet", {"data": str(data), "pipeline": base.name, **told}, out / CURVE, generator, kept_out)
    return out / "controlnet"


def _sampler(scheduler: Any) -> str:
    return "flow" if Objective.of(scheduler).name == "flow" else "ddim"
