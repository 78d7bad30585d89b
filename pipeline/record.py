"""Recording live cameras: every stream is copied as it comes, by one thread each; the disk is never more than a second behind.

raw/<clip>/recording.json tells how it went; it is written last, so a recording without it was cut off.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.atomic import disk_error, remove, write_atomically
from pipeline.credentials import redacted
from pipeline.errors import InputError, StageError
from pipeline.probe import NS
from pipeline.record_camera import CameraRecorder, Tap
from pipeline.record_figures import camera_figures, dropped_of, skew_ms, times_of
from pipeline.segment import read_journal

MANIFEST = "recording.json"
_ROOM, _ROOM_BYTES = ".room", 1 << 19
# A camera that starts up, or sends its next keyframe late, gets so long for its first frame.
START_TIMEOUT_S = 20.0
TICK_S = 0.5
# What is left free on a disk: other programs need it, and files are closed in it.
RESERVE_BYTES = 200_000_000
_RESERVE_S = 5.0


@dataclass(frozen=True)
class CameraNow:
    """How one camera does at this moment, over its last WINDOW packets. state: recording, silent or what it waits for."""

    camera: str
    state: str
    fps: float
    frames: int
    dropped: int
    jitter_ms: float
    mbit_s: float
    reconnects: int


@dataclass(frozen=True)
class Now:
    """How a recording does at this moment."""

    since_s: float
    cameras: tuple[CameraNow, ...]
    skew_ms: float | None
    free_bytes: int


@dataclass(frozen=True)
class Recording:
    """A finished recording: its folder, and the manifest that was written into it."""

    folder: Path
    manifest: dict[str, Any]


Watch = Callable[[Now], None]


def record(
    folder: Path,
    urls: Mapping[str, str],
    seconds: float | None,
    stop: threading.Event,
    watch: Watch = lambda now: None,
    begun: Callable[[], None] = lambda: None,
    tap: Tap | None = None,
) -> Recording:
    """Record cameras (name: whole address) into the new folder `folder` for so many seconds, or until `stop` is set.

    begun: called when every camera is being recorded; the seconds count from there. Raises InputError and StageError naming the
    camera that cannot be recorded; nothing is left then.
    """
    if folder.exists():
        raise InputError(f"{folder}: is there already; record under another name with --clip NAME, or remove it")
    started, epoch_ns, halt = datetime.now(UTC), time.monotonic_ns(), threading.Event()
    try:
        threads = [CameraRecorder(camera, url, folder / camera, epoch_ns, halt, tap) for camera, url in urls.items()]
        # Room for the manifest, which has to tell of a disk that is full.
        (folder / _ROOM).write_bytes(bytes(_ROOM_BYTES))
    except OSError as error:
        remove(folder)
        raise disk_error(error, folder) from error
    for thread in threads:
        thread.start()
    try:
        _await_all(threads, stop)
        begun()
    except BaseException:
        _halt(threads, halt)
        remove(folder)
        raise
    try:
        ended = _watch_over(threads, folder, seconds, stop, watch, epoch_ns)
    finally:
        _halt(threads, halt)
    manifest = {"version": 1, "started": started.isoformat(), "ended": ended, **_manifest(threads, urls)}
    (folder / _ROOM).unlink()
    write_atomically(folder / MANIFEST, json.dumps(manifest, indent=1))
    return Recording(folder, manifest)


def _halt(threads: Sequence[CameraRecorder], halt: threading.Event) -> None:
    halt.set()
    for thread in threads:
        thread.join()


def _await_all(threads: Sequence[CameraRecorder], stop: threading.Event) -> None:
    """Wait for the first frame of every camera. Raises what a camera ended with, or StageError naming those that are silent."""
    until = time.monotonic() + START_TIMEOUT_S
    while not all(thread.settled.wait(0.05) for thread in threads) and time.monotonic() < until and not stop.is_set():
        continue
    for thread in threads:
        if thread.failure is not None:
            raise thread.failure
    if stop.is_set():
        raise StageError("stopped before every camera had sent a picture; nothing was recorded")
    if silent := [thread for thread in threads if not thread.settled.is_set()]:
        why = [
            next((e.detail for e in reversed(thread.events) if e.kind == "stopped"), "no keyframe came") for thread in silent
        ]
        names = ", ".join(thread.camera for thread in silent)
        raise StageError(f"no picture of {names} within {START_TIMEOUT_S:g} s: {'; '.join(why)}")


def _watch_over(
    threads: Sequence[CameraRecorder],
    folder: Path,
    seconds: float | None,
    stop: threading.Event,
    watch: Watch,
    epoch_ns: int,
) -> str:
    """Sync, look and tell, twice a second, until the end; returns why it ended."""
    begin = time.monotonic()
    while not stop.wait(TICK_S if seconds is None else min(TICK_S, max(0.0, begin + seconds - time.monotonic()))):
        _sync(threads)
        now = _now(threads, folder, time.monotonic() - begin, time.monotonic_ns() - epoch_ns)
        watch(now)
        if seconds is not None and now.since_s >= seconds:
            return "after the seconds asked for"
        if now.free_bytes < RESERVE_BYTES + _RESERVE_S * sum(each.mbit_s for each in now.cameras) * 1e6 / 8:
            return f"the disk is almost full: {now.free_bytes / 1e6:.0f} MB are free"
        if all(thread.failure is not None for thread in threads):
            return "no camera could be recorded any more"
    return "when it was told to stop"


def _sync(threads: Sequence[CameraRecorder]) -> None:
    for thread in threads:
        try:
            thread.sync()
        except OSError as error:
            thread.fail(disk_error(error, thread.folder))


def _now(threads: Sequence[CameraRecorder], folder: Path, since_s: float, clock_ns: int) -> Now:
    windows = {thread.camera: np.array(list(thread.window), np.int64).reshape(-1, 2) for thread in threads}
    cameras = tuple(_camera_now(thread, windows[thread.camera], since_s, clock_ns) for thread in threads)
    times = {
        camera: (window[:, 0] + (window[:, 1] - window[:, 0]).min()).tolist()
        for camera, window in windows.items()
        if len(window)
    }
    return Now(since_s, cameras, skew_ms(times).get("p99"), shutil.disk_usage(folder).free)


def _camera_now(thread: CameraRecorder, window: np.ndarray[Any, Any], since_s: float, clock_ns: int) -> CameraNow:
    intervals = np.diff(np.sort(window[:, 0]))
    usual_ns = float(np.median(intervals)) if len(intervals) else 0.0
    silent_ns = clock_ns - int(window[-1, 1]) if len(window) else 0
    state = "failed" if thread.failure else "recording" if len(window) and silent_ns < NS + 3 * usual_ns else "silent"
    return CameraNow(
        camera=thread.camera,
        state=state,
        fps=round(NS / usual_ns, 2) if usual_ns and state == "recording" else 0.0,
        frames=thread.frames,
        dropped=dropped_of(window[:, 0], window[:, 1]),
        jitter_ms=round(float(np.percentile(np.abs(intervals - usual_ns), 99)) / 1e6, 2) if len(intervals) else 0.0,
        mbit_s=round(thread.bytes * 8e-6 / max(since_s, TICK_S), 2),
        reconnects=max(0, thread.connections - 1),
    )


def _manifest(threads: Sequence[CameraRecorder], urls: Mapping[str, str]) -> dict[str, Any]:
    """What is known of a recording, from its journals and from what happened."""
    rows = {thread.camera: read_journal(thread.folder) for thread in threads}
    cameras = {
        thread.camera: {
            "url": redacted(urls[thread.camera]),
            "kind": thread.kind,
            "codec": thread.codec,
            "size_wh": list(thread.size_wh),
            "bytes": thread.bytes,
            "reconnects": max(0, thread.connections - 1),
            "happened": dict(thread.counts),
            "failure": redacted(str(thread.failure or "")),
            **asdict(camera_figures(rows[thread.camera])),
        }
        for thread in threads
    }
    events = sorted((event for thread in threads for event in thread.events), key=lambda event: event.t_ns)
    times = {camera: times_of(each)[0].tolist() for camera, each in rows.items()}
    return {"cameras": cameras, "skew_ms": skew_ms(times), "events": [asdict(event) for event in events]}
