"""Training images of the virtual studio as Parquet shards, in the columns of an exported dataset.

DIR/studio-0000000.parquet ...   the number of the first image stands in the name; the rows are those of tables.SAMPLES
A shard's bytes follow from seed, numbers, wardrobe and photos alone: a run can be stopped, repeated, extended or divided among
machines (one `first` each), and finished shards are never made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError
from pipeline.progress import Advance, progress
from pipeline.rows_file import rows_file
from pipeline.samples import encode_jpeg, sample_rows
from pipeline.shards import GROUP, huggingface_metadata
from pipeline.studio_coco import jpeg_quality
from pipeline.studio_images import Labelled, training_images
from pipeline.tables import SAMPLES
from pipeline.types import Sample

# Key of the schema metadata that says what a shard was made from.
RECIPE = b"posemill_studio"


@dataclass(frozen=True)
class Order:
    """What to draw: `images` pictures from number `first` on, in shards of `shard`; folders of clothes and photos, or ""."""

    images: int
    seed: int = 0
    shard: int = 500
    first: int = 0
    wardrobe: str = ""
    photos: str = ""

    def __post_init__(self) -> None:
        for name, least in (("images", 1), ("seed", 0), ("shard", 1), ("first", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name}: expected at least {least}, got {getattr(self, name)}")
        if self.first % self.shard:
            raise InputError(
                f"first: expected a multiple of the {self.shard} images of a shard, got {self.first}; "
                f"take {self.first // self.shard * self.shard}, so that shards of several runs fit together"
            )


@dataclass(frozen=True)
class Shards:
    """The shards of an order, and how many of them and of their images this run made."""

    files: tuple[Path, ...]
    made: int
    images: int


def write_shards(folder: Path | str, order: Order) -> Shards:
    """Write an order's shards; each appears whole or not at all, and those that are there already are kept.

    Raises InputError where a shard was made from another seed, wardrobe or photos, and StageError on a full disk.
    """
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    recipe, files, made, drawn = _recipe(order), [], 0, 0
    end, at = order.first + order.images, -1
    images: Iterator[Labelled] = iter(())
    with progress("draw training images", order.images, "images") as advance:
        for start in range(order.first, end, order.shard):
            count = min(order.shard, end - start)
            files.append(out / f"studio-{start:07d}.parquet")
            if _is_done(files[-1], recipe, count):
                continue
            if at != start:  # the images of the shard before this one were not drawn now
                images = training_images(end - start, order.seed, order.wardrobe or None, order.photos or None, start)
            _write(files[-1], recipe, _rows(islice(images, count), order.seed, start, advance))
            made, drawn, at = made + 1, drawn + count, start + count
    return Shards(tuple(files), made, drawn)


def _recipe(order: Order) -> bytes:
    """What the images of a shard follow from: seed, images per shard, and the files of clothes and photos by name and size."""
    digests = {name: _digest(getattr(order, name)) for name in ("wardrobe", "photos")}
    return json.dumps({"seed": order.seed, "shard": order.shard, **digests}, sort_keys=True).encode()


def _digest(folder: str) -> str:
    if not folder:
        return ""
    sha = hashlib.sha256()
    for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
        sha.update(f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode())
    return sha.hexdigest()


def _is_done(path: Path, recipe: bytes, count: int) -> bool:
    """Whether a shard is there with at least so many images; a last shard that was cut short is made again, longer."""
    if not path.exists():
        return False
    try:
        meta = pq.read_metadata(path)
        found, rows = (meta.metadata or {}).get(RECIPE), meta.num_rows
    except pa.ArrowInvalid:
        found, rows = None, 0
    if found != recipe:
        told = "no recipe of the studio" if found is None else found.decode()
        raise InputError(f"{path}: expected a shard made from {recipe.decode()}, found {told}; choose another folder")
    return rows >= count


def _rows(images: Iterator[Labelled], seed: int, start: int, advance: Advance) -> Iterator[dict[str, Any]]:
    for number, made in enumerate(images, start):
        yield from sample_rows([studio_sample(made, seed, number)])
        advance(1)


def _write(path: Path, recipe: bytes, rows: Iterator[dict[str, Any]]) -> None:
    schema = SAMPLES.with_metadata({b"huggingface": huggingface_metadata(SAMPLES), RECIPE: recipe})
    with rows_file(path, schema, GROUP) as file:
        for row in rows:
            file.write([row])


def studio_sample(made: Labelled, seed: int, number: int) -> Sample:
    """A drawn image as a sample: world joints, and COCO's v with 1 for hidden joints; joints outside the picture are NaN."""
    name = f"studio-{seed}-{number:07d}"
    xy_px = np.where(made.flags[..., None] > 0, made.xy_px, np.nan)
    size_wh = (made.image.shape[1], made.image.shape[0])
    picture = encode_jpeg(made.image, jpeg_quality(seed, number))
    return Sample(name, "studio", "virtual", 0, picture, size_wh, xy_px, made.joints_m, made.flags, "generated",
                  seed=seed, generator="posemill studio")  # fmt: skip
