"""One camera of a recording: a thread that copies its stream into segments, and comes back when it stops."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.atomic import disk_error
from pipeline.credentials import redacted
from pipeline.errors import InputError, StageError
from pipeline.live import Arrival, LiveStream, Unreachable, open_live
from pipeline.probe import NS
from pipeline.segment import MS, Journal, Segment
from pipeline.stream_parameters import Parameters, is_closed

# Seconds until the next try: a server that restarts is back within them, one that is down for long is not bothered.
BACK_OFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
# A step of a camera's clock that is so much longer than the time that passed here is a jump.
MAX_AHEAD_NS = NS // 4
# Packets that the live figures look back on: ten seconds at 30 frames per second.
WINDOW = 300
# Events of one kind and camera that are told one by one; a bad line may bring one with every frame.
MAX_EVENTS = 50

# Sees every packet of a stream (its name) before it is written.
Tap = Callable[[str, LiveStream, Arrival], None]


@dataclass(frozen=True)
class Event:
    """Something that happened to a stream. t_ns on the recorder's clock; kind: connected, stopped, jump, repeat, changed,
    damaged or failed."""

    camera: str
    t_ns: int
    kind: str
    detail: str = ""


class CameraRecorder(threading.Thread):
    """Copies the stream of one camera until `stop` is set. Other threads call `sync` and read the public fields."""

    def __init__(
        self, camera: str, url: str, folder: Path, epoch_ns: int, stop: threading.Event, tap: Tap | None = None
    ) -> None:
        super().__init__(name=f"record {camera}", daemon=True)
        self.camera, self.folder = camera, folder
        self.events: list[Event] = []
        self.counts: Counter[str] = Counter()  # of all events by kind, those beyond MAX_EVENTS too
        self.window: deque[tuple[int, int]] = deque(maxlen=WINDOW)
        self.frames, self.bytes, self.connections = 0, 0, 0
        self.size_wh, self.codec, self.kind = (0, 0), "", ""
        self.failure: Exception | None = None
        self.settled = threading.Event()  # it is recorded, or never will be
        self._url, self._epoch_ns, self._stop_asked, self._tap = url, epoch_ns, stop, tap
        folder.mkdir(parents=True)
        self._journal: Journal | None = Journal(folder)
        self._segment: Segment | None = None
        self._segments = 0
        self._guard = threading.Lock()  # of the files: held by a write, a sync or a change of segment
        self._last: Arrival | None = None
        self._step_ns, self._repeats = 0, 0
        self._parameters: Parameters | None = None
        self._changed, self._closes = False, False

    def run(self) -> None:
        """Connect, copy, reconnect; a disk that does not take more, or an address that was never right, ends it."""
        tries = 0
        while not self._stop_asked.is_set() and self.failure is None:
            before = self.frames
            try:
                with open_live(self._url, f"camera {self.camera}") as live:
                    self._greet(live)
                    self._copy(live)
            except Unreachable as error:
                self._tell("stopped", str(error))
            except InputError as error:  # a camera that starts up may refuse what it takes a little later
                self._tell("stopped", str(error))
                self.failure = None if self.connections else error
            except Exception as error:
                self.fail(error)
            self._end_segment()
            tries = 0 if self.frames > before else tries + 1
            if self.failure is None:
                self._stop_asked.wait(BACK_OFF_S[min(tries, len(BACK_OFF_S) - 1)])
        self._close()
        self.settled.set()

    def sync(self) -> None:
        """What was recorded until now is on the disk, without holding up what arrives. Raises OSError on a full disk."""
        with self._guard:
            handles = [self._journal.flushed()] if self._journal is not None else []
            handles += [self._segment.handle()] if self._segment is not None else []
        for handle in handles:
            try:
                os.fdatasync(handle)
            finally:
                os.close(handle)

    def _close(self) -> None:
        with self._guard:
            journal, self._journal = self._journal, None
            try:
                if journal is not None:
                    journal.close()
            except OSError as error:
                self.fail(disk_error(error, self.folder))

    def _greet(self, live: LiveStream) -> None:
        self.connections += 1
        self.size_wh, self.codec, self.kind = live.size_wh, live.codec, live.kind.name
        self._last, self._step_ns, self._parameters, self._changed = None, 0, None, False
        self.window.clear()
        self._tell("connected", f"{live.kind.name}, {live.codec} {live.size_wh[0]}x{live.size_wh[1]}")

    def _copy(self, live: LiveStream) -> None:
        for arrival in live.packets():
            if self._stop_asked.is_set():
                return
            if self._tap is not None:
                self._tap(self.camera, live, arrival)
            self._take(live, arrival)

    def _take(self, live: LiveStream, arrival: Arrival) -> None:
        """Write one packet, into a new segment where one is due; what cannot be shown without an earlier one is left out."""
        if arrival.packet.is_corrupt:
            self._tell("damaged", f"frame {self.frames}: parts of it were lost on the way")
        if self.codec == "mjpeg" and self._is_cut_off(arrival):
            self._tell("damaged", "a picture was cut off on the way and is left out")
            return
        last, self._last = self._last, arrival
        self._repeats = self._repeats + 1 if last is not None and arrival.dts_ns == last.dts_ns else 0
        if self._repeats:  # later frames refer to it, so it is kept
            self._tell("repeat", f"frame {self.frames} has the time of the one before; it is told a millisecond later")
            arrival = arrival._replace(pts_ns=arrival.pts_ns + self._repeats * MS, dts_ns=arrival.dts_ns + self._repeats * MS)
        elif last is not None and (step_ns := _jump_ns(last, arrival, self._step_ns)):
            self._tell("jump", f"the camera's clock jumped by {step_ns / NS:+.3f} s")
            self._end_segment()
        self._step_ns = abs(arrival.dts_ns - last.dts_ns) if last is not None and not self._repeats else self._step_ns
        self._look_for_change(live, arrival)
        if self._segment is not None or self._begin_segment(live, arrival):
            self._write(arrival)

    def _is_cut_off(self, arrival: Arrival) -> bool:
        """A JPEG without its end, from a camera that ends others: a server that was killed. No other picture needs it."""
        closed = is_closed(memoryview(arrival.packet))
        self._closes |= closed
        return self._closes and not closed

    def _look_for_change(self, live: LiveStream, arrival: Arrival) -> None:
        new = live.parameters(arrival.packet)
        if new is None or new == self._parameters:
            return
        if self._parameters is not None:
            self._tell("changed", "picture size or coding changed")
            self._changed = True
            self._end_segment()
        self._parameters = new

    def _begin_segment(self, live: LiveStream, arrival: Arrival) -> bool:
        if not arrival.packet.is_keyframe:
            self.counts["skipped"] += self.frames > 0  # on joining a stream it is no loss
            return False
        with self._guard:
            self._segment = Segment(self.folder, self._segments, live, arrival, self._parameters if self._changed else None)
            self._segments += 1
        self.settled.set()
        return True

    def _write(self, arrival: Arrival) -> None:
        segment, journal = self._segment, self._journal
        if segment is None or journal is None or arrival.pts_ns < segment.origin_ns:  # refers to what is before the keyframe
            return
        size, arrived_ns = arrival.packet.size, arrival.arrived_ns - self._epoch_ns
        with self._guard:
            segment.write(arrival)
            journal.add(segment.number, arrival.pts_ns, arrived_ns)
        self.frames += 1
        self.bytes += size
        self.window.append((arrival.pts_ns, arrived_ns))

    def _end_segment(self) -> None:
        with self._guard:
            segment, self._segment = self._segment, None
            try:
                if segment is not None:
                    segment.close()
            except StageError as error:
                self.fail(error)

    def fail(self, error: Exception) -> None:
        """Remember what ended this camera's recording."""
        self._tell("failed", str(error))
        self.failure = self.failure or error

    def _tell(self, kind: str, detail: str = "") -> None:
        self.counts[kind] += 1
        if self.counts[kind] <= MAX_EVENTS:
            self.events.append(Event(self.camera, time.monotonic_ns() - self._epoch_ns, kind, redacted(detail)))


def _jump_ns(last: Arrival, arrival: Arrival, usual_ns: int) -> int:
    """By how much the camera's clock jumped between two packets, 0 for not at all: back, or ahead of the time that passed.

    Packets that were held up arrive in a bunch, each one interval ahead of the one before: no jump.
    """
    step_ns = arrival.dts_ns - last.dts_ns
    ahead_ns = step_ns - (arrival.arrived_ns - last.arrived_ns)
    return step_ns if step_ns < 0 or ahead_ns > max(MAX_AHEAD_NS, 3 * usual_ns) else 0
