"""The virtual studio's labelled images as a folder in COCO layout.

OUT/images/000000.jpg ...   OUT/annotations.json (COCO keypoints: v = 2 seen, 1 hidden, 0 outside the picture)
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from models.skeleton import COCO17
from pipeline.atomic import write_atomically
from pipeline.errors import InputError
from pipeline.progress import progress
from pipeline.studio_backdrops import SIZE_PX
from pipeline.studio_images import Labelled, cutouts, training_images


def write_training_images(
    out_dir: Path | str, n: int, seed: int, wardrobe: Path | str | None = None, photos: Path | str | None = None
) -> Path:
    """Write n images of 256 px with their COCO annotations; returns the annotation file, which is written last.

    wardrobe: folder of .mhclo clothes, None for painted ones. photos: folder of background pictures without people, beside
    those of scikit-image and procedural ones. Raises InputError for an empty wardrobe or photo folder, or n < 1.
    """
    _refuse_none(n)
    return _write(Path(out_dir), n, seed, "jpg", training_images(n, seed, wardrobe, photos))


def write_cutouts(out_dir: Path | str, n: int, seed: int, wardrobe: Path | str | None = None) -> Path:
    """As `write_training_images`: n whole people, one to a picture, on nothing (RGBA PNG), to be pasted into photos."""
    _refuse_none(n)
    return _write(Path(out_dir), n, seed, "png", cutouts(n, seed, wardrobe))


def _refuse_none(n: int) -> None:
    if n < 1:
        raise InputError(f"n: expected at least one image, got {n}")


def _write(out: Path, n: int, seed: int, kind: str, pictures: Iterable[Labelled]) -> Path:
    (out / "images").mkdir(parents=True, exist_ok=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    with progress("draw training images", n, "images") as advance:
        for k, made in enumerate(pictures):
            name, quality = f"{k:06d}.{kind}", jpeg_quality(seed, k)
            pixels = cv2.cvtColor(made.image, cv2.COLOR_RGBA2BGRA if kind == "png" else cv2.COLOR_RGB2BGR)
            cv2.imwrite(str(out / "images" / name), pixels, [cv2.IMWRITE_JPEG_QUALITY, quality] if kind == "jpg" else [])
            images.append({"id": k, "file_name": name, "width": SIZE_PX, "height": SIZE_PX})
            annotations += _annotations(made, k, len(annotations))
            advance(1)
    category = {"id": 1, "name": "person", "keypoints": list(COCO17.joints)}
    category["skeleton"] = [[a + 1, b + 1] for a, b in COCO17.limbs]
    content = {"images": images, "annotations": annotations, "categories": [category]}
    write_atomically(out / "annotations.json", json.dumps(content))
    return out / "annotations.json"


def jpeg_quality(seed: int, number: int) -> int:
    """The JPEG quality of an image, 60 to 95."""
    return int(np.random.default_rng((seed, number, 1)).integers(60, 96))


def _annotations(made: Labelled, image: int, first: int) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for xy_px, flags, box in zip(made.xy_px, made.flags, made.boxes_px, strict=True):
        known = flags > 0
        if not known.any():
            continue
        table = np.column_stack([np.where(known[:, None], xy_px, 0), flags])
        keypoints = [round(float(v), 2) for v in table.ravel()]
        bbox = [round(float(v), 2) for v in box]
        row = {"id": first + len(out) + 1, "image_id": image, "category_id": 1, "iscrowd": 0, "bbox": bbox}
        out.append(row | {"area": bbox[2] * bbox[3], "num_keypoints": int(known.sum()), "keypoints": keypoints})
    return out
