"""Where frames come from: video files, image folders, recordings and crops of them, read by index with exact times.

A source that cannot be used raises InputError: which file, what was expected, what was found and what to do. Live streams are
recorded first (`pipeline.record`). Later kinds of source join here: a reader has `probe`, `check` and `shots`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from models.encoded_image import ImageError, check_size, decode_rgb
from pipeline.errors import InputError
from pipeline.probe import NS, Image, Probe, Reader, Shot
from pipeline.progress import Advance
from pipeline.recording import RecordingReader, is_recording
from pipeline.session import Source, resolve
from pipeline.video import VideoReader

Crop = tuple[int, int, int, int]

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
VIDEO_ENDINGS = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".wmv", ".gif")
# Image files carry no times; a source may state its own rate.
IMAGE_FPS = 30.0


def open_source(root: Path | str, source: Source) -> Reader:
    """The reader of a source; relative paths start at the session folder `root`. Raises InputError when nothing is there."""
    path = resolve(root, source.path)
    if is_recording(path):
        return RecordingReader(path)
    if any(letter in path.name for letter in "*?[") or path.is_dir():
        return ImageReader(path, source.fps or IMAGE_FPS)
    if not path.is_file():
        raise InputError(f"{path}: not found; expected a video file, a folder of images or a pattern such as images/*.png")
    return VideoReader(path)


def crop(image: Image, crop_px: Crop | None, owner: str) -> Image:
    """The part (x, y, width, height) of an image; InputError when it reaches outside."""
    if crop_px is None:
        return image
    x, y, width, height = crop_px
    if x < 0 or y < 0 or x + width > image.shape[1] or y + height > image.shape[0]:
        raise InputError(
            f"{owner}: crop_px {crop_px} (x, y, width, height) reaches outside the frame of "
            f"{image.shape[1]}x{image.shape[0]} px; correct it in session.yaml"
        )
    return np.ascontiguousarray(image[y : y + height, x : x + width])


def size_of(probe: Probe, source: Source) -> tuple[int, int]:
    """Width and height in px of a camera's images, after cropping."""
    return probe.size_wh if source.crop_px is None else (source.crop_px[2], source.crop_px[3])


def by_file(root: Path | str, sources: Mapping[str, Source]) -> dict[Path, list[str]]:
    """Which cameras share a file: path -> camera names. Such cameras are decoded in one pass."""
    shared: dict[Path, list[str]] = {}
    for camera, source in sources.items():
        shared.setdefault(resolve(root, source.path), []).append(camera)
    return shared


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sorting key that puts img2 before img10."""
    return [(int(part), "") if part.isdigit() else (-1, part.lower()) for part in re.split(r"(\d+)", name)]


def list_images(path: Path) -> list[Path]:
    """The images of a folder, or those that match a pattern, in natural order. Raises InputError naming what was found."""
    return list_media(path, IMAGE_ENDINGS, "images")


def list_media(path: Path, endings: Sequence[str], kind: str) -> list[Path]:
    """The files with these endings in a folder, or among those that match a pattern, in natural order. Raises InputError."""
    folder, pattern = (path, "*") if path.is_dir() else (path.parent, path.name)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected {kind} ({' '.join(endings)})")
    # Names that begin with a dot are thumbnails and half-written files of other programs.
    files = [file for file in folder.glob(pattern) if file.is_file() and not file.name.startswith(".")]
    media = [file for file in files if file.suffix.lower() in endings]
    if not media:
        raise InputError(f"{path}: expected {kind} ({' '.join(endings)}), found none among {len(files)} files")
    return sorted(media, key=lambda file: natural_key(file.name))


def read_image(path: Path) -> Image:
    """A still image as RGB uint8 (H, W, 3), turned upright as its EXIF says; grey, 16 bits, CMYK and alpha become that.

    Raises InputError for what is no still image, and before decoding for one above Pillow's limit (179 megapixels).
    """
    try:
        data = path.read_bytes()
        kind, frames = check_size(data)
        if frames > 1 and kind in ("GIF", "WEBP", "PNG"):  # pages of a TIFF and a phone's MPO are no animation
            raise InputError(
                f"{path}: expected a still image, found {frames} frames ({kind}); "
                "save the one you mean, or make it a video such as mp4"
            )
        return decode_rgb(data)
    except ImageError as error:
        raise InputError(f"{path}: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: not a readable image ({error}); replace it, or take it out of the folder") from error


class ImageReader:
    """A folder of images as a recording with an even frame rate."""

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.fps, self.files = path, fps, list_images(path)

    def _time_ns(self, index: int) -> int:
        return round(index * NS / Fraction(self.fps))

    def _probe(self, size_wh: tuple[int, int], problem: str = "") -> Probe:
        times = tuple(self._time_ns(index) for index in range(len(self.files)))
        return Probe(self.path, size_wh, times, len(self.files), problem)

    def probe(self) -> Probe:
        """See Reader."""
        height, width = read_image(self.files[0]).shape[:2]
        return self._probe((width, height))

    def check(self, advance: Advance) -> Probe:
        """See Reader."""
        problem = ""
        try:
            for _ in self.shots():
                advance(1)
        except InputError as error:
            problem = str(error)
        size_wh = (0, 0) if problem.startswith(str(self.files[0])) else self.probe().size_wh
        return self._probe(size_wh, problem)

    def shots(self, numbers: Sequence[int] | None = None) -> Iterator[Shot]:
        """See Reader."""
        first = read_image(self.files[0]).shape
        every = range(len(self.files))
        for index in every if numbers is None else [number for number in numbers if number in every]:
            image = read_image(self.files[index])
            if image.shape != first:
                raise InputError(
                    f"{self.files[index]}: is {image.shape[1]}x{image.shape[0]} px, the first image of the folder "
                    f"{first[1]}x{first[0]}; all images of one camera must have one size"
                )
            yield Shot(index, self._time_ns(index), image)


def layout_crops(size_wh: tuple[int, int], layout: str, owner: str = "tiled file") -> list[Crop]:
    """The crops of a tiled frame, row by row; layout COLSxROWS such as 2x2, 4x1, 1x4. Raises InputError when the frame does
    not divide into equal tiles."""
    match = re.fullmatch(r"([1-9]\d?)x([1-9]\d?)", layout)
    if match is None:
        raise InputError(f"layout: expected COLUMNSxROWS such as 2x2, 4x1 or 1x4, got {layout!r}")
    cols, rows = int(match[1]), int(match[2])
    width, height = size_wh
    if width % cols or height % rows:
        raise InputError(
            f"{owner}: {width}x{height} px cannot be cut into {layout} tiles (each {width / cols:g} x {height / rows:g} px); "
            "check the layout, or give each camera its crop_px in session.yaml"
        )
    tile = (width // cols, height // rows)
    return [(col * tile[0], row * tile[1], *tile) for row in range(rows) for col in range(cols)]
