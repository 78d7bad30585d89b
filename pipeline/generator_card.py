"""The card of a trained generator: what it learned from, how far it got, and what it makes of poses it never saw."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from models.detector import load_detector
from models.diffusion.controlnet import Generator
from pipeline.atomic import write_atomically
from pipeline.config import AugmentConfig
from pipeline.generator_data import Example
from pipeline.generator_judge import generate_examples, judge_images, sheet

SHOWN, COLUMNS = 24, 12


def write_card(
    folder: Path, told: dict[str, Any], curve: Path, kept_out: Sequence[Example], load: Callable[[], Generator]
) -> None:
    """FOLDER/README.md, and FOLDER/samples.png where examples were kept out of the training: the first ones, not chosen.

    load: gives the trained generator, and is called where there is something to show.
    """
    lines = [f"# {folder.name}: model card", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {_plain(value)} |" for name, value in told.items()]
    lines += [f"| loss of {phase} | {loss} after {step} steps |" for phase, (step, loss) in last_losses(curve).items()]
    if len(kept_out) >= COLUMNS:
        lines += ["", *_judged(folder, load(), kept_out[:SHOWN])]
    lines += ["", "Its licence is that of the pictures, and of the model it began from, whichever asks for more."]
    write_atomically(folder / "README.md", "\n".join(lines) + "\n")


def _judged(folder: Path, generator: Generator, examples: Sequence[Example]) -> list[str]:
    config = AugmentConfig(size_px=generator.size_px)
    images, kept = generate_examples(generator, examples, config)
    detector = load_detector(config.weights, flip=True)
    made, usual = (judge_images(i, kept, detector, config).figures() for i in (images, [e.image for e in kept]))
    write_atomically(folder / "samples.png", sheet(kept, images, COLUMNS))
    return [
        "![samples](samples.png)",
        "",
        f"The first {len(kept)} crops kept out of training, not chosen: pose map, generated, captured; {config.steps} steps, "
        f"guidance scale {config.guidance_scale:g}, no guidance by a detector.",
        "",
        f"Found again by the detector `{config.weights}`:",
        "",
        "| pictures | mean OKS | accepted by the label check |",
        "|---|---|---|",
        *(f"| {name} | {f['mean_oks']} | {f['accepted']} |" for name, f in (("generated", made), ("captured", usual))),
    ]


def last_losses(curve: Path) -> dict[str, tuple[int, float]]:
    """Of each phase of a training's curve the last step and its loss."""
    with curve.open() as file:
        return {row["phase"]: (int(row["step"]), float(row["loss"])) for row in csv.DictReader(file)}


def _plain(value: Any) -> str:
    return ", ".join(f"{key} {part}" for key, part in value.items()) if isinstance(value, dict) else str(value)
