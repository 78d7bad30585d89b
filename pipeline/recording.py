"""Reading a recording of one camera back: its segments as one source, with exact times on the recorder's clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.errors import InputError
from pipeline.probe import Probe, Shot
from pipeline.progress import Advance
from pipeline.record_figures import times_of
from pipeline.segment import JOURNAL, MS, Rows, own_ms, read_journal, segment_name
from pipeline.stream_clock import Ns
from pipeline.video import VideoReader


class _Part(NamedTuple):
    """The readable frames of one segment: their numbers in its file, ascending, and times on the recorder's clock, ns."""

    reader: VideoReader
    numbers: tuple[int, ...]
    times_ns: tuple[int, ...]


def is_recording(path: Path) -> bool:
    """Whether a folder is one camera of a recording."""
    return (path / JOURNAL).is_file()


class RecordingReader:
    """One camera of a recording. A frame is there when its segment holds it and the journal tells its time, so one that was
    cut off by a crash is read as far as both go."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = [path / JOURNAL, *sorted(path.glob("[0-9]*.mkv"))]

    @cached_property
    def _parts(self) -> tuple[_Part, ...]:
        rows = read_journal(self.path)
        times = times_of(rows)[0]
        parts = [part for number in np.unique(rows.segment) if (part := self._part(int(number), rows, times))]
        if not parts:
            raise InputError(f"{self.path}: this recording holds not one whole frame; record the clip again")
        return tuple(_ascending(parts))

    def _part(self, number: int, rows: Rows, times: Ns) -> _Part | None:
        try:
            reader = VideoReader(self.path / segment_name(number))
            shown_ms = np.round(np.array(reader.times_ns) / MS).astype(np.int64)
        except (InputError, FileNotFoundError):  # it was cut off before its first frame was on the disk
            return None
        of = np.flatnonzero(rows.segment == number)
        rounded_ms = np.round((rows.pts_ns[of] - rows.pts_ns[of].min()) / MS).astype(np.int64)
        taken_ms: set[int] = set()
        pts_ms = [own_ms(each, taken_ms) for each in rounded_ms.tolist()]
        _, in_file, in_journal = np.intersect1d(shown_ms, pts_ms, return_indices=True)
        return _Part(reader, tuple(in_file.tolist()), tuple(times[of][in_journal].tolist())) if len(in_file) else None

    @property
    def _times_ns(self) -> list[int]:
        return [t_ns for part in self._parts for t_ns in part.times_ns]

    def _probe(self, size_wh: tuple[int, int], problem: str = "") -> Probe:
        times = self._times_ns
        return Probe(self.path, size_wh, tuple(t - times[0] for t in times), len(times), problem, starts_ns=times[0])

    def probe(self) -> Probe:
        """See Reader."""
        first = self._parts[0].reader.probe()
        return self._probe(first.size_wh)

    def check(self, advance: Advance) -> Probe:
        """See Reader."""
        size_wh, problem, done = (0, 0), "", 0
        try:
            for shot in self.shots():
                size_wh = size_wh if done else (shot.image.shape[1], shot.image.shape[0])
                done += 1
                advance(1)
        except InputError as error:
            problem = str(error)
        if not problem and done < len(self._times_ns):
            problem = f"decoded {done} of {len(self._times_ns)} frames"
        return self._probe(size_wh, problem)

    def shots(self, numbers: Sequence[int] | None = None) -> Iterator[Shot]:
        """See Reader. Raises InputError, too, where the camera changed the size of its pictures."""
        begin, first_ns, size = 0, self._parts[0].times_ns[0], self.probe().size_wh
        for part in self._parts:
            end = begin + len(part.numbers)
            wanted = range(begin, end) if numbers is None else [number for number in numbers if begin <= number < end]
            here = {part.numbers[number - begin]: number for number in wanted}
            for shot in part.reader.shots(list(here)):
                self._refuse_other_size(part, shot, size)
                number = here[shot.number]
                yield Shot(number, part.times_ns[number - begin] - first_ns, shot.image)
            begin = end

    def _refuse_other_size(self, part: _Part, shot: Shot, size_wh: tuple[int, int]) -> None:
        if (found := (shot.image.shape[1], shot.image.shape[0])) != size_wh:
            raise InputError(
                f"{part.reader.path}: is {found[0]}x{found[1]} px, the first segment {size_wh[0]}x{size_wh[1]}: the camera "
                f"changed it; use its segments as clips of their own: --camera NAME={part.reader.path}"
            )


def _ascending(parts: Sequence[_Part]) -> Iterator[_Part]:
    """Parts whose times go on where those before end: the clock of a short segment is known less well."""
    last = -(1 << 62)
    for part in parts:
        times = np.maximum(np.array(part.times_ns), last + 1 + np.arange(len(part.times_ns)))
        last = int(times[-1])
        yield part._replace(times_ns=tuple(times.tolist()))
