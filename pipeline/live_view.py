"""What the cameras of a running recording show: small JPEGs, made best-effort beside it. Recording never waits for them."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np

from calibration.board_set import Target, parse_target
from pipeline.board_coverage import Coverage, where_next
from pipeline.draw import draw_people
from pipeline.live import Arrival, LiveStream
from pipeline.live_sources import streams_of
from pipeline.probe import Image
from pipeline.samples import encode_jpeg
from pipeline.session import load_session
from pipeline.sources import Crop, crop
from pipeline.types import Array

SIDE_PX, QUALITY, PICTURES_PER_S = 640, 75, 10.0
# Packets that may wait: more, and those up to the next keyframe are dropped.
WAITING = 45
# Seconds: the board is looked for so often, and people found longer ago are not drawn.
BOARD_S, FRESH_S = 0.3, 0.5


class _Waiting(NamedTuple):
    data: bytes
    key: bool


@dataclass
class _Camera:
    """One camera as it is shown. coverage: where the board was seen; people (P, J, 2) px in the image, found at found_s."""

    tile: Crop | None
    coverage: Coverage | None
    jpeg: bytes = b""
    image: Image | None = None
    people: Array | None = None
    found_s: float = 0.0
    looked_s: float = 0.0


class LiveView:
    """Decodes what `tap` is given, in a thread for each stream, and keeps every camera's newest picture as a JPEG."""

    def __init__(self, tiles: Mapping[str, Mapping[str, Crop | None]], board: Target | None) -> None:
        """tiles: stream name: {camera: its part of the picture}; board: show where it was seen."""
        self._cameras = {
            stream: {camera: _Camera(tile, Coverage(board) if board else None) for camera, tile in parts.items()}
            for stream, parts in tiles.items()
        }
        self._waiting: dict[str, deque[_Waiting]] = {stream: deque() for stream in tiles}
        self._decoders: dict[str, tuple[str, bytes]] = {}
        self._come = {stream: threading.Event() for stream in tiles}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._show, args=(stream,), daemon=True) for stream in tiles]

    def tap(self, stream: str, live: LiveStream, arrival: Arrival) -> None:
        """Take a copy of a packet; for the thread that records it."""
        waiting = self._waiting[stream]
        self._decoders[stream] = (live.codec, bytes(live.stream.codec_context.extradata or b""))
        if len(waiting) >= (1 if live.codec == "mjpeg" else WAITING):
            waiting.clear()
        waiting.append(_Waiting(bytes(arrival.packet), arrival.packet.is_keyframe))
        self._come[stream].set()

    def start(self) -> None:
        """Begin to show."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End; waits for the threads."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def cameras(self) -> list[str]:
        """The cameras, in order."""
        return [camera for parts in self._cameras.values() for camera in parts]

    def jpeg(self, camera: str) -> bytes:
        """The newest picture of a camera, b"" before the first."""
        return next(parts[camera].jpeg for parts in self._cameras.values() if camera in parts)

    def next_place(self) -> str:
        """Where to film the board next, "" where no board is looked for."""
        shown = {name: each for parts in self._cameras.values() for name, each in parts.items()}
        return where_next({name: each.coverage for name, each in shown.items() if each.coverage})

    def newest(self) -> dict[str, Image]:
        """The newest picture of every camera, for a detector."""
        shown = {name: each.image for parts in self._cameras.values() for name, each in parts.items()}
        return {name: image for name, image in shown.items() if image is not None}

    def put_people(self, camera: str, xy_px: Array, seen_s: float) -> None:
        """People (P, J, 2) found in a picture of a camera that was the newest at seen_s (monotonic)."""
        shown = next(parts[camera] for parts in self._cameras.values() if camera in parts)
        shown.people, shown.found_s = xy_px, seen_s

    def _show(self, stream: str) -> None:
        step_back()
        decoder: Any = None
        opened, last_s, lost = ("", b""), 0.0, True
        while not self._stop.is_set():
            if not self._waiting[stream]:
                self._come[stream].wait(0.2)
                self._come[stream].clear()
                continue
            try:
                packet = self._waiting[stream].popleft()
            except IndexError:  # dropped meanwhile: all that follows refers to what is gone
                lost = True
                continue
            if self._decoders[stream] != opened:
                opened, decoder, lost = self._decoders[stream], _decoder(*self._decoders[stream]), True
            if lost and not packet.key:
                continue
            frames, lost = _frames(decoder, packet), False
            if frames and time.monotonic() - last_s > 1 / PICTURES_PER_S:
                last_s = time.monotonic()
                self._draw(stream, frames[-1].to_ndarray(format="rgb24"))

    def _draw(self, stream: str, image: Image) -> None:
        for camera, shown in self._cameras[stream].items():
            part = crop(image, shown.tile, camera)
            shown.image, now_s = part, time.monotonic()
            if shown.coverage is not None:
                if now_s - shown.looked_s > BOARD_S:
                    shown.looked_s = now_s
                    shown.coverage.look(part)
                part = shown.coverage.drawn(part)
            if shown.people is not None and now_s - shown.found_s < FRESH_S:
                part = draw_people(part, shown.people)
            shown.jpeg = encode_jpeg(_small(part), QUALITY)


def step_back() -> None:
    """Let this thread run when the recording ones do not need the processor (Linux counts niceness by thread)."""
    if hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


def view_of(root: Path, board: bool) -> LiveView:
    """The view of a session's live cameras; board: show where its board was seen. Raises InputError as `streams_of`."""
    session = load_session(root)
    tiles = {
        stream: {camera: session.live[camera].crop_px for camera in cameras}
        for stream, (_, cameras) in streams_of(root, session).items()
    }
    return LiveView(tiles, parse_target(session.board) if board and session.board else None)


def _decoder(codec: str, extradata: bytes) -> Any:
    decoder = av.CodecContext.create(codec, "r")
    if extradata:
        decoder.extradata = extradata
    return decoder


def _frames(decoder: Any, packet: _Waiting) -> Sequence[Any]:
    try:
        return list(decoder.decode(av.Packet(packet.data)))
    except av.FFmpegError:
        return []


def _small(image: Image) -> Image:
    scale = SIDE_PX / max(image.shape[:2])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image
    return np.ascontiguousarray(small, np.uint8)
