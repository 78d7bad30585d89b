"""The command that trains the pose prior."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli_train import Seconds, Seed
from flows.terminal import JsonOption, answering, say


def train_prior(
    session: Annotated[
        list[Path],
        typer.Option("--session", metavar="SESSION|FILE.parquet", help="Learn from its skeletons, too; repeatable."),
    ] = [],  # noqa: B006
    kind: Annotated[
        str, typer.Option("--kind", metavar="coupling|continuous", help="Coupling flow, or a continuous one by flow matching.")
    ] = "coupling",
    people: Annotated[int, typer.Option("--people", min=1, help="Virtual people of random shapes.")] = 300,
    poses: Annotated[int, typer.Option("--poses", min=1, help="Poses that they are put into.")] = 24_000,
    real: Annotated[float, typer.Option("--real", min=0, max=1, help="Share of the skeletons from --session.")] = 0.3,
    out: Annotated[Path, typer.Option("--out", help="Folder of the run: checkpoint, curve, weights.")] = Path("runs/prior"),
    steps: Annotated[int, typer.Option("--steps", min=1, help="Planned steps in all.")] = 5000,
    batch: Annotated[int, typer.Option("--batch", min=4, help="Skeletons per step.")] = 1024,
    learning_rate: Annotated[float, typer.Option("--learning-rate", min=0, help="Highest learning rate.")] = 3e-3,
    seconds: Seconds = None,
    seed: Seed = 0,
    as_json: JsonOption = False,
) -> None:
    """A density over human poses, learned from virtual people and finished sessions; one core and minutes are enough."""
    with answering(as_json) as answer:
        from pipeline.prior_training import train_prior

        settings = {"kind": kind, "out": str(out), "steps": steps, "batch": batch, "learning_rate": learning_rate,
                    "real": real, "seed": seed, "seconds": seconds}  # fmt: skip
        weights = train_prior(settings, people, poses, session, say)
        answer.values |= {**settings, "people": people, "poses": poses, "weights": str(weights)}
        answer.show(f"weights: {weights}")
