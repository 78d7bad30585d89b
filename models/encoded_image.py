"""Encoded pictures that others made: looked at before they are decoded, for a few bytes may claim gigabytes of pixels."""

from __future__ import annotations

import io
import warnings
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# Pillow's own limit: twice the pixels of its warning, 179 megapixels; a decoded picture and its copy are 1.1 GB.
LARGEST_PX = 178_956_970
# First bytes of the formats that OpenCV decodes and Pillow may not open: TIFFs of 16-bit colour.
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG = b"\x89PNG\r\n\x1a\n"
_UNREADABLE, _MEND = "not a readable image", "replace it, or take it out of the folder"
_WIDTH, _HEIGHT = 256, 257  # tags of a TIFF


class ImageError(ValueError):
    """Bytes that are no picture, or one too large to decode; the message says what was found."""


def decode_rgb(data: bytes) -> NDArray[np.uint8]:
    """RGB uint8 (H, W, 3), turned upright as its EXIF says; grey, 16 bits, CMYK and alpha become that. Raises ImageError."""
    return cv2.cvtColor(_decoded(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def decode_rgba(data: bytes) -> NDArray[np.uint8]:
    """RGBA uint8 (H, W, 4) of a picture that has an alpha of its own. Raises ImageError for any other."""
    image = _decoded(data, cv2.IMREAD_UNCHANGED)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 4:
        raise ImageError(f"expected 8-bit RGBA, found {image.dtype} {image.shape}")
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA).astype(np.uint8, copy=False)


def _decoded(data: bytes, how: int) -> NDArray[Any]:
    check_size(data)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), how)
    except cv2.error as error:
        raise ImageError(f"{_UNREADABLE} ({error.err or error}); {_MEND}") from error
    if image is None:
        raise ImageError(f"{_UNREADABLE} ({len(data)} bytes); {_MEND}")
    return np.asarray(image)


def check_size(data: bytes) -> tuple[str, int]:
    """What the header says: format, and number of frames where it is an animation, else 1.

    Raises ImageError for no picture, and for more pixels than LARGEST_PX.
    """
    from PIL import Image

    if data.startswith(_PNG):
        _refuse_cut_chunks(data)
    if not data:
        raise ImageError("expected an image, found an empty file (0 bytes); copy or export it again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as header:
                _refuse_large(*header.size)
                return header.format or "", getattr(header, "n_frames", 1) if getattr(header, "is_animated", False) else 1
    except (Image.DecompressionBombError, MemoryError) as error:
        raise ImageError(f"an image too large to decode safely ({error}); make it smaller or cut it") from error
    except ImageError:
        raise
    except Exception as error:  # Pillow's readers of broken headers raise whatever they stumble over
        if data[:4] not in _TIFF:
            raise ImageError(f"{_UNREADABLE} ({len(data)} bytes, {type(error).__name__}); {_MEND}") from error
    _refuse_large(*_tiff_size(data))
    return "TIFF", 1


def _refuse_cut_chunks(data: bytes) -> None:
    """Every part of a PNG says how long it is, and OpenCV makes room for as much before it looks whether it is there."""
    at = len(_PNG)
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        if at + 8 + length > len(data):
            raise ImageError(f"{_UNREADABLE} (a PNG of {len(data)} bytes, a part of which claims {length}); {_MEND}")
        if kind == b"IEND":
            return
        at += 12 + length


def _tiff_size(data: bytes) -> tuple[int, int]:
    """Width and height by the tags of the first page, whatever its pixels are."""
    from PIL import TiffImagePlugin

    try:
        tags: Any = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
        file = io.BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        return int(tags[_WIDTH]), int(tags[_HEIGHT])
    except Exception as error:  # as above
        raise ImageError(f"{_UNREADABLE} (a TIFF of {len(data)} bytes, {type(error).__name__}); {_MEND}") from error


def _refuse_large(width: int, height: int) -> None:
    if width * height > LARGEST_PX or min(width, height) < 1:
        found = f"found {width * height} pixels, at most {LARGEST_PX}"
        raise ImageError(f"an image too large to decode safely ({found}); make it smaller or cut it")
