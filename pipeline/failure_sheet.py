"""A picture of the people a detector fails on: labels on the left, the detection on the right, and why."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from calibration.transforms import scale_px
from models.skeleton import Topology
from pipeline.atomic import write_atomically
from pipeline.draw import draw_people
from pipeline.errors import InputError
from pipeline.joint_outcomes import Failure
from pipeline.probe import Image
from pipeline.report import sheet, thumbnail
from pipeline.samples import encode_png
from pipeline.types import Array

TILE_PX = 200
AROUND = 1.5  # side of the square shown, in longer sides of the box
LARGEST = 4  # in longer sides of the image: a larger square shows nothing more
PADDING_GREY = 114


def write_failures(out: Path, failures: Sequence[Failure], topology: Topology) -> Path:
    """Write the sheet as a PNG: to `out`, or to out/failures.png where `out` does not end in .png. Returns the file.

    Raises InputError when there is nothing to show or a file stands where the folder should.
    """
    path = out if out.suffix.lower() == ".png" else out / "failures.png"
    if path.is_dir() or path.parent.is_file():
        raise InputError(f"--failures {out}: expected the name of a .png or of a folder, found the other kind")
    if not failures:
        raise InputError(f"--failures {out}: every labelled joint was right, so there is nobody to draw")
    write_atomically(path, encode_png(failure_sheet(failures, topology)))
    return path


def failure_sheet(failures: Sequence[Failure], topology: Topology) -> Image:
    """RGB (H, W, 3): a tile per person, worst first: labels left, detection right, and the count of right joints."""
    return sheet([_tile(number + 1, failure, topology) for number, failure in enumerate(failures)], columns=5)


def _tile(number: int, failure: Failure, topology: Topology) -> Image:
    view, joints = square_view(failure.photo.image(), failure.person.box, np.stack([failure.person.xy_px, failure.found_px]))
    labelled = failure.counts["right"] + sum(failure.counts[kind] for kind in ("swapped", "missed", "far"))
    halves = [draw_people(view, each[None], topology, width_px=2) for each in joints]
    captions = f"{number} {Path(failure.photo.file_name).stem[:18]}", f"{failure.counts['right']}/{labelled} {failure.why}"
    pair = [thumbnail(half, None, caption, TILE_PX) for half, caption in zip(halves, captions, strict=True)]
    return np.pad(np.concatenate(pair, axis=1), ((2, 2), (2, 2), (0, 0)))


def square_view(image: Image, box: Array, xy_px: Array) -> tuple[Image, Array]:
    """A square of TILE_PX around a box (x, y, w, h) of an RGB image, grey beyond it, and points (..., 2) in its pixels."""
    side = min(max(round(AROUND * float(box[2:].max())), 2), LARGEST * max(image.shape[:2]))
    left, top = (int(v) for v in np.floor(box[:2] + box[2:] / 2 - side / 2))
    canvas = np.full((side, side, 3), PADDING_GREY, np.uint8)
    x0, y0 = max(left, 0), max(top, 0)
    part = image[y0 : max(top + side, 0), x0 : max(left + side, 0)]
    canvas[y0 - top : y0 - top + part.shape[0], x0 - left : x0 - left + part.shape[1]] = part
    mode = cv2.INTER_AREA if side > TILE_PX else cv2.INTER_LINEAR
    view = cv2.resize(canvas, (TILE_PX, TILE_PX), interpolation=mode).astype(np.uint8)
    return view, scale_px(xy_px - [left, top], np.full(2, TILE_PX / side))
