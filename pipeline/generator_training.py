"""Training the generator from labelled images, and judging what it makes with the detector that checks labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from models.diffusion.networks import GeneratorShape
from models.diffusion.train import Report, train_controlnet, train_generator, write_generator
from models.diffusion.train_settings import TrainSettings
from pipeline.atomic import write_atomically
from pipeline.augment import check_image
from pipeline.config import AugmentConfig
from pipeline.detect import FindsPeople
from pipeline.errors import InputError
from pipeline.generator_data import Example, read_examples, training_images
from pipeline.samples import derive_seed, encode_png

if TYPE_CHECKING:
    from models.diffusion.controlnet import Generator

Image = NDArray[np.uint8]


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
    from models.diffusion.base import load_base

    ready = load_base(base, begin_from)
    examples = read_examples(data, size_px or ready.size_px, seed=settings.seed, held_out=held_out)
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
    return out / "controlnet"


@dataclass(frozen=True, eq=False)
class Judgement:
    """How well people are found again. oks, accepted: means over the images; images: RGB uint8 (N, S, S, 3)."""

    oks: float
    accepted: float
    images: Image

    def figures(self) -> dict[str, Any]:
        """As plain values."""
        return {"images": len(self.images), "mean_oks": round(self.oks, 3), "accepted": round(self.accepted, 3)}


def judge_images(images: Image, examples: Sequence[Example], detector: FindsPeople, config: AugmentConfig) -> Judgement:
    """Find people again in images (N, S, S, 3) and hold them against the examples' labels: for captured images this is the most
    that any generator can reach."""
    checks = [check_image(e.xy_px, image, detector, config) for image, e in zip(images, examples, strict=True)]
    oks = [float(check.oks.mean()) for check in checks]
    return Judgement(float(np.mean(oks)), float(np.mean([check.accepted for check in checks])), images)


def generate_examples(generator: Generator, examples: Sequence[Example], config: AugmentConfig) -> tuple[Image, list[Example]]:
    """An image under the pose map and caption of every example, and the examples whose image came out finite."""
    made = generator.generate(
        np.stack([example.pose_map for example in examples]),
        [example.caption for example in examples],
        [derive_seed("judge", number, config.seed) for number in range(len(examples))],
        config.negative_prompt,
        config.steps,
        config.guidance_scale,
    )
    return made.images, [examples[number] for number in made.index]


def sheet(examples: Sequence[Example], images: Image, columns: int = 16) -> bytes:
    """A PNG with, row by row, pose maps, generated images and the captured images they stand beside."""
    bands = []
    for begin in range(0, len(examples) - columns + 1, columns):
        part = examples[begin : begin + columns]
        bands += [np.hstack([e.pose_map for e in part]), np.hstack(list(images[begin : begin + columns]))]
        bands.append(np.hstack([e.image for e in part]))
    return encode_png(np.vstack(bands))
