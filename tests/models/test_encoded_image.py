import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from models.encoded_image import LARGEST_PX, ImageError, check_size, decode_rgb

PICTURE = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)


def _png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(100_000, 100_000), (2**31 - 1, 1), (13_400, 13_400), (1, 2**31 - 1)])
def test_a_bomb_is_refused_by_its_header(width: int, height: int) -> None:
    with pytest.raises(ImageError, match="too large to decode safely"):
        decode_rgb(_png_that_claims(width, height))


def test_a_bomb_that_pillow_does_not_know_is_refused_too() -> None:
    """16-bit colour TIFFs are OpenCV's alone; their tags are read all the same."""
    deep = cv2.imencode(".tif", PICTURE.astype(np.uint16) * 257)[1].tobytes()
    assert decode_rgb(deep).shape == PICTURE.shape
    side = struct.pack("<HHIHH", 256, 3, 1, 32, 0)
    assert side in deep or struct.pack("<HHII", 256, 4, 1, 32) in deep
    huge = deep.replace(side, struct.pack("<HHII", 256, 4, 1, 1 << 30))
    huge = huge.replace(struct.pack("<HHII", 256, 4, 1, 32), struct.pack("<HHII", 256, 4, 1, 1 << 30))
    with pytest.raises(ImageError, match="too large to decode safely"):
        decode_rgb(huge)


def test_a_png_whose_part_claims_gigabytes_is_refused_before_room_is_made() -> None:
    whole = cv2.imencode(".png", PICTURE)[1].tobytes()
    at = whole.index(b"IDAT") - 4
    with pytest.raises(ImageError, match="a part of which claims 2147483632"):
        decode_rgb(whole[:at] + (0x7FFFFFF0).to_bytes(4) + whole[at + 4 :])
    assert decode_rgb(whole + b"what stands behind the end").shape == PICTURE.shape


def test_formats_of_neither_are_not_handed_to_the_decoder() -> None:
    radiance = cv2.imencode(".hdr", PICTURE.astype(np.float32))[1].tobytes()
    with pytest.raises(ImageError, match="not a readable image"):
        decode_rgb(radiance)


@pytest.mark.parametrize(
    "data", [b"", b"\x89PNG\r\n\x1a\n", b"II*\0", b"II*\0\xff\xff\xff\xff", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP"]
)
def test_stumps_are_refused(data: bytes) -> None:
    with pytest.raises(ImageError):
        decode_rgb(data)


def test_a_header_tells_format_and_frames() -> None:
    assert LARGEST_PX == 2 * Image.MAX_IMAGE_PIXELS
    sink = io.BytesIO()
    frames = [Image.fromarray(PICTURE), Image.fromarray(255 - PICTURE)]
    frames[0].save(sink, "GIF", save_all=True, append_images=frames[1:])
    assert check_size(sink.getvalue()) == ("GIF", 2)
    assert check_size(cv2.imencode(".png", PICTURE)[1].tobytes()) == ("PNG", 1)
