"""What the recordings of one moment share besides people: sound, light, motion; read from their files for `calibration`."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.clock_signals import Signal
from pipeline.errors import InputError
from pipeline.media_file import open_media
from pipeline.probe import NS
from pipeline.progress import progress
from pipeline.session import Source
from pipeline.sources import crop, open_source
from pipeline.types import Array

SOUND_HZ = 16_000
# Wide enough to show a hand move, small enough that noise averages out.
THUMBNAIL_PX = 160


def sound(camera: str, path: Path) -> Signal:
    """The sound of a video file, mono, at SOUND_HZ; its time counts from the first picture. Raises InputError where there is
    none."""
    try:
        with open_media(path) as container:
            if not container.streams.audio or not container.streams.video:
                raise InputError(f"camera {camera}: {path}: expected a video with sound, found no sound track")
            first_s = _first_picture_s(container)
            parts, start_s = _samples(container)
    except av.FFmpegError as error:
        raise InputError(f"camera {camera}: {path}: its sound cannot be decoded ({error.strerror})") from error
    if not parts:
        raise InputError(f"camera {camera}: {path}: expected sound, found an empty sound track")
    return Signal(camera, np.concatenate(parts), start_s - first_s, float(SOUND_HZ))


def _first_picture_s(container: av.container.InputContainer) -> float:
    """Frames come out in the order they are shown, so the first that comes out is the first shown."""
    first = next(iter(container.decode(container.streams.video[0])), None)
    container.seek(0)
    return 0.0 if first is None or first.time is None else float(first.time)


def _samples(container: av.container.InputContainer) -> tuple[list[Array], float]:
    """Samples and the time of the first."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SOUND_HZ)
    parts: list[Array] = []
    start_s: float | None = None
    for frame in container.decode(container.streams.audio[0]):
        start_s = float(frame.time or 0.0) if start_s is None else start_s
        parts += [out.to_ndarray()[0].astype(np.float64) for out in resampler.resample(frame)]
    return parts, start_s or 0.0


def light(root: Path, camera: str, source: Source) -> tuple[Array, Array, Array]:
    """Of every frame of a camera: own time in s (F,), mean grey level, and how much the picture changed since the one before
    (mean absolute difference in grey levels; the first frame as the second). Films are decoded once, however often asked."""
    stamps = tuple((file.stat().st_size, file.stat().st_mtime_ns) for file in open_source(root, source).files)
    return _light(root, camera, source, stamps)


@lru_cache(maxsize=16)
def _light(root: Path, camera: str, source: Source, _: tuple[tuple[int, int], ...]) -> tuple[Array, Array, Array]:
    reader = open_source(root, source)
    own_s, level, change = [], [], []
    before: NDArray[np.int16] | None = None
    with progress(f"watch {camera}", reader.probe().frames, "frames") as advance:
        for shot in reader.shots():
            small = _thumbnail(crop(shot.image, source.crop_px, f"camera {camera}"))
            own_s.append(shot.t_ns / NS)
            level.append(float(small.mean()))
            change.append(float(np.abs(small - (small if before is None else before)).mean()))
            before = small
            advance(1)
    change[0] = change[min(1, len(change) - 1)]
    return np.array(own_s), np.array(level), np.array(change)


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.int16]:
    height_px = max(1, round(image.shape[0] * THUMBNAIL_PX / image.shape[1]))
    small = cv2.resize(image, (THUMBNAIL_PX, height_px), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.int16)
