"""Commands that train the generator of new images; each goes on where it was stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli_train import Checkpointing, Device, Precision, Seconds, Seed, is_main_process, train
from flows.terminal import Answer, JsonOption, answering, say

Data = Annotated[
    Path,
    typer.Option("--data", metavar="FOLDER", help="Labelled images: COCO layout, drawn portraits, or an exported dataset."),
]
HeldOut = Annotated[int, typer.Option("--held-out", min=0, help="The last so many images are kept out, to judge by.")]
MinSnr = Annotated[
    float | None, typer.Option("--min-snr", min=0.1, help="Gamma of min-SNR loss weights, 5 as a rule; none without it.")
]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Images per step, over all processes.")]
Accumulate = Annotated[int, typer.Option("--accumulate", min=1, help="Parts of a batch, one after the other: less memory.")]
Widths = Annotated[str, typer.Option(metavar="N:N:...", help="Channels of each level, finest first.")]
Folders = Annotated[
    list[Path],
    typer.Option(
        "--data", metavar="FOLDER", help="COCO layout, drawn portraits, or an exported dataset; again for more of them."
    ),
]
BeginFrom = Annotated[
    Path | None,
    typer.Option("--from", metavar="FOLDER", help="A pipeline to go on from: its ControlNet and denoiser learn on."),
]
PersonWeight = Annotated[
    float, typer.Option("--person-weight", min=0, help="By how much more errors count where the pose map draws people.")
]
DecoderSteps = Annotated[
    int,
    typer.Option("--decoder-steps", min=0, help="Planned steps of the decoder alone, after the autoencoder or with --from."),
]


@train.command("diffusion")
def train_diffusion(
    data: Folders,
    begin_from: BeginFrom = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the run: checkpoints, curve, pipeline.")] = Path(
        "runs/diffusion"
    ),
    size: Annotated[int, typer.Option("--size", min=32, help="Side of the images in px.")] = 96,
    unet_channels: Widths = "32:64:96:128",
    vae_channels: Widths = "12:24:48",
    objective: Annotated[
        str, typer.Option("--objective", metavar="v|epsilon|flow", help="What the denoiser predicts; flow: rectified flow.")
    ] = "v",
    min_snr: MinSnr = None,
    person_weight: PersonWeight = 0.0,
    autoencoder_steps: Annotated[int, typer.Option(min=1, help="Planned steps of the autoencoder.")] = 5000,
    decoder_steps: DecoderSteps = 0,
    denoiser_steps: Annotated[int, typer.Option(min=1, help="Planned steps of the denoiser without poses.")] = 1000,
    controlnet_steps: Annotated[int, typer.Option(min=0, help="Planned steps of ControlNet with the denoiser.")] = 5000,
    learning_rate: Annotated[
        float,
        typer.Option("--learning-rate", min=0, help="Highest rate of denoiser and ControlNet; half once they learn together."),
    ] = 1e-3,
    batch: Batch = 16,
    accumulate: Accumulate = 1,
    checkpointing: Checkpointing = False,
    held_out: HeldOut = 100,
    seconds: Seconds = None,
    seed: Seed = 0,
    device: Device = "cpu",
    precision: Precision = "auto",
    as_json: JsonOption = False,
) -> None:
    """A small generator from nothing, or from a trained one: autoencoder, text-conditioned denoiser, ControlNet.

    Writes OUT/pipeline, a diffusers folder. With --from, sizes, objective and latents are the pipeline's, and stay.
    """
    with answering(as_json and is_main_process()) as answer:
        from models.diffusion.networks import GeneratorShape
        from pipeline.generator_training import train_from_folder, train_on_from_folder

        levels = _widths("--vae-channels", vae_channels)

        def made() -> Path:
            shape = GeneratorShape(
                size, levels, unet_channels=_widths("--unet-channels", unet_channels),
                condition_channels=tuple(8 << level for level in range(len(levels))),
            )  # fmt: skip
            settings = _settings(
                autoencoder_steps=autoencoder_steps, decoder_steps=decoder_steps, denoiser_steps=denoiser_steps,
                controlnet_steps=controlnet_steps, denoiser_rate=learning_rate, controlnet_rate=learning_rate,
                controlnet_denoiser_rate=learning_rate / 2, batch=batch, objective=objective, min_snr=min_snr,
                person_weight=person_weight, accumulate=accumulate, checkpointing=checkpointing, seconds=seconds, seed=seed,
                device=device, precision=precision,
            )  # fmt: skip
            if begin_from is not None:
                return train_on_from_folder(data, begin_from, out, settings, held_out, _say)
            return train_from_folder(data, out, settings, shape, held_out, report=_say)

        _finish(answer, "pipeline", made)


@train.command("controlnet")
def train_controlnet(
    data: Data,
    base: Annotated[Path, typer.Option("--base", metavar="FOLDER", help="A Stable Diffusion pipeline in diffusers' layout.")],
    begin_from: Annotated[
        Path | None,
        typer.Option("--from", metavar="FOLDER", help="A ControlNet to go on from; else a copy of the base's encoder."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of the run: checkpoint, curve, ControlNet.")] = Path(
        "runs/controlnet"
    ),
    size: Annotated[int | None, typer.Option("--size", min=32, help="Side of the images in px; default: the base's.")] = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Planned steps in all.")] = 5000,
    learning_rate: Annotated[float, typer.Option("--learning-rate", min=0, help="Highest rate of AdamW.")] = 1e-5,
    min_snr: MinSnr = None,
    person_weight: PersonWeight = 0.0,
    batch: Batch = 4,
    accumulate: Accumulate = 1,
    checkpointing: Checkpointing = False,
    held_out: HeldOut = 0,
    seconds: Seconds = None,
    seed: Seed = 0,
    device: Device = "cpu",
    precision: Precision = "auto",
    as_json: JsonOption = False,
) -> None:
    """A ControlNet for a pipeline that is there, which stays as it is; writes OUT/controlnet for augment.controlnets."""
    with answering(as_json and is_main_process()) as answer:
        from pipeline.generator_training import train_controlnet_from_folder

        def made() -> Path:
            settings = _settings(
                controlnet_steps=steps, controlnet_rate=learning_rate, controlnet_denoiser_rate=0.0, batch=batch,
                min_snr=min_snr, person_weight=person_weight, accumulate=accumulate, checkpointing=checkpointing,
                seconds=seconds, seed=seed, device=device, precision=precision,
            )  # fmt: skip
            return train_controlnet_from_folder(data, base, out, settings, begin_from, size, held_out, _say)

        _finish(answer, "controlnet", made)


def _finish(answer: Answer, name: str, train_it: Callable[[], Path]) -> None:
    """Train, and answer with the folder written, or with where it stopped. Raises InputError for a wrong request."""
    from models.diffusion.train import Stopped
    from models.weights import WeightsError
    from pipeline.errors import InputError

    try:
        answer.values[name] = str(train_it())
        told = f"{name}: {answer.values[name]}"
    except Stopped as stopped:
        answer.values |= {name: None, "stopped": str(stopped)}
        told = str(stopped)
    except (WeightsError, ValueError) as error:
        raise InputError(str(error)) from error
    if is_main_process():
        answer.show(told)


def _settings(**options: Any) -> Any:
    from models.diffusion.train_settings import TrainSettings

    return TrainSettings(**options)


def _widths(option: str, text: str) -> tuple[int, ...]:
    from pipeline.errors import InputError

    try:
        return tuple(int(word) for word in text.split(":"))
    except ValueError:
        raise InputError(f"{option}: expected channels as N:N:..., got {text!r}") from None


def _say(phase: str, step: int, steps: int, loss: float) -> None:
    say(f"{phase}: step {step} of {steps}, loss {loss:.4f}")
