"""Judging what a generator makes, with the detector that checks labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.augment import check_image
from pipeline.config import AugmentConfig
from pipeline.detect import FindsPeople
from pipeline.generator_data import Example
from pipeline.samples import derive_seed, encode_png

if TYPE_CHECKING:
    from models.diffusion.controlnet import Generator

Image = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Judgement:
    """How well people are found again: means over so many images."""

    oks: float
    accepted: float
    images: int

    def figures(self) -> dict[str, Any]:
        """As plain values."""
        return {"images": self.images, "mean_oks": round(self.oks, 3), "accepted": round(self.accepted, 3)}


def judge_images(
    images: Iterable[Image], examples: Sequence[Example], detector: FindsPeople, config: AugmentConfig
) -> Judgement:
    """Find people again in images (N, S, S, 3) and hold them against the examples' labels: for captured images this is the most
    that any generator can reach."""
    checks = [check_image(e.xy_px, image, detector, config) for image, e in zip(images, examples, strict=True)]
    oks = [float(check.oks.mean()) for check in checks]
    return Judgement(float(np.mean(oks)), float(np.mean([check.accepted for check in checks])), len(checks))


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
