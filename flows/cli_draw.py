"""Commands that draw training pictures of virtual people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.terminal import JsonOption, answering

draw = typer.Typer(help="Draw virtual people to train on, with exact labels.", no_args_is_help=True)

Out = Annotated[Path, typer.Argument(metavar="DIR", help="Folder for the pictures.")]
Count = Annotated[int, typer.Argument(metavar="N", min=1, help="How many to draw.")]
Seed = Annotated[int, typer.Option(min=0, help="Everything random follows from it.")]
Wardrobe = Annotated[str, typer.Option(help="Folder of MakeHuman clothes; default: painted clothes.")]


@draw.command("images")
def draw_images(
    out: Out,
    count: Count,
    seed: Seed = 0,
    wardrobe: Wardrobe = "",
    photos: Annotated[str, typer.Option(help="Folder of background photos without people.")] = "",
    shard: Annotated[int, typer.Option(min=1, help="Images of a shard.")] = 500,
    first: Annotated[int, typer.Option(min=0, help="Number of the first image, to divide the work.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Labelled images of 256 px in Parquet shards, one to four people each; goes on where it was stopped."""
    with answering(as_json) as answer:
        from pipeline.studio_shards import Order, write_shards

        shards = write_shards(out, Order(count, seed, shard, first, wardrobe, photos))
        files = [str(path) for path in shards.files]
        answer.values |= {"folder": str(out), "files": files, "made": shards.made, "images": shards.images}
        answer.show(f"{len(files)} shards in {out}, {shards.made} of them made now ({shards.images} images)")


@draw.command("cutouts")
def draw_cutouts(out: Out, count: Count, seed: Seed = 0, wardrobe: Wardrobe = "", as_json: JsonOption = False) -> None:
    """Single people on nothing, to be pasted into photos: posemill train detector --cutouts DIR --paste 0.3."""
    with answering(as_json) as answer:
        from pipeline.studio_coco import write_cutouts

        write_cutouts(out, count, seed, wardrobe or None)
        answer.values |= {"folder": str(out), "images": count}
        answer.show(f"{count} people in {out}")


@draw.command("portraits")
def draw_portraits(
    out: Out,
    count: Count,
    seed: Seed = 0,
    size: Annotated[int, typer.Option(min=32, help="Side of a picture in px.")] = 112,
    as_json: JsonOption = False,
) -> None:
    """Whole people in an empty room, in COCO layout: what posemill train diffusion --data DIR learns from."""
    with answering(as_json) as answer:
        from pipeline.studio_portraits import write_portraits

        write_portraits(out, count, seed, size)
        answer.values |= {"folder": str(out), "images": count}
        answer.show(f"{count} pictures in {out}")
