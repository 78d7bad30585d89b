"""What a recording of one camera is made of on the disk: Matroska segments, and a journal with exact times beside them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.atomic import disk_error
from pipeline.errors import StageError
from pipeline.live import Arrival, LiveStream
from pipeline.probe import NS
from pipeline.stream_parameters import Parameters

JOURNAL = "times.csv"
HEADER = b"segment,pts_ns,arrived_ns\n"
# Shorter than the second between two fsyncs, so that a power cut loses less than two seconds.
_CLUSTER_MS = 500
_WHOLE = re.compile(rb"-?[0-9]{1,19}")
# Times in ns up to the year 2116, so that sums and differences of two stay within 64 bits.
LATEST_NS, MOST_SEGMENTS = 1 << 62, 999_999
# Matroska's own clock.
MS = NS // 1000
_MILLISECONDS = Fraction(1, 1000)


class Journal:
    """times.csv of one camera: a line for every packet that is in a segment, only ever appended to."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / JOURNAL).open("ab")
        self._file.write(HEADER)

    def add(self, segment: int, pts_ns: int, arrived_ns: int) -> None:
        """One packet, in the order of arrival."""
        self._file.write(b"%d,%d,%d\n" % (segment, pts_ns, arrived_ns))

    def flushed(self) -> int:
        """A new handle of the file, to be synced and closed, after every line so far was handed to the system."""
        self._file.flush()
        return os.dup(self._file.fileno())

    def close(self) -> None:
        """Sync and close. Raises OSError on a full disk."""
        self._file.flush()
        os.fdatasync(self._file.fileno())
        self._file.close()


class Rows(NamedTuple):
    """A journal read back: (N,) int64 each, in the order of arrival."""

    segment: NDArray[np.int64]
    pts_ns: NDArray[np.int64]
    arrived_ns: NDArray[np.int64]


def read_journal(folder: Path) -> Rows:
    """The whole lines of a journal, up to the first that is cut off or no row of three numbers."""
    rows = []
    for line in (folder / JOURNAL).read_bytes().split(b"\n")[1:-1]:
        words = line.split(b",")
        if len(words) != 3 or not all(_WHOLE.fullmatch(word) for word in words):
            break
        row = [int(word) for word in words]
        if not 0 <= row[0] <= MOST_SEGMENTS or max(map(abs, row)) > LATEST_NS:
            break
        rows.append(row)
    table = np.array(rows, np.int64).reshape(-1, 3)
    return Rows(table[:, 0], table[:, 1], table[:, 2])


def own_ms(shown_ms: int, taken_ms: set[int]) -> int:
    """The millisecond that a frame has in a segment: its own, or the next that no frame before it has. Frames that were held up
    on the way come within microseconds of each other, and readers tell frames apart by their times."""
    while shown_ms in taken_ms:
        shown_ms += 1
    taken_ms.add(shown_ms)
    return shown_ms


class Segment:
    """One Matroska file: packets as they came, from a keyframe on, their times in ms from its first one."""

    def __init__(self, folder: Path, number: int, live: LiveStream, first: Arrival, changed: Parameters | None) -> None:
        """changed: the parameters of this segment where they are not those the connection began with."""
        self.path, self.number = folder / segment_name(number), number
        self.origin_ns, self.bytes = first.pts_ns, 0
        self._taken_ms: set[int] = set()
        self._container = av.open(
            str(self.path),
            "w",
            format="matroska",
            options={"cluster_time_limit": str(_CLUSTER_MS), "flush_packets": "1", "avoid_negative_ts": "disabled"},
        )
        self._stream = self._container.add_stream_from_template(live.stream, opaque=True)
        if changed is not None:
            self._tell(live.codec, changed, first.packet)
        with _telling(self.path):
            self._container.start_encoding()
            self._handle = os.open(self.path, os.O_RDONLY)

    def _tell(self, codec: str, changed: Parameters, key: av.Packet) -> None:
        decoder = av.CodecContext.create(codec, "r")
        assert isinstance(decoder, av.VideoCodecContext)
        frames = [*decoder.decode(av.Packet(bytes(key))), *decoder.decode(None)]
        context = self._stream.codec_context
        if changed.extradata:
            context.extradata = changed.extradata
        if frames:
            context.width, context.height = frames[0].width, frames[0].height

    def write(self, arrival: Arrival) -> None:
        """Append a packet. Raises StageError when the disk does not take it, or Matroska the codec."""
        packet = arrival.packet
        self.bytes += packet.size
        packet.stream = self._stream
        packet.time_base = _MILLISECONDS
        packet.pts = own_ms(round((arrival.pts_ns - self.origin_ns) / MS), self._taken_ms)
        packet.dts = round((arrival.dts_ns - self.origin_ns) / MS)
        with _telling(self.path):
            self._container.mux_one(packet)

    def handle(self) -> int:
        """A new handle of the file, to be synced and closed."""
        return os.dup(self._handle)

    def close(self) -> None:
        """Complete the file with its index and sync it. Raises StageError on a full disk."""
        try:
            with _telling(self.path):
                self._container.close()
                os.fdatasync(self._handle)
        finally:
            os.close(self._handle)


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise disk_error(error, path) from error
    except av.FFmpegError as error:
        raise StageError(f"{path}: this stream cannot be copied into Matroska ({error.strerror})") from error


def segment_name(number: int) -> str:
    """000.mkv, 001.mkv, ..."""
    return f"{number:03d}.mkv"
