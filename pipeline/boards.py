"""Looking for the calibration board in photos and clips, and saying why it was not found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.board import Board, find_corners
from calibration.board_set import Target, boards_of, find_views
from calibration.errors import CalibrationError
from pipeline.errors import StageError
from pipeline.ingest import read_frame_sets
from pipeline.near_misses import explain
from pipeline.probe import Image
from pipeline.progress import progress
from pipeline.sources import list_images, read_image
from pipeline.store import Store
from pipeline.types import Artefact

Array = NDArray[np.float64]

# Images that other board specs are tried on, and the size they are shrunk to: a hint is enough.
HINT_IMAGES = 4
HINT_SIDE_PX = 1000
# Images, at their full size, that are searched for a board that was nearly found.
NEAR_IMAGES = 12
# OpenCV's predefined families; a smaller dictionary is the head of its family's largest.
FAMILIES = ("DICT_4X4_1000", "DICT_5X5_1000", "DICT_6X6_1000", "DICT_7X7_1000", "DICT_APRILTAG_36h11")


def photos(folder: Path, name: str) -> list[Image]:
    """Every photo of a folder as grey uint8 (H, W), in natural order. Raises InputError for an empty folder."""
    files = list_images(folder)
    with progress(f"calibrate {name}", len(files), "photos") as advance:
        return [_grey(read_image(file), advance) for file in files]


def _grey(image: Image, advance: object) -> Image:
    advance(1)  # type: ignore[operator]
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.uint8, copy=False)


def corners_in_clip(
    store: Store, ingest: Artefact, clip: str, target: Target, cameras: Sequence[str], instants: Sequence[int]
) -> tuple[Array, Array]:
    """Corners (C, F B, M, 2) px of B boards at F instants, NaN unseen, and the times (C, F B) s of their frames, NaN for none.

    The views of one instant follow each other, board by board; each camera's image origin is not applied. Raises StageError
    naming the camera that sees no board at all, with what would match.
    """
    boards = len(boards_of(target))
    corners = np.full((len(cameras), len(instants), boards, len(target.corners_m), 2), np.nan)
    times_s = np.full((len(cameras), len(instants), boards), np.nan)
    with progress("calibrate corners", len(instants), "instants") as advance:
        for number, frames in enumerate(read_frame_sets(store, ingest, clip, cameras, instants)):
            for camera, frame in enumerate(frames.frames):
                if frame is not None:
                    corners[camera, number] = find_views(target, frame.image)
                    times_s[camera, number] = frame.t_ns / 1e9
            advance(1)
    views = np.isfinite(corners[..., 0]).any((2, 3)).sum(1)
    blind = [name for name, count in zip(cameras, views, strict=True) if count == 0]
    if blind:
        some = _spread(instants, NEAR_IMAGES)
        sets = zip(read_frame_sets(store, ingest, clip, blind[:1], some), some, strict=False)
        seen = [(frame.image, f"instant {at}") for frames, at in sets for frame in frames.frames if frame is not None]
        images, labels = [image for image, _ in seen], [label for _, label in seen]
        raise no_board(target, images, f"camera {blind[0]}: clip {clip}", len(instants), _others(cameras, views), labels)
    flat = (len(cameras), len(instants) * boards)
    return corners.reshape(*flat, -1, 2), times_s.reshape(flat)


def rolling_in_clip(
    store: Store, ingest: Artefact, clip: str, target: Target, cameras: Sequence[str], instants: Sequence[int]
) -> tuple[Array, Array]:
    """As `corners_in_clip` in the frames before, at and after each instant: corners (C, 3, F B, M, 2) and times (C, 3, F B)."""
    count, boards = int(ingest.summary["instants"]), len(boards_of(target))
    near = sorted({at + step for at in instants for step in (-1, 0, 1) if 0 <= at + step < count})
    corners, times_s = corners_in_clip(store, ingest, clip, target, cameras, near)
    place = {at: number for number, at in enumerate(near)}
    none = len(near) * boards  # what is beyond the ends of the clip
    rows = np.array([[place[at + step] * boards + b if at + step in place else none for at in instants for b in range(boards)]
                     for step in (-1, 0, 1)])  # fmt: skip
    padded = np.concatenate([corners, np.full_like(corners[:, :1], np.nan)], axis=1)
    return padded[:, rows], np.concatenate([times_s, np.full_like(times_s[:, :1], np.nan)], axis=1)[:, rows]


def _others(cameras: Sequence[str], views: Iterable[int]) -> str:
    found = [f"{name} {count}" for name, count in zip(cameras, views, strict=True)]
    return f" (views found per camera: {', '.join(found)})"


def _spread(values: Sequence[Any], count: int) -> list[Any]:
    return list(values[:: max(1, len(values) // count)][:count])


def no_board(
    target: Target, images: Sequence[Image], where: str, searched: int, detail: str = "", labels: Sequence[str] = ()
) -> StageError:
    """The error for a target that is in none of `searched` images: the nearest spec that does match some of `images`, else
    where it was nearly found and why it was not. labels name the images; default: image 1, image 2, ..."""
    small = [_shrunk(image) for image in _spread(images, HINT_IMAGES)]
    hint = next((hint for board in boards_of(target) for hint in _hints(board, small)), "")
    named = list(zip(images, labels or [f"image {number + 1}" for number in range(len(images))], strict=True))
    chosen = _spread(named, NEAR_IMAGES)
    if hint:
        advice = f"{hint}; correct it with `posemill new SESSION --board SPEC`"
    else:
        near = (explain(board, [image for image, _ in chosen], [label for _, label in chosen]) for board in boards_of(target))
        advice = next(filter(None, near), "") or (
            "no board of a neighbouring size or kind is there either: check that the whole board is in view, sharp and lit"
        )
    return StageError(f"{where}: board {target.spec} found in 0 of {searched} images{detail}; {advice}")


def _hints(board: Board, images: Sequence[Image]) -> Iterator[str]:
    for other in _neighbours(board):
        found = sum(bool(np.isfinite(find_corners(other, image)).any()) for image in images)
        if found:
            yield f"but {other.spec} matches {found} of {len(images)} of them"
    if board.kind == "charuco":
        yield from _dictionary_hints(board, images)


def _neighbours(board: Board) -> Iterator[Board]:
    """Specs a user may have meant: squares counted for corners, columns and rows exchanged, one more or less."""
    steps = [(-1, -1), (1, 1), (-1, 0), (0, -1), (1, 0), (0, 1)] if board.kind == "chessboard" else []
    candidates: list[dict[str, object]] = [{"cols": board.cols + c, "rows": board.rows + r} for c, r in steps]
    if board.kind != "chessboard":
        candidates = [{"cols": board.rows, "rows": board.cols}, {"legacy": not board.legacy}, {"inverted": not board.inverted}]
        candidates += [{"cols": board.rows, "rows": board.cols, "inverted": not board.inverted}]
    for change in candidates:
        try:
            yield replace(board, **change)  # type: ignore[arg-type]
        except CalibrationError:
            continue


def _dictionary_hints(board: Board, images: Sequence[Image]) -> Iterator[str]:
    for inverted in (False, True):
        for family in FAMILIES:
            detector = cv2.aruco.ArucoDetector(cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, family)))
            ids = [detector.detectMarkers(255 - image if inverted else image)[1] for image in images]
            seen = sorted({int(value) for found in ids if found is not None for value in found.ravel()})
            if len(seen) > 3:
                yield (
                    f"but {len(seen)} markers of {family}{' printed inverted' * inverted} are there (ids {seen[0]} to "
                    f"{seen[-1]}), so the dictionary or the number of squares differs"
                )


def _shrunk(image: Image) -> Image:
    scale = min(1.0, HINT_SIDE_PX / max(image.shape[:2]))
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
