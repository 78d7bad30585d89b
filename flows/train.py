"""Training as flows: what `posemill train` does, scheduled, in a run of its own that goes on where it was stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, get_run_logger
from prefect.concurrency.sync import concurrency
from prefect.runtime import flow_run
from pydantic import BaseModel, ConfigDict, Field

from flows.names import GPU_SLOT
from flows.tasks import progress_in_ui

LONGEST_S = 7 * 24 * 3600.0
Data = Annotated[str, Field(min_length=1)]
Out = Annotated[str, Field(min_length=1)]


class DetectorTraining(BaseModel):
    """How a detector is trained; what is not named here is as `posemill train detector` has it."""

    model_config = ConfigDict(extra="forbid")

    steps: int = Field(20_000, ge=1, description="planned steps in all; the same folder with more goes on")
    batch: int = Field(16, ge=1, description="images per step")
    size_px: int = Field(128, ge=64, multiple_of=64, description="side of a training view")
    channels: int = Field(64, ge=2, description="width of the features")
    stacks: int = Field(2, ge=1, description="hourglasses one after the other")
    learning_rate: float = Field(2e-3, gt=0, description="highest rate")
    begin_from: str = Field("", description="trained weights to begin with: a shipped name or a .safetensors file")
    validation: list[str] = Field([], description="datasets to watch while training")
    seed: int = Field(0, ge=0, description="everything random follows from it")
    device: str = Field("cpu", description="cpu or cuda")


class ControlnetTraining(BaseModel):
    """How a ControlNet is trained; what is not named here is as `posemill train controlnet` has it."""

    model_config = ConfigDict(extra="forbid")

    steps: int = Field(4000, ge=1, description="optimiser steps in all; the same folder with more goes on")
    batch: int = Field(8, ge=1, description="images per step")
    learning_rate: float = Field(1e-5, gt=0, description="highest rate")
    begin_from: str = Field("", description="a ControlNet to fine-tune; empty: a new one from the base's own encoder")
    seed: int = Field(0, ge=0, description="everything random follows from it")
    device: str = Field("cpu", description="cpu or cuda")


def _run_name() -> str:
    wanted = flow_run.parameters
    data = [wanted["data"]] if isinstance(wanted["data"], str) else wanted["data"]
    return f"{Path(wanted['out']).name}, {', '.join(Path(each).name for each in data)}"


OPTIONS: Any = {"flow_run_name": _run_name, "persist_result": False, "timeout_seconds": LONGEST_S}


@flow(name="train-detector", **OPTIONS)
def train_detector(
    data: Annotated[list[Data], Field(min_length=1)],
    out: Out = "runs/detector",
    training: DetectorTraining = DetectorTraining(),  # noqa: B008
) -> str:
    """Train the detector on datasets; started again with the same folder it goes on. Returns the file of the weights.

    Args:
        data: exported or released Parquet datasets, or folders in COCO layout
        out: folder of the run: checkpoints, curves, weights
        training: how to train
    """
    from models.detector_data import ViewConfig
    from models.hourglass import HourglassConfig
    from models.photos import Source
    from models.train_config import TrainConfig
    from models.train_detector import train

    told = training.model_dump(exclude={"size_px", "channels", "stacks", "begin_from", "validation"})
    config = TrainConfig(
        network=HourglassConfig(channels=training.channels, stacks=training.stacks),
        view=ViewConfig(size_px=training.size_px),
        sources=tuple(map(Source.parse, data)),
        validation=tuple(map(Source.parse, training.validation)),
        begin_from=training.begin_from or None,
        out=out,
        **told,
    )
    with _slot(training.device):
        return str(train(config, get_run_logger().info))


@flow(name="train-controlnet", **OPTIONS)
def train_controlnet(
    base: Annotated[str, Field(min_length=1)],
    data: Data,
    out: Out = "runs/controlnet",
    training: ControlnetTraining = ControlnetTraining(),  # noqa: B008
) -> str:
    """Train a ControlNet on one dataset beside a pipeline that stays as it is; goes on where it was stopped. Returns its
    folder, for `augment.controlnets`.

    Args:
        base: Stable Diffusion as a diffusers folder
        data: an exported or released Parquet dataset, or a folder in COCO layout
        out: folder of the run: checkpoints, curve, ControlNet
        training: how to train
    """
    from models.diffusion.train_settings import TrainSettings
    from pipeline.generator_training import train_controlnet_from_folder

    settings = TrainSettings(
        controlnet_steps=training.steps, controlnet_rate=training.learning_rate, controlnet_denoiser_rate=0.0,
        batch=training.batch, seed=training.seed, device=training.device,
    )  # fmt: skip
    begin_from = Path(training.begin_from) if training.begin_from else None
    with _slot(training.device), progress_in_ui("train controlnet", training.steps, "steps") as advance:
        seen = _Steps(advance)
        return str(train_controlnet_from_folder(Path(data), Path(base), Path(out), settings, begin_from, report=seen.report))


@dataclass
class _Steps:
    """Tells a progress bar of the steps that training reports now and then."""

    advance: Callable[[int], None]
    done: int = 0

    def report(self, _: str, step: int, steps: int, loss: float) -> None:
        self.advance(max(0, step - self.done))
        self.done = step
        get_run_logger().info("step %d of %d, loss %.4f", step, steps, loss)


def _slot(device: str) -> Any:
    return concurrency([GPU_SLOT] if device.startswith("cuda") else [], occupy=1, strict=False)
