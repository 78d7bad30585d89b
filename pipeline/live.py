"""Live streams through PyAV: UVC devices, RTSP, HTTP MJPEG, MPEG-TS over UDP; industrial cameras by `pipeline.genicam`.

A stream gives its packets as they were sent, each with the camera's own time and with its arrival on this machine's clock.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

import av

from pipeline.credentials import hide, redacted
from pipeline.errors import InputError, StageError
from pipeline.genicam import SCHEME, open_genicam
from pipeline.probe import NS
from pipeline.stream_parameters import Parameters, continues_picture, parameters_of

OPEN_TIMEOUT_S, READ_TIMEOUT_S = 6.0, 3.0
# One slot of ffmpeg's ring buffer holds a TS packet of 188 bytes: 38 MB, half a minute at 10 Mbit/s.
UDP_RING_PACKETS = 200_000
# The kernel grants at most net.core.rmem_max of it.
UDP_SOCKET_BYTES = 8_000_000
_US = 1_000_000
# MAX_PES_PAYLOAD of libavformat/mpegts.c.
PES_LIMIT = 200 * 1024
# What a camera may need to send until its first keyframe has passed.
_ANALYSE_US = 5 * _US
REFUSED = (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError)


class Unreachable(StageError):
    """A camera does not answer, or stopped sending: trying again later may help."""


@dataclass(frozen=True)
class Kind:
    """How one kind of address is opened. timed: packets carry the camera's own times, else only their arrival is known;
    split: a picture may come in several packets."""

    name: str
    format: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    timed: bool = True
    split: bool = False


_MJPEG = Kind("HTTP MJPEG", "mpjpeg", timed=False)
_HTTP = Kind("HTTP", None, {"analyzeduration": str(_ANALYSE_US)})
_RTSP_OPTIONS = {"rtsp_transport": "tcp", "timeout": str(round(READ_TIMEOUT_S * _US)), "allowed_media_types": "video"}
_RTSP = Kind("RTSP", None, _RTSP_OPTIONS, split=True)
_UDP = Kind(
    "MPEG-TS over UDP",
    "mpegts",
    {
        "fifo_size": str(UDP_RING_PACKETS),
        "overrun_nonfatal": "1",
        "buffer_size": str(UDP_SOCKET_BYTES),
        "analyzeduration": str(_ANALYSE_US),
    },
)
_UVC_PACKED = Kind("UVC", "video4linux2", {"input_format": "mjpeg"})
_UVC = Kind("UVC", "video4linux2")
_GENICAM = Kind("GenICam")
_KINDS = {"http": (_MJPEG, _HTTP), "https": (_MJPEG, _HTTP), "rtsp": (_RTSP,), "rtsps": (_RTSP,), "udp": (_UDP,)}


class Arrival(NamedTuple):
    """One packet of a stream. pts_ns, dts_ns: on the camera's clock; arrived_ns: on this machine's monotonic clock."""

    packet: av.Packet
    pts_ns: int
    dts_ns: int
    arrived_ns: int


class LiveStream:
    """An open live stream: its codec's parameters, and its packets until it stops."""

    def __init__(self, container: av.container.InputContainer, kind: Kind, owner: str) -> None:
        self.kind, self.owner = kind, owner
        self._container = container
        self.stream = container.streams.video[0]
        self.codec = self.stream.codec_context.name
        self.size_wh = (self.stream.codec_context.width, self.stream.codec_context.height)
        rate = self.stream.average_rate or self.stream.guessed_rate
        self.fps = float(rate) if rate and kind.timed else 0.0

    def packets(self) -> Iterator[Arrival]:
        """Packets with video data as they arrive, a picture each. Raises Unreachable when none comes for READ_TIMEOUT_S, or the
        sender ends."""
        arrivals = self._arrivals()
        if self._container.format.name == "mpegts":
            return _by_whole_frames(arrivals)
        return _whole_pictures(self.codec, arrivals) if self.kind.split else arrivals

    def _arrivals(self) -> Iterator[Arrival]:
        try:
            for packet in self._container.demux(self.stream):
                arrived_ns = time.monotonic_ns()
                if packet.size and (arrival := self._arrival(packet, arrived_ns)):
                    yield arrival
        except av.FFmpegError as error:
            raise Unreachable(f"{self.owner}: {_words(error)}") from None
        raise Unreachable(f"{self.owner}: the sender ended the stream")

    def _arrival(self, packet: av.Packet, arrived_ns: int) -> Arrival | None:
        """None for a packet that should have a time and has none, as before a session's first report of its clock."""
        if not self.kind.timed:
            return Arrival(packet, arrived_ns, arrived_ns, arrived_ns)
        shown = packet.pts if packet.pts is not None else packet.dts
        if shown is None:
            return None
        tick_ns = Fraction(packet.time_base or 1) * NS
        decoded = packet.dts if packet.dts is not None else shown
        return Arrival(packet, int(shown * tick_ns), int(decoded * tick_ns), arrived_ns)

    def parameters(self, packet: av.Packet) -> Parameters | None:
        """What a keyframe says about picture size and coding; None where it says nothing."""
        return parameters_of(self.codec, memoryview(packet)) if packet.is_keyframe else None

    def close(self) -> None:
        """Hang up."""
        self._container.close()


def _whole_pictures(codec: str, arrivals: Iterator[Arrival]) -> Iterator[Arrival]:
    """Slices of one picture joined into one packet. A picture is known to be whole when the next one begins."""
    held: Arrival | None = None
    try:
        for arrival in arrivals:
            if held is not None and arrival.pts_ns == held.pts_ns and continues_picture(codec, memoryview(arrival.packet)):
                held = held._replace(packet=_joined(held.packet, arrival.packet))
                continue
            if held is not None:
                yield held
            held = arrival
    except Unreachable:
        if held is not None:
            yield held
        raise


def _by_whole_frames(arrivals: Iterator[Arrival]) -> Iterator[Arrival]:
    """libavformat hands a frame on when the one after is complete, but already when PES_LIMIT bytes of that are there: such a
    frame seems to have come early by a good part of an interval, and would mislead the camera's clock. It is told to have
    come with the next one."""
    held: Arrival | None = None
    try:
        for arrival in arrivals:
            if held is not None:
                yield held._replace(arrived_ns=arrival.arrived_ns) if arrival.packet.size > PES_LIMIT else held
            held = arrival
    except Unreachable:
        if held is not None:
            yield held
        raise


def _joined(first: av.Packet, second: av.Packet) -> av.Packet:
    joined = av.Packet(bytes(first) + bytes(second))
    joined.pts, joined.dts, joined.time_base, joined.is_keyframe = first.pts, first.dts, first.time_base, first.is_keyframe
    return joined


@contextmanager
def open_live(url: str, owner: str) -> Iterator[LiveStream]:
    """A live stream by its whole address (with password).

    Raises InputError when the address, the password or the codec is wrong, Unreachable when nobody answers in time.
    """
    hide(url)
    if url.startswith(SCHEME):
        with open_genicam(url, owner) as pictures:
            yield LiveStream(pictures, _GENICAM, f"{owner}: {url}")
        return
    container, kind = _first_that_opens(url, owner)
    try:
        if not container.streams.video or not container.streams.video[0].codec_context:
            found = ", ".join(f"{stream.type}" for stream in container.streams) or "nothing that is known"
            raise InputError(f"{owner}: {redacted(url)}: expected a video stream of a known codec, found {found}")
        yield LiveStream(container, kind, f"{owner}: {redacted(url)}")
    finally:
        container.close()


def kinds_of(url: str) -> tuple[Kind, ...]:
    """How an address may be opened, best first. Raises InputError naming what is known."""
    if url.startswith("/dev/video"):
        return (_UVC_PACKED, _UVC)
    kinds = _KINDS.get(url.partition("://")[0].lower(), ())
    if not kinds:
        raise InputError(
            f"{redacted(url)}: expected /dev/videoN, rtsp://, http:// or https:// (MJPEG), udp:// (MPEG-TS) or genicam:SERIAL"
        )
    return kinds


def _first_that_opens(url: str, owner: str) -> tuple[av.container.InputContainer, Kind]:
    *others, last = kinds_of(url)
    for kind in others:
        try:
            return _open(url, kind), kind
        except (av.error.InvalidDataError, av.error.ArgumentError, av.error.EOFError):
            continue
        except av.FFmpegError as error:
            raise _refusal(url, kind, owner, error) from None
    try:
        return _open(url, last), last
    except av.FFmpegError as error:
        raise _refusal(url, last, owner, error) from None


def _open(url: str, kind: Kind) -> av.container.InputContainer:
    timeout = (OPEN_TIMEOUT_S, READ_TIMEOUT_S)
    return av.open(url, format=kind.format, options=dict(kind.options), timeout=timeout, metadata_errors="replace")


def _refusal(url: str, kind: Kind, owner: str, error: av.FFmpegError) -> Exception:
    """The error a user should see. The cause is left out: its text holds the address as it was given."""
    where = f"{owner}: {redacted(url)} ({kind.name})"
    # EPERM is -1, which libavformat gives for whatever has no code of its own.
    if isinstance(error, REFUSED) or error.errno == errno.EACCES:
        return InputError(f"{where}: refused ({_words(error)}); check user and password: posemill new SESSION --live NAME=URL")
    if isinstance(error, av.error.InvalidDataError | av.error.DecoderNotFoundError):
        return InputError(f"{where}: what it sends is no video that can be read ({_words(error)})")
    if isinstance(error, av.error.HTTPNotFoundError | FileNotFoundError):
        return InputError(f"{where}: not there ({_words(error)}); check the address")
    return Unreachable(f"{where}: {_words(error)}; check that the camera is on and reachable from here")


def _words(error: av.FFmpegError) -> str:
    if isinstance(error, av.error.ExitError):
        return f"nothing came for {READ_TIMEOUT_S:g} s"
    return redacted(error.strerror or type(error).__name__)
