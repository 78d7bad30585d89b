"""Training the generator, or a ControlNet beside one, from labelled images."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from models.diffusion.base import Base, load_base
from models.diffusion.controlnet import Generator, load_generator
from models.diffusion.networks import GeneratorShape, Networks
from models.diffusion.objectives import Objective
from models.diffusion.train import Report, train_controlnet, train_generator, write_generator
from models.diffusion.train_settings import TrainSettings
from pipeline.atomic import write_atomically
from pipeline.errors import InputError
from pipeline.generator_card import write_card
from pipeline.generator_data import Example, read_examples, training_images

CURVE = Path("checkpoints") / "curve.csv"


def train_from_folder(
    data: Sequence[Path],
    out: Path,
    settings: TrainSettings,
    shape: GeneratorShape,
    held_out: int = 100,
    crops_per_person: int = 1,
    report: Report = lambda *_: None,
) -> Path:
    """Train on COCO-layout folders or exports of ours but for the last `held_out` images of each; returns OUT/pipeline, a
    diffusers folder. Goes on from OUT/checkpoints.

    Raises InputError when the data cannot be used or the checkpoints are of another training, and Stopped.
    """
    examples = _all_examples(data, shape.size_px, crops_per_person, settings.seed, held_out)
    try:
        networks, tokenizer = train_generator(training_images(examples), shape, settings, out / "checkpoints", report)
    except ValueError as error:
        raise InputError(str(error)) from error
    if main_process():
        told = {"examples": len(examples), "held_out_images": held_out, "shape": shape.to_dict(), "settings": asdict(settings)}
        _write(networks, tokenizer, out / "pipeline", data, told, shape.size_px)
    return out / "pipeline"


def train_on_from_folder(
    data: Sequence[Path], begin_from: Path, out: Path, settings: TrainSettings, held_out: int = 0,
    report: Report = lambda *_: None,
) -> Path:  # fmt: skip
    """Train denoiser, text encoder and ControlNet of a pipeline further, its decoder where that has steps, its encoder not at
    all; otherwise as `train_from_folder`. Raises WeightsError for a folder that is no pipeline with a ControlNet."""
    ready = load_base(begin_from, begin_from / "controlnet", settings.seed)
    settings = replace(settings, objective=Objective.of(ready.scheduler).name)
    examples = _all_examples(data, ready.size_px, 1, settings.seed, held_out)
    networks = _controlnet(ready, examples, settings, out, report)
    if main_process():
        told = {"examples": len(examples), "held_out_images": held_out, "from": begin_from.name, "settings": asdict(settings)}
        _write(networks, ready.tokenizer, out / "pipeline", data, told, ready.size_px)
    return out / "pipeline"


def _all_examples(data: Sequence[Path], size_px: int, each: int, seed: int, held_out: int) -> list[Example]:
    return [example for folder in data for example in read_examples(folder, size_px, each, seed, held_out)]


def _controlnet(ready: Base, examples: Sequence[Example], settings: TrainSettings, out: Path, report: Report) -> Networks:
    try:
        return train_controlnet(
            training_images(examples), ready.networks, ready.tokenizer, ready.scheduler, settings, out / "checkpoints",
            ready.digest, report,
        )  # fmt: skip
    except ValueError as error:
        raise InputError(str(error)) from error


def _write(networks: Networks, tokenizer: Any, folder: Path, data: Sequence[Path], told: dict[str, Any], size_px: int) -> None:
    """The pipeline, with what tells about it."""
    settings, held_out = told["settings"], told["held_out_images"]
    write_generator(networks, tokenizer, folder, settings["objective"])
    kept_out = _all_examples(data, size_px, 1, settings["seed"], -held_out) if held_out else []
    sampler = "flow" if settings["objective"] == "flow" else "ddim"
    _describe(folder, data, told, kept_out, lambda: load_generator(folder, settings["device"], scheduler=sampler))


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
    ready = load_base(base, begin_from, settings.seed)
    size = size_px or ready.size_px
    examples = read_examples(data, size, seed=settings.seed, held_out=held_out)
    networks = _controlnet(ready, examples, settings, out, report)
    if main_process():
        folder, sampler = out / "controlnet", "flow" if Objective.of(ready.scheduler).name == "flow" else "ddim"
        networks.controlnet.half().save_pretrained(folder)
        told = {"examples": len(examples), "held_out_images": held_out, "base": base.name, "settings": asdict(settings)}
        kept_out = read_examples(data, size, seed=settings.seed, held_out=-held_out) if held_out else []
        _describe(folder, [data], told, kept_out, lambda: load_generator(base, settings.device, [folder], sampler))
    return out / "controlnet"


def main_process() -> bool:
    """Whether this is the one of accelerate's processes that writes."""
    from accelerate import PartialState

    return bool(PartialState().is_main_process)


def _describe(
    folder: Path, data: Sequence[Path], told: dict[str, Any], kept_out: Sequence[Example], load: Callable[[], Generator]
) -> None:
    """training.json, to be read by programs, and the card."""
    write_atomically(folder / "training.json", json.dumps(told, indent=1))
    write_card(folder, {"data": ", ".join(each.name for each in data), **told}, folder.parent / CURVE, kept_out, load)
