"""What the packets of a stream say about their pictures: parameter sets of H.264 and HEVC, the frame header of JPEG."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

# Bytes: parameter sets stand before the first slice of a keyframe, a JPEG's frame header behind its tables.
_LOOK = 4096
_PADDING = 64
_JPEG_HEADERS = {0xC0, 0xC1, 0xC2}


class _Syntax(NamedTuple):
    """Unit types of a codec: sps and all parameter sets, slices, and bytes of a unit's header."""

    sps: int
    sets: tuple[int, ...]
    slices: range
    header: int


_SYNTAX = {"h264": _Syntax(7, (7, 8), range(1, 6), 1), "hevc": _Syntax(33, (32, 33, 34), range(32), 2)}


class Parameters(NamedTuple):
    """picture: bytes that differ when size or coding of pictures do; extradata: what a decoder must know, b"" for none."""

    picture: bytes
    extradata: bytes


def parameters_of(codec: str, data: memoryview) -> Parameters | None:
    """The parameters in a keyframe, None where it carries none (they came with the stream's description)."""
    head = bytes(data[:_LOOK])
    if codec == "mjpeg":
        found = _jpeg_header(head)
        return Parameters(found, b"") if found else None
    if codec not in _SYNTAX:
        return None
    syntax = _SYNTAX[codec]
    sets: dict[bytes, int] = {}
    for kind, unit in _units(codec, head):
        if kind in syntax.slices:
            break
        if kind in syntax.sets:
            sets.setdefault(unit, kind)
    picture = b"".join(unit for unit, kind in sets.items() if kind == syntax.sps)
    return Parameters(picture, b"".join(b"\0\0\0\1" + unit for unit in sets)) if picture else None


def is_closed(data: memoryview) -> bool:
    """Whether a JPEG ends with its end marker (ITU T.81, B.1.1.3), padding aside: one that was cut off does not."""
    return bytes(data[-_PADDING:]).rstrip(b"\0").endswith(b"\xff\xd9")


def continues_picture(codec: str, data: memoryview) -> bool:
    """Whether a packet goes on with the picture of the packet before: its first slice is not the first of a picture.

    H.264: first_mb_in_slice is not 0 (ITU H.264, 7.3.3); HEVC: first_slice_segment_in_pic_flag is not set (H.265, 7.3.6.1).
    """
    if codec not in _SYNTAX:
        return False
    syntax = _SYNTAX[codec]
    first = next((unit for kind, unit in _units(codec, bytes(data[:_LOOK])) if kind in syntax.slices), b"")
    return len(first) > syntax.header and not first[syntax.header] & 0x80


def _units(codec: str, head: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and bytes of the units of Annex B data; the last one may be cut."""
    for part in head.split(b"\0\0\1")[1:]:
        if unit := part.rstrip(b"\0"):
            yield (unit[0] & 0x1F if codec == "h264" else (unit[0] >> 1) & 0x3F), unit


def _jpeg_header(head: bytes) -> bytes:
    """Precision, height, width and components of a JPEG (ITU T.81, B.2.2)."""
    at = 2
    while at + 9 < len(head) and head[at] == 0xFF:
        size = int.from_bytes(head[at + 2 : at + 4], "big")
        if head[at + 1] in _JPEG_HEADERS:
            return head[at + 4 : at + 2 + size]
        at += 2 + size
    return b""
