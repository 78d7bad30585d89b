"""Video files read through PyAV: frames numbered in the order they are shown, exact times, portrait flags honoured."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.format import Flags

from pipeline.errors import InputError
from pipeline.media_file import open_media
from pipeline.probe import NS, Image, Probe, Shot
from pipeline.progress import Advance

# Frames: to open a file and find a keyframe costs about as much as to decode so many small ones.
WORTH_A_SEEK = 8


class _Index(NamedTuple):
    """Times of a video's frames from its packets: pts in presentation order, keyframes as (pts, dts), ticks to seconds."""

    pts: tuple[int, ...]
    keys: tuple[tuple[int, int], ...]
    time_base: Fraction
    declared: int


class VideoReader:
    """A video file. Frames are numbered in the order they are shown; times are exact, from the first frame on."""

    def __init__(self, path: Path) -> None:
        self.path, self.files = path, [path]
        state = path.stat()
        self._key = (path, state.st_size, state.st_mtime_ns)

    @property
    def _index(self) -> _Index:
        return _index_of(*self._key)

    def _time_ns(self, pts: int) -> int:
        return int((pts - self._index.pts[0]) * self._index.time_base * NS)

    @property
    def times_ns(self) -> tuple[int, ...]:
        """The time of every frame, from the first on, from the file's index alone. Raises InputError when it has none."""
        return tuple(map(self._time_ns, self._index.pts))

    def probe(self) -> Probe:
        """See Reader."""
        first = next(self.shots([0]), None)
        if first is None:
            raise InputError(f"{self.path}: not one frame can be decoded; record or export this camera again")
        height, width = first.image.shape[:2]
        return Probe(self.path, (width, height), self.times_ns, self._index.declared)

    def check(self, advance: Advance) -> Probe:
        """See Reader."""
        times: list[int] = []
        size_wh, problem = (0, 0), ""
        try:
            for frame in self._decode(0):
                turned = abs(frame.rotation) % 180 == 90
                size = (frame.height, frame.width) if turned else (frame.width, frame.height)
                if times and size != size_wh:
                    problem = problem or f"frame {len(times)} is {size[0]}x{size[1]} px, those before {size_wh[0]}x{size_wh[1]}"
                if frame.is_corrupt:
                    problem = problem or f"frame {len(times)} is damaged"
                size_wh = size_wh if times else size
                times.append(self._time_ns(frame.pts or 0))
                advance(1)
        except av.FFmpegError as error:
            problem = problem or f"frame {len(times)} cannot be decoded ({error.strerror})"
        expected = max(self._index.declared, len(self._index.pts))
        if len(times) < expected:
            problem = f"decoded {len(times)} of {expected} frames" + (f"; {problem}" if problem else "")
        return Probe(self.path, size_wh, tuple(times), expected, problem)

    def shots(self, numbers: Sequence[int] | None = None) -> Iterator[Shot]:
        """See Reader."""
        every = range(len(self._index.pts))
        for stretch in self._stretches(every if numbers is None else [number for number in numbers if number in every]):
            yield from self._shots(stretch)

    def _stretches(self, numbers: Sequence[int]) -> Iterator[Sequence[int]]:
        """Numbers that are decoded in one go: parted where a keyframe saves decoding a good part of what lies between."""
        begin = 0
        for at in range(1, len(numbers)):
            if numbers[at] - numbers[at - 1] > WORTH_A_SEEK and self._key_before(numbers[at]) > numbers[at - 1] + WORTH_A_SEEK:
                yield numbers[begin:at]
                begin = at
        yield numbers[begin:]

    def _shots(self, numbers: Sequence[int]) -> Iterator[Shot]:
        if not numbers:
            return
        wanted = set(numbers)
        try:
            for frame in self._decode(numbers[0]):
                number = bisect_left(self._index.pts, frame.pts or 0)
                if number > numbers[-1]:
                    return
                if number in wanted:
                    yield Shot(number, self._time_ns(frame.pts or 0), _upright(frame))
        except av.FFmpegError as error:
            raise InputError(f"{self.path}: a frame after {numbers[0]} cannot be decoded ({error.strerror})") from error

    def _key_before(self, number: int) -> int:
        """Number of the last keyframe at or before a frame."""
        index = self._index
        key = bisect_right(index.keys, index.pts[number], key=lambda key: key[0]) - 1
        return bisect_left(index.pts, index.keys[key][0]) if key >= 0 else 0

    def _decode(self, start: int) -> Iterator[av.VideoFrame]:
        """Frames from the last keyframe at or before `start` on."""
        index = self._index
        with _open(self.path) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            if start > 0:
                key = [key for key in index.keys if key[0] <= index.pts[start]][-1:] or [(index.pts[0], index.pts[0])]
                by_pts = Flags(container.format.flags) & Flags.seek_to_pts  # most containers index decoding times
                container.seek(key[0][0 if by_pts else 1], stream=stream)
            yield from (frame for frame in container.decode(stream) if frame.pts is not None)


def _open(path: Path) -> av.container.InputContainer:
    container = open_media(path)
    if not container.streams.video:
        container.close()
        raise InputError(f"{path}: expected a video, found a file without a video stream")
    return container


@lru_cache(maxsize=64)
def _index_of(path: Path, size: int, mtime_ns: int) -> _Index:
    """Read every packet header without decoding. size and mtime_ns make a changed file a new entry of the cache."""
    with _open(path) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in _packets(container, stream) if not packet.is_discard]
        shown = [_first_known(packet.pts, packet.dts) for packet in packets]
        timed = [pts for pts in shown if pts is not None]
        if len(timed) < max(1, len(packets)):
            found = "frames without times" if packets else "no frames"
            raise InputError(f"{path}: expected timed frames, found {found}; wrap it anew: ffmpeg -i IN -c copy OUT.mp4")
        pairs = zip(packets, timed, strict=True)
        keys = sorted((pts, _first_known(p.dts, pts) or 0) for p, pts in pairs if p.is_keyframe)
        return _Index(tuple(sorted(timed)), tuple(keys), Fraction(stream.time_base or 1), stream.frames)


def _first_known(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def _packets(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
    """The packets of a stream up to its end, or to where the file breaks off."""
    try:
        yield from (packet for packet in container.demux(stream) if packet.size)
    except av.FFmpegError:
        return


def _upright(frame: av.VideoFrame) -> Image:
    """RGB pixels, turned as the file's portrait flag says."""
    image = frame.to_ndarray(format="rgb24")
    turns, rest = divmod(frame.rotation, 90)
    if rest:
        raise InputError(f"a frame is flagged as turned by {frame.rotation} degrees; expected a multiple of 90")
    return np.ascontiguousarray(np.rot90(image, turns))
