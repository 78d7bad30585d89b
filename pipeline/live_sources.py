"""The live sources of a session: each address is opened once, and kept in session.yaml without its password."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from pipeline.credentials import expanded, full_url, keep, redacted
from pipeline.errors import InputError
from pipeline.live import LiveStream, open_live
from pipeline.probe import Image
from pipeline.session import Live, Session
from pipeline.sources import Crop, crop, layout_crops


@dataclass(frozen=True)
class Asked:
    """An address, and the cameras in its pictures: one that fills them, or the tiles of a layout (COLUMNSxROWS)."""

    url: str
    cameras: tuple[str, ...]
    layout: str = "1x1"


@dataclass(frozen=True)
class Found:
    """What a live source sent when it was opened. fps: as told by the camera, 0 where it tells none; image: its first picture,
    RGB uint8 (H, W, 3)."""

    url: str
    size_wh: tuple[int, int]
    codec: str
    fps: float
    crops: tuple[Crop, ...]
    image: Image


def is_live(path: str) -> bool:
    """Whether a source is the address of a stream or a capture device, not a file."""
    return "://" in path or path.startswith(("/dev/video", "genicam:"))


def look(asked: Sequence[Asked]) -> dict[str, Found]:
    """Open every address once; address: what it sends. Raises InputError or StageError naming the cameras."""
    found = {}
    for each in asked:
        owner = f"camera {', '.join(each.cameras) or each.layout}"
        with open_live(expanded(each.url, owner), owner) as live:
            crops = tuple(layout_crops(live.size_wh, each.layout, redacted(each.url)))
            found[each.url] = Found(each.url, live.size_wh, live.codec, live.fps, crops, first_picture(live))
    return found


def first_picture(live: LiveStream) -> Image:
    """The first picture that can be decoded, RGB uint8 (H, W, 3). Raises Unreachable when the stream ends before."""
    return next(image for arrival in live.packets() for image in decoded(arrival.packet))


def decoded(packet: av.Packet) -> list[Image]:
    """The pictures that a packet completes, RGB uint8 (H, W, 3); none where what it refers to is not there."""
    try:
        frames = [frame for frame in packet.decode() if isinstance(frame, av.VideoFrame)]
    except av.error.InvalidDataError:
        return []
    return [frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False) for frame in frames]


def live_pictures(asked: Sequence[Asked], found: Mapping[str, Found]) -> dict[str, Image]:
    """The first picture of every camera in the live sources."""
    return {
        name: crop(found[each.url].image, tile, f"camera {name}")
        for each in asked
        for name, tile in zip(each.cameras, found[each.url].crops, strict=True)
    }


def keep_live(root: Path, asked: Sequence[Asked], found: Mapping[str, Found]) -> dict[str, Live]:
    """The live sources as session.yaml has them; passwords go to SESSION/.credentials.yaml."""
    urls = {camera: each.url for each in asked for camera in each.cameras}
    root.mkdir(parents=True, exist_ok=True)
    shown = keep(root, urls)
    live = {}
    for each in asked:
        crops: Sequence[Crop | None] = (None,) if each.layout == "1x1" else found[each.url].crops
        live.update({name: Live(url=shown[name], crop_px=crop) for name, crop in zip(each.cameras, crops, strict=True)})
    return live


def streams_of(root: Path, session: Session) -> dict[str, tuple[str, tuple[str, ...]]]:
    """What `posemill record` opens: name of the stream: (whole address, the cameras in its pictures).

    Raises InputError when the session has no live source, or a password is not known.
    """
    if not session.live:
        raise InputError(
            f"{root}: this session has no live sources; add them: posemill new {root} --live {session.cameras[0]}=URL"
        )
    by_url: dict[str, list[str]] = {}
    for camera, live in session.live.items():
        by_url.setdefault(full_url(root, camera, live.url), []).append(camera)
    return {"+".join(cameras): (url, tuple(cameras)) for url, cameras in by_url.items()}
