"""What the packets of a stream say about their pictures: parameter sets of H.264 and HEVC, the frame header of JPEG."""

from __future__ import annotations

from typing import NamedTuple

# Bytes: parameter sets stand before the first slice of a keyframe, a JPEG's frame header behind its tables.
_LOOK = 4096
_SETS = {"h264": (0x1F, 0, {7, 8}), "hevc": (0x3F, 1, {32, 33, 34})}
_FRAME_HEADERS = {0xC0, 0xC1, 0xC2}


class Parameters(NamedTuple):
    """sets: bytes that differ when size or coding differ; extradata: the same as a decoder wants them, b"" for none."""

    sets: bytes
    extradata: bytes


def parameters_of(codec: str, data: memoryview) -> Parameters | None:
    """The parameters in a keyframe, None where it carries none (they came with the stream's description)."""
    head = bytes(data[:_LOOK])
    if codec == "mjpeg":
        found = _jpeg_header(head)
        return Parameters(found, b"") if found else None
    if codec in _SETS:
        sets = b"".join(b"\0\0\0\1" + unit for unit in _parameter_sets(codec, head))
        return Parameters(sets, sets) if sets else None
    return None


def _parameter_sets(codec: str, head: bytes) -> list[bytes]:
    """SPS and PPS (HEVC: VPS too) of Annex B data."""
    mask, shift, wanted = _SETS[codec]
    units = [unit.rstrip(b"\0") for unit in head.split(b"\0\0\1")[1:]]
    # The last one may be cut by the look.
    return [unit for unit in units[:-1] if unit and ((unit[0] >> shift) & mask) in wanted]


def _jpeg_header(head: bytes) -> bytes:
    """Precision, height, width and components of a JPEG (ITU T.81, B.2.2)."""
    at = 2
    while at + 9 < len(head) and head[at] == 0xFF:
        size = int.from_bytes(head[at + 2 : at + 4], "big")
        if head[at + 1] in _FRAME_HEADERS:
            return head[at + 4 : at + 2 + size]
        at += 2 + size
    return b""
