"""Industrial cameras through GenTL producers and `harvesters`: their pictures come raw and are packed without loss (FFV1)."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np

from pipeline.errors import InputError
from pipeline.probe import Image

SCHEME = "genicam:"
PRODUCERS = "GENICAM_GENTL64_PATH"
FETCH_TIMEOUT_S = 3.0
_BAYER = {
    "BayerRG8": cv2.COLOR_BayerRGGB2RGB,
    "BayerGR8": cv2.COLOR_BayerGRBG2RGB,
    "BayerGB8": cv2.COLOR_BayerGBRG2RGB,
    "BayerBG8": cv2.COLOR_BayerBGGR2RGB,
}
_TICK = Fraction(1, 1_000_000)


class Grabbed(NamedTuple):
    """One picture of a camera, RGB uint8 (H, W, 3) or grey (H, W), and its time on the camera's clock."""

    image: Image
    t_ns: int


@contextmanager
def open_genicam(url: str, owner: str) -> Iterator[av.container.InputContainer]:
    """A camera by its serial number (genicam:SERIAL) as a container with one FFV1 stream, timed by the camera.

    Raises InputError when `harvesters`, the maker's GenTL producer or the camera is missing.
    """
    with _acquiring(url.removeprefix(SCHEME), owner) as grab:
        first = grab()
        reading, writing = os.pipe()
        stop = threading.Event()
        thread = threading.Thread(target=_pack, args=(first, grab, writing, stop), name=f"grab {owner}", daemon=True)
        thread.start()
        try:
            with av.open(f"pipe:{reading}", format="nut", timeout=(2 * FETCH_TIMEOUT_S, FETCH_TIMEOUT_S)) as container:
                yield container
        finally:
            stop.set()
            os.close(reading)
            thread.join()


def _pack(first: Grabbed, grab: Callable[[], Grabbed], writing: int, stop: threading.Event) -> None:
    """Encode what is grabbed until told to stop, nobody reads any more, or the camera is gone: the stream ends then."""
    try:
        with os.fdopen(writing, "wb", buffering=0) as sink, av.open(sink, "w", format="nut") as out:
            stream = out.add_stream("ffv1", options={"slices": "4"})
            stream.height, stream.width = first.image.shape[:2]
            stream.pix_fmt = "gray" if first.image.ndim == 2 else "bgr0"
            stream.codec_context.time_base = _TICK
            grabbed = first
            while not stop.is_set():
                frame = av.VideoFrame.from_ndarray(grabbed.image, format="gray" if grabbed.image.ndim == 2 else "rgb24")
                frame.pts, frame.time_base = grabbed.t_ns // 1000, _TICK
                out.mux(stream.encode(frame))
                grabbed = grab()
    except Exception:  # those of harvesters are not known without it
        return


@contextmanager
def _acquiring(serial: str, owner: str) -> Iterator[Callable[[], Grabbed]]:
    try:
        from harvesters.core import Harvester
    except ImportError as error:
        raise InputError(f"{owner}: GenICam cameras need an extra: pip install 'posemill[genicam]'") from error
    harvester = Harvester()
    try:
        for file in _producers(owner):
            harvester.add_file(str(file))
        harvester.update()
        known = [info.serial_number for info in harvester.device_info_list]
        if serial not in known:
            raise InputError(f"{owner}: no GenICam camera {serial!r}; found {', '.join(known) or 'none'}")
        acquirer = harvester.create({"serial_number": serial})
        acquirer.start()
        try:
            yield lambda: _fetch(acquirer)
        finally:
            acquirer.stop()
            acquirer.destroy()
    finally:
        harvester.reset()


def _producers(owner: str) -> list[Path]:
    folders = [Path(folder) for folder in os.environ.get(PRODUCERS, "").split(os.pathsep) if folder]
    files = sorted(file for folder in folders for file in folder.glob("*.cti"))
    if not files:
        raise InputError(f"{owner}: no GenTL producer (*.cti) found; install the camera maker's, which sets {PRODUCERS}")
    return files


def _fetch(acquirer: Any) -> Grabbed:
    with acquirer.fetch(timeout=FETCH_TIMEOUT_S) as buffer:
        part = buffer.payload.components[0]
        return Grabbed(_as_image(part.data, part.height, part.width, part.data_format), int(buffer.timestamp_ns))


def _as_image(data: Any, height: int, width: int, data_format: str) -> Image:
    """A component's bytes as an image of its own. Raises InputError for a pixel format that is not known."""
    if data_format in ("RGB8", "BGR8"):
        image = np.array(data, np.uint8).reshape(height, width, 3)
        return image if data_format == "RGB8" else np.ascontiguousarray(image[..., ::-1])
    if data_format != "Mono8" and data_format not in _BAYER:
        raise InputError(
            f"pixel format: expected Mono8, RGB8, BGR8 or {', '.join(_BAYER)}, got {data_format}; set it in the camera"
        )
    grey = np.array(data, np.uint8).reshape(height, width)
    return grey if data_format == "Mono8" else cv2.cvtColor(grey, _BAYER[data_format]).astype(np.uint8, copy=False)
