"""Packets of a stream, by hand: slices become pictures, early frames wait, and what is held is not lost at the end."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
import pytest

from pipeline.live import PES_LIMIT, Arrival, Unreachable
from pipeline.live import _by_whole_frames as by_whole_frames
from pipeline.live import _whole_pictures as whole_pictures
from tests.pipeline.test_stream_parameters import FIRST_SLICE, NEXT_SLICE, PPS, SPS, _packet


def arrival(data: bytes, pts: int, arrived_ns: int = 0, keyframe: bool = False) -> Arrival:
    packet = av.Packet(data)
    packet.pts = packet.dts = pts
    packet.time_base, packet.is_keyframe = Fraction(1, 1000), keyframe
    return Arrival(packet, 1_000_000 * pts, 1_000_000 * pts, arrived_ns)


def ending(*arrivals: Arrival) -> Iterator[Arrival]:
    """A stream that breaks off after these."""
    yield from arrivals
    raise Unreachable("cam1: the sender ended the stream")


def until_the_end(arrivals: Iterator[Arrival]) -> list[Arrival]:
    taken: list[Arrival] = []
    with pytest.raises(Unreachable, match="the sender ended"):
        for each in arrivals:
            taken.append(each)
    return taken


def test_slices_of_one_picture_become_one_packet() -> None:
    first, more = bytes(_packet(SPS, PPS, FIRST_SLICE)), bytes(_packet(NEXT_SLICE))
    stream = ending(
        arrival(first, 40, 1, keyframe=True),
        arrival(more, 40, 2),
        arrival(more, 40, 3),
        arrival(first, 80, 4),
        arrival(more, 80, 5),
    )
    one, other = until_the_end(whole_pictures("h264", stream))
    assert bytes(one.packet) == first + more + more and bytes(other.packet) == first + more
    assert (one.packet.pts, one.packet.dts, one.packet.time_base, one.packet.is_keyframe) == (40, 40, Fraction(1, 1000), True)
    assert (one.arrived_ns, other.arrived_ns, other.packet.is_keyframe) == (1, 4, False)


def test_a_slice_of_another_time_or_a_first_slice_begins_a_picture() -> None:
    first, more = bytes(_packet(FIRST_SLICE)), bytes(_packet(NEXT_SLICE))
    taken = until_the_end(whole_pictures("h264", ending(arrival(first, 40), arrival(more, 80), arrival(first, 80))))
    assert [bytes(each.packet) for each in taken] == [first, more, first]


def test_a_frame_before_a_large_one_is_told_to_have_come_with_that() -> None:
    small, large = b"x" * PES_LIMIT, b"x" * (PES_LIMIT + 1)
    stream = ending(arrival(small, 0, 10), arrival(large, 40, 20), arrival(large, 80, 30), arrival(small, 120, 40))
    taken = until_the_end(by_whole_frames(stream))
    assert [each.arrived_ns for each in taken] == [20, 30, 30, 40]
    assert [each.packet.pts for each in taken] == [0, 40, 80, 120]
