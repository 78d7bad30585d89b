"""The detector on images and videos that belong to no session: a table of people, and overlays with people drawn.

Memory is one batch of frames, whatever the length of a video. Files that cannot be read are told at the end, the others done.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.config import DetectConfig
from pipeline.detect import FindsPeople, detect, detector_of
from pipeline.errors import InputError
from pipeline.overlays import Overlays
from pipeline.probe import Shot
from pipeline.progress import progress
from pipeline.rows_file import RowsFile, rows_file
from pipeline.sources import IMAGE_ENDINGS, VIDEO_ENDINGS, list_media, read_image
from pipeline.tables import IMAGE_POSES
from pipeline.types import Poses2D
from pipeline.video import VideoReader

MEDIA_ENDINGS = (*IMAGE_ENDINGS, *VIDEO_ENDINGS)


@dataclass
class Found:
    """What came of every file. done: file, frames, people, their mean joint score; failed: file and why; wall_s: in all."""

    done: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    wall_s: float = 0.0

    @property
    def frames_per_s(self) -> float:
        """Frames of all files together, reading and drawing included."""
        return sum(line["frames"] for line in self.done) / self.wall_s if self.wall_s else 0.0


def detect_images(inputs: Sequence[Path], out: Path, draw: Path | None, config: DetectConfig) -> Found:
    """Find people in images and videos; IMAGE_POSES rows to `out`, and drawn into the folder `draw` unless None.

    inputs: files, folders of them, or patterns. Raises InputError for one that is not there, and when no file could be read.
    """
    files = expand(inputs)
    if out.is_dir():
        raise InputError(f"{out}: expected the name of a file to write, such as people.parquet, found a folder")
    overlays = Overlays(draw, files) if draw is not None else None
    detector, found, begun = detector_of(config), Found(), time.perf_counter()
    with rows_file(out, IMAGE_POSES) as table, progress("detect", len(files), "files") as advance:
        for file in files:
            try:
                found.done.append(detect_file(detector, file, table, overlays, config))
            except InputError as error:
                found.failed.append({"file": str(file), "why": str(error)})
            advance(1)
        if not found.done:
            raise InputError("\n".join(line["why"] for line in found.failed))
    found.wall_s = time.perf_counter() - begun
    return found


def detect_file(
    detector: FindsPeople, file: Path, table: RowsFile, overlays: Overlays | None, config: DetectConfig
) -> dict[str, Any]:
    """The people of one file into the table and its overlay. Raises InputError; rows of the frames before it are kept."""
    frames = people = joints = 0
    total = 0.0
    with ExitStack() as open_files:
        show = open_files.enter_context(overlays.of(file, is_video(file))) if overlays is not None else None
        for batch in batches(shots_of(file), config.batch, file):
            poses = detect(detector, [(shot.t_ns, shot.image) for shot in batch], "", config)
            for shot, pose in zip(batch, poses, strict=True):
                table.write(people_rows(file, shot, pose))
                if show is not None:
                    show(shot, pose)
                frames, people = frames + 1, people + len(pose)
                joints, total = joints + int((pose.score > 0).sum()), total + float(pose.score.sum())
    return {"file": str(file), "frames": frames, "people": people, "mean_score": total / joints if joints else 0.0}


def is_video(file: Path) -> bool:
    """By its name, as the folder listing has it."""
    return file.suffix.lower() in VIDEO_ENDINGS


def shots_of(file: Path) -> Iterator[Shot]:
    """The frames of a video with its progress, or the one of a still image. Raises InputError."""
    if not is_video(file):
        yield Shot(0, 0, read_image(file))
        return
    reader = VideoReader(file)
    with progress(file.name, reader.probe().frames, "frames") as advance:
        for shot in reader.shots():
            yield shot
            advance(1)


def batches(shots: Iterator[Shot], count: int, file: Path) -> Iterator[list[Shot]]:
    """Up to `count` frames at a time. Raises InputError when frames differ in size: neither a batch nor an overlay can."""
    size: tuple[int, ...] | None = None
    while batch := list(islice(shots, count)):
        size = size or batch[0].image.shape
        for shot in batch:
            if shot.image.shape != size:
                raise InputError(
                    f"{file}: frame {shot.number} is {shot.image.shape[1]}x{shot.image.shape[0]} px, those before "
                    f"{size[1]}x{size[0]}; cut the video where its size changes"
                )
        yield batch


def expand(inputs: Iterable[Path]) -> list[Path]:
    """Files as given, folders and patterns as their images and videos in natural order; every file once.

    Raises InputError for a path that is not there.
    """
    files: dict[Path, None] = {}
    for path in inputs:
        if path.is_file():
            files[path] = None
        elif path.is_dir() or any(letter in path.name for letter in "*?["):
            files |= dict.fromkeys(list_media(path, MEDIA_ENDINGS, "images or videos"))
        else:
            raise InputError(
                f"{path}: expected an image, a video, a folder of them or a pattern such as 'in/*.jpg', found nothing"
            )
    return list(files)


def people_rows(file: Path, shot: Shot, people: Poses2D) -> Iterator[dict[str, Any]]:
    """IMAGE_POSES rows of one frame."""
    for person in range(len(people)):
        yield {
            "file": str(file),
            "frame": shot.number,
            "t_ns": shot.t_ns,
            "width_px": shot.image.shape[1],
            "height_px": shot.image.shape[0],
            "person": person,
            "x_px": people.xy_px[person, :, 0].tolist(),
            "y_px": people.xy_px[person, :, 1].tolist(),
            "score": people.score[person].tolist(),
            "tag": people.tag[person].tolist(),
        }
