"""SESSION/preview.jpg: the first picture of every camera of a new clip, with its name, to see that each is the one meant."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline.atomic import write_atomically
from pipeline.probe import Image
from pipeline.report import sheet, shrink_to, thumbnail
from pipeline.session import Source
from pipeline.sources import by_file, crop, open_source

PREVIEW = "preview.jpg"
_MAX_BYTES = 600_000


def first_pictures(root: Path, sources: Mapping[str, Source]) -> dict[str, Image]:
    """The first frame of every camera, RGB uint8 (H, W, 3); cameras in one file are read at once."""
    found: dict[str, Image] = {}
    for cameras in by_file(root, sources).values():
        shot = next(iter(open_source(root, sources[cameras[0]]).shots([0])))
        found.update({camera: crop(shot.image, sources[camera].crop_px, f"camera {camera}") for camera in cameras})
    return {camera: found[camera] for camera in sources}


def write_preview(root: Path, pictures: Mapping[str, Image]) -> Path:
    """Write the sheet; returns its path."""
    named = [thumbnail(image, None, f"{camera}  {image.shape[1]} x {image.shape[0]} px") for camera, image in pictures.items()]
    write_atomically(root / PREVIEW, shrink_to(sheet(named), _MAX_BYTES))
    return root / PREVIEW
