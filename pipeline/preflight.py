"""A look at live cameras before they are recorded: exposure, focus, the board, and whether the disk will do."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from calibration.board_set import Target, find_views
from pipeline.live import open_live
from pipeline.live_sources import decoded
from pipeline.probe import Image
from pipeline.session import Live
from pipeline.sources import crop

# Seconds of every stream: a keyframe to look at, and what it takes of the disk.
LOOK_S = 2.0
# Share of pixels that are black or white. Of 86 first pictures of films and photos none had more than 0.25 of either.
MAX_CLIPPED = 0.35
DARK, BRIGHT = 2, 253
# Variance of the Laplacian over the variance, at 640 px: the same 86 pictures lie above 0.05, blurred by 1/240 of their width
# those of films below 0.01.
MIN_SHARPNESS = 0.02
SHARPNESS_SIDE_PX = 640
# Grey levels, standard deviation: a lens cap.
MIN_CONTRAST = 3.0


@dataclass(frozen=True)
class Look:
    """One camera before a recording. dark, bright: shares of clipped pixels; sharpness as in `sharpness_of`; board: whether it
    is seen, None where nobody asked; problems: what should be mended, in words."""

    camera: str
    size_wh: tuple[int, int]
    mbit_s: float
    dark: float
    bright: float
    sharpness: float
    board: bool | None
    problems: tuple[str, ...]


def look_at(streams: Mapping[str, tuple[str, Sequence[str]]], live: Mapping[str, Live], board: Target | None) -> list[Look]:
    """A look at every camera; streams: as of `live_sources.streams_of`. Raises InputError and StageError naming the camera that
    cannot be opened or shows nothing."""
    with ThreadPoolExecutor(max_workers=len(streams)) as pool:
        jobs = [pool.submit(_look_at_stream, url, cameras, live, board) for url, cameras in streams.values()]
        return [look for job in jobs for look in job.result()]


def _look_at_stream(url: str, cameras: Sequence[str], live: Mapping[str, Live], board: Target | None) -> list[Look]:
    owner = f"camera {', '.join(cameras)}"
    image: Image | None = None
    size, begin, until = 0, 0, 0
    with open_live(url, owner) as stream:
        for arrival in stream.packets():
            begin = begin or arrival.arrived_ns
            until, size = arrival.arrived_ns, size + arrival.packet.size
            if image is None:
                image = next(iter(decoded(arrival.packet)), None)
            if image is not None and until - begin > LOOK_S * 1e9:
                break
    assert image is not None
    mbit_s = size * 8e3 / max(1, until - begin)
    return [_judged(camera, crop(image, live[camera].crop_px, owner), mbit_s / len(cameras), board) for camera in cameras]


def _judged(camera: str, image: Image, mbit_s: float, board: Target | None) -> Look:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    dark, bright = float((grey <= DARK).mean()), float((grey >= BRIGHT).mean())
    seen = bool(np.isfinite(find_views(board, image)).any()) if board is not None else None
    sharpness = sharpness_of(image)
    problems = []
    if grey.std() < MIN_CONTRAST:
        problems.append("the picture is blank: take off the cap, or let light in")
    elif sharpness < MIN_SHARPNESS:
        problems.append(f"out of focus: sharpness {sharpness:.4f}, expected {MIN_SHARPNESS} and more")
    if dark > MAX_CLIPPED:
        problems.append(f"too dark: {dark:.0%} of the pixels are black; open the iris, expose longer or add light")
    if bright > MAX_CLIPPED:
        problems.append(f"too bright: {bright:.0%} of the pixels are white; expose shorter")
    if seen is False:
        problems.append("the board is not seen; hold it into the view")
    size_wh, shares = (image.shape[1], image.shape[0]), (round(dark, 4), round(bright, 4))
    return Look(camera, size_wh, round(mbit_s, 3), *shares, round(sharpness, 4), seen, tuple(problems))


def sharpness_of(image: Image) -> float:
    """Variance of the Laplacian over the variance of the grey levels, of an RGB image shrunk to SHARPNESS_SIDE_PX.

    Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy" (ICPR 2000); divided so that contrast and light do not
    count.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    if (scale := SHARPNESS_SIDE_PX / max(grey.shape)) < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.float32)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var() / max(float(grey.var()), 1e-6))


def disk_problem(looks: Sequence[Look], folder: Path, seconds: float | None, reserve_bytes: int) -> str:
    """What to say when the disk of `folder` does not hold so many seconds (None: a minute) at this rate, "" when it does."""
    rate = sum(look.mbit_s for look in looks) * 1e6 / 8
    planned = 60.0 if seconds is None else seconds
    free = shutil.disk_usage(folder).free - reserve_bytes
    if rate * planned <= free:
        return ""
    return (
        f"the disk: {planned:g} s at {rate / 1e6:.1f} MB/s take {rate * planned / 1e9:.2f} GB, {max(0, free) / 1e9:.2f} GB can "
        f"be used; record at most {max(0.0, free / rate):.0f} s, or free some space"
    )
