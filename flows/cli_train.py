"""Commands that train a network; each goes on where it was stopped."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.terminal import JsonOption, Texts, answering, say

train = typer.Typer(help="Train a network; goes on where it was stopped.", no_args_is_help=True)

Data = Annotated[
    Texts,
    typer.Option(
        "--data", metavar="FOLDER[=WEIGHT[:OUTSIDE[:UNLABELLED]]]",
        help="Photos in COCO layout, or an exported Parquet dataset; repeatable.",
    ),
]  # fmt: skip
Validation = Annotated[Texts, typer.Option("--validation", metavar="FOLDER", help="Photos to watch; repeatable.")]
HeldOut = Annotated[Texts, typer.Option("--held-out", metavar="NAME=COUNT", help="Photos kept out of a COCO folder.")]
Cutouts = Annotated[
    Path | None,
    typer.Option("--cutouts", metavar="FOLDER", help="Synthetic people to paste into views."),
]

BeginFrom = Annotated[str | None, typer.Option("--from", metavar="WEIGHTS", help="Trained weights to begin with.")]
Stacks = Annotated[int, typer.Option("--stacks", min=1, help="Hourglasses one after the other.")]
Channels = Annotated[int, typer.Option("--channels", min=2, help="Width of the features.")]
Depth = Annotated[int, typer.Option("--depth", min=1, help="Halvings inside each hourglass.")]
TagDims = Annotated[int, typer.Option("--tag-dims", min=1, help="Numbers of a joint's tag.")]
Checkpointing = Annotated[
    bool,
    typer.Option(
        "--checkpointing/--no-checkpointing",
        help="Compute activations a second time instead of keeping them: less memory, longer steps, equal gradients.",
    ),
]  # fmt: skip

Size = Annotated[int, typer.Option("--size", min=32, help="Side of a training view in px.")]
Mosaic = Annotated[float, typer.Option("--mosaic", min=0, max=1, help="Share of views joined from several photos.")]
Rotation = Annotated[float, typer.Option("--rotation", min=0, help="Spread of the turns of a view in degrees.")]
UpsideDown = Annotated[float, typer.Option("--upside-down", min=0, max=1, help="Share of views stood on their heads.")]
MinPerson = Annotated[
    float, typer.Option("--min-person", min=0.05, max=1.2, help="Longer side of the smallest people as a share of the view.")
]
Context = Annotated[float, typer.Option("--context", min=0, max=1, help="Share of views cut anywhere in a picture.")]
Paste = Annotated[
    float,
    typer.Option("--paste", min=0, max=1, help="Share of views with people of --cutouts pasted in."),
]

Out = Annotated[Path, typer.Option("--out", help="Folder of the run: checkpoint, curves, weights.")]
Steps = Annotated[int, typer.Option("--steps", min=1, help="Planned steps in all.")]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Images per step, over all processes.")]
LearningRate = Annotated[float, typer.Option("--learning-rate", min=0, help="Highest rate; lower with --from.")]
Schedule = Annotated[
    str,
    typer.Option(
        "--schedule", metavar="decay|cosine",
        help="After the warm-up: level, then down over the --decay share; or a cosine from the start.",
    ),
]  # fmt: skip
Optimizer = Annotated[
    str, typer.Option("--optimizer", metavar="muon|adamw", help="muon is ahead early and takes a tenth longer a step.")
]
Decay = Annotated[
    float,
    typer.Option("--decay", min=0, max=1, help="Last share of the steps over which the rate falls to 0."),
]
Ema = Annotated[float, typer.Option("--ema", min=0, max=1, help="Share of the averaged weights that a step keeps.")]
TagWeight = Annotated[float, typer.Option("--tag-weight", min=0, help="Weight of pull and push beside the heatmaps' error.")]
TagRamp = Annotated[
    str,
    typer.Option("--tag-ramp", metavar="BEGIN:END", help="Steps over which the loss of the tags comes in; none with --from."),
]
Seconds = Annotated[float | None, typer.Option("--seconds", help="Stop cleanly after this long.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Everything random follows from it.")]
Device = Annotated[str, typer.Option("--device", help="cpu or cuda.")]
Precision = Annotated[str, typer.Option("--precision", metavar="auto|fp32|bf16", help="auto: bf16 where it is native.")]
Workers = Annotated[int, typer.Option("--workers", min=0, help="Processes that prepare images.")]
Decoded = Annotated[
    bool, typer.Option("--decoded/--encoded", help="Keep photos in memory as pixels: views come faster, 3 bytes a pixel.")
]


@train.command("detector")
def train_detector(
    data: Data,
    validation: Validation = [],  # noqa: B006
    held_out: HeldOut = [],  # noqa: B006
    cutouts: Cutouts = None,
    begin_from: BeginFrom = None,
    stacks: Stacks = 2,
    channels: Channels = 64,
    depth: Depth = 4,
    tag_dims: TagDims = 1,
    checkpointing: Checkpointing = False,
    size: Size = 128,
    min_person: MinPerson = 0.38,
    rotation: Rotation = 25.0,
    upside_down: UpsideDown = 0.02,
    context: Context = 0.2,
    mosaic: Mosaic = 0.35,
    paste: Paste = 0.0,
    out: Out = Path("runs/detector"),
    steps: Steps = 20_000,
    batch: Batch = 16,
    learning_rate: LearningRate = 2e-3,
    optimizer: Optimizer = "muon",
    schedule: Schedule = "decay",
    decay: Decay = 0.2,
    ema: Ema = 0.9995,
    tag_weight: TagWeight = 1e-3,
    tag_ramp: TagRamp = "1500:4000",
    seconds: Seconds = None,
    seed: Seed = 0,
    device: Device = "cpu",
    precision: Precision = "auto",
    workers: Workers = 0,
    decoded: Decoded = False,
    as_json: JsonOption = False,
) -> None:
    """Train the stacked hourglass; run it again and it goes on from its checkpoint.

    On several devices: torchrun --nproc_per_node N -m flows.cli train detector ...
    """
    with answering(as_json and is_main_process()) as answer:
        network = {"stacks": stacks, "channels": channels, "depth": depth, "tag_dims": tag_dims}
        network["checkpoint_stacks"] = checkpointing
        view = {
            "size_px": size, "mosaic": mosaic, "paste": paste, "min_person": min_person, "rotation_deg": rotation,
            "upside_down": upside_down, "context": context,
        }  # fmt: skip
        config = _trained({
            "network": network, "view": view, "sources": data,
            "validation": validation, "held_out": held_out, "cutouts": None if cutouts is None else str(cutouts),
            "begin_from": begin_from, "out": str(out), "steps": steps, "batch": batch, "learning_rate": learning_rate,
            "optimizer": optimizer, "schedule": schedule, "decay": decay, "ema": ema, "tag_weight": tag_weight,
            "tag_ramp": tag_ramp, "seconds": seconds, "seed": seed,
            "device": device, "precision": precision, "workers": workers, "decoded": decoded,
        })  # fmt: skip
        if is_main_process():
            answer.values |= config
            answer.show(f"weights: {config['weights']}")


def is_main_process() -> bool:
    """Whether this is the first of the processes as accelerate and torchrun number them: one answer is enough."""
    return os.environ.get("RANK", "0") == "0"


def _trained(options: dict[str, Any]) -> dict[str, Any]:
    """Train by the options; they come back in full, with the file of the weights. Raises InputError for a wrong request."""
    from models.detector_data import ViewConfig
    from models.hourglass import HourglassConfig
    from models.photos import Source
    from models.train_config import TrainConfig
    from models.train_detector import train as train_network
    from pipeline.errors import InputError

    options["held_out"] = dict(_count(text) for text in options["held_out"])
    if not options["held_out"]:
        del options["held_out"]  # those of the shipped weights
    options["tag_ramp"] = _span("--tag-ramp", options["tag_ramp"])
    try:
        for name in ("sources", "validation"):
            options[name] = tuple(Source.parse(text) for text in options[name])
        network, view = HourglassConfig(**options.pop("network")), ViewConfig(**options.pop("view"))
        config = TrainConfig(network=network, view=view, **options)
        return {"weights": str(train_network(config, say)), **asdict(config)}
    except (ValueError, FileNotFoundError) as error:
        raise InputError(str(error)) from error


def _count(text: str) -> tuple[str, int]:
    from pipeline.errors import InputError

    name, _, count = text.partition("=")
    if not count.isdigit():
        raise InputError(f"--held-out: expected NAME=COUNT, got {text!r}")
    return name, int(count)


def _span(option: str, text: str) -> tuple[int, int]:
    from pipeline.errors import InputError

    begin, _, end = text.partition(":")
    if not (begin.isdigit() and end.isdigit() and int(begin) <= int(end)):
        raise InputError(f"{option}: expected BEGIN:END in steps, the first no later than the second, got {text!r}")
    return int(begin), int(end)
