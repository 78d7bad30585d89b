"""The detector on images that belong to no session: a table of people, and the images with people drawn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.atomic import fsync, remove
from pipeline.config import DetectConfig
from pipeline.detect import FindsPeople, detect
from pipeline.draw import draw_people
from pipeline.errors import InputError
from pipeline.progress import progress
from pipeline.samples import encode_jpeg
from pipeline.sources import list_images, read_image
from pipeline.tables import IMAGE_POSES, write_rows
from pipeline.types import Poses2D


def detect_images(images: Sequence[Path], out: Path, draw: Path | None, config: DetectConfig) -> list[dict[str, Any]]:
    """Find people in images, or folders of them; IMAGE_POSES rows to `out`, JPEGs with people drawn to `draw` unless None.

    Returns a line per image: its path, people found, their mean joint score. Raises InputError naming the image at fault.
    """
    from models.detector import load_detector

    files = expand(images)
    if draw is not None:
        draw.mkdir(parents=True, exist_ok=True)
    detector = load_detector(config.weights, size_px=config.size_px, flip=config.flip)
    rows, lines = [], []
    with progress("detect", len(files), "images") as advance:
        for file in files:
            image = read_image(file)
            people = find_people(detector, image, config)
            rows += list(people_rows(file, image, people))
            score = people.score[people.score > 0]
            lines.append({"image": str(file), "people": len(people), "mean_score": float(score.mean()) if len(score) else 0.0})
            if draw is not None:
                (draw / f"{file.stem}.jpg").write_bytes(encode_jpeg(draw_people(image, people.xy_px), 92))
            advance(1)
    _write(out, rows)
    return lines


def find_people(detector: FindsPeople, image: NDArray[np.uint8], config: DetectConfig) -> Poses2D:
    """The people in one RGB image (H, W, 3), as the detect stage keeps them."""
    [people] = detect(detector, [(0, image)], "", config)
    return people


def expand(images: Iterable[Path]) -> list[Path]:
    """Images as given, folders as their images in natural order. Raises InputError for a path that is not there."""
    files: list[Path] = []
    for path in images:
        if not path.exists():
            raise InputError(f"{path}: expected an image or a folder of images, found nothing")
        files += list_images(path) if path.is_dir() else [path]
    return files


def people_rows(file: Path, image: NDArray[np.uint8], people: Poses2D) -> Iterator[dict[str, Any]]:
    """IMAGE_POSES rows of one image."""
    for person in range(len(people)):
        yield {
            "image": str(file),
            "width_px": image.shape[1],
            "height_px": image.shape[0],
            "person": person,
            "x_px": people.xy_px[person, :, 0].tolist(),
            "y_px": people.xy_px[person, :, 1].tolist(),
            "score": people.score[person].tolist(),
            "tag": people.tag[person].tolist(),
        }


def _write(out: Path, rows: list[dict[str, Any]]) -> None:
    temporary = out.with_name(f".{out.name}.part")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_rows(temporary, rows, IMAGE_POSES)
        fsync(temporary)
        temporary.replace(out)
    finally:
        remove(temporary)
