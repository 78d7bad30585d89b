"""Pictures of results for people to look at: a contact sheet per camera."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.draw import draw_people
from pipeline.ingest import read_frame_sets
from pipeline.parquet import reading
from pipeline.samples import encode_jpeg
from pipeline.store import Store
from pipeline.tables import read_rows
from pipeline.types import Array, Artefact

Image = NDArray[np.uint8]


def contact_sheet(
    store: Store, ingest: Artefact, detect: Artefact, clip: str, camera: str, tiles: int = 12, max_bytes: int = 360_000
) -> bytes:
    """A JPEG of `tiles` instants of one camera, evenly spread over the clip, with the people detected drawn on them.

    It is made worse until it is no larger than max_bytes: 360 kB are 480 kB as a data URI.
    """
    with reading(detect.path):
        people = people_by_instant(read_rows(detect.path))
    with reading(ingest.path):
        chosen = spread(1 + max(row["instant"] for row in read_rows(ingest.path)), tiles)
    pictures = []
    for instant in read_frame_sets(store, ingest, clip, [camera], chosen):
        if (frame := instant.frames[0]) is not None:
            pictures.append(thumbnail(frame.image, people.get(instant.t_ns), f"{instant.t_ns / 1e9:.2f} s"))
    return shrink_to(sheet(pictures), max_bytes)


def people_by_instant(rows: Iterable[dict[str, Any]]) -> dict[int, Array]:
    """POSES2D rows of one camera as t_ns -> joints (P, J, 2) in px; instants without people are left out."""
    found: dict[int, list[Array]] = {}
    for row in rows:
        found.setdefault(row["t_ns"], []).append(np.stack([row["x_px"], row["y_px"]], axis=-1).astype(np.float64))
    return {t_ns: np.stack(people) for t_ns, people in found.items()}


def spread(count: int, wanted: int) -> list[int]:
    """`wanted` of the numbers 0..count-1, evenly spread, both ends included; all of them when there are fewer."""
    return sorted({round(at) for at in np.linspace(0, count - 1, min(count, wanted))})


def thumbnail(image: Image, xy_px: Array | None, caption: str, width_px: int = 400) -> Image:
    """An RGB image with people drawn (missing: None), resized to `width_px`, captioned in its top left corner."""
    drawn = image if xy_px is None else draw_people(image, xy_px)
    height_px = round(image.shape[0] * width_px / image.shape[1])
    small = cv2.resize(drawn, (width_px, height_px), interpolation=cv2.INTER_AREA)
    # A thicker text is a longer one, so the outline is the same text moved by a pixel each way.
    shadow = [(x, y, (0, 0, 0)) for x in (5, 7) for y in (15, 17)]
    for x, y, colour in [*shadow, (6, 16, (255, 255, 255))]:
        cv2.putText(small, caption, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)
    return small.astype(np.uint8)


def sheet(pictures: Sequence[Image], columns: int = 4) -> Image:
    """Pictures of one width in rows of `columns`, grey where there are none."""
    height, width = max(picture.shape[0] for picture in pictures), pictures[0].shape[1]
    columns = min(columns, len(pictures))
    canvas = np.full((math.ceil(len(pictures) / columns) * height, columns * width, 3), 114, np.uint8)
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        canvas[row * height : row * height + picture.shape[0], column * width : (column + 1) * width] = picture
    return canvas


def shrink_to(image: Image, max_bytes: int) -> bytes:
    """The image as a JPEG of at most max_bytes: first the quality falls, then the size."""
    for quality in (85, 75, 65, 50, 40):
        if len(data := encode_jpeg(image, quality)) <= max_bytes:
            return data
    half = cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return shrink_to(half.astype(np.uint8), max_bytes)
