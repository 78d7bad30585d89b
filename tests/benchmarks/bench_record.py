"""Four 1080p30 streams on loopback: frames lost, CPU, skew of the times; restarts; decoding; tiles bit for bit.

Run: ``python -m tests.benchmarks.bench_record [streams restart decode tiled] [--seconds 60]``. One server process sends
frame k of all four cameras at the same instant, so their true skew is 0; its CPU is not counted. RTSP is measured where
Debian's GStreamer server is installed (see `rtsp_server.py`).
"""

from __future__ import annotations

import argparse
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import av
import cv2
import numpy as np
import psutil

from pipeline.record import Recording, record
from pipeline.record_figures import times_of
from pipeline.recording import RecordingReader
from pipeline.segment import read_journal
from pipeline.session import Source
from pipeline.sources import crop, layout_crops, open_source
from pipeline.studio import StudioConfig, simulate
from tests.pipeline.footage import write_video
from tests.pipeline.streams import free_ports, jpeg_frames, moving

CAMERAS, FPS, SIZE_WH = 4, 30, (1920, 1080)
LOST_BAR, CPU_BAR, SKEW_BAR_MS = 0, 1.0, 4.0
# Pictures that the server repeats.
LOOP = 60


class Server:
    """The process that sends; it can be killed and started again at the same addresses."""

    def __init__(self, kind: str, seconds: float, film: Path) -> None:
        tcp = socket.SOCK_STREAM
        self.kind, self.ports = kind, free_ports(CAMERAS) if kind == "udp" else free_ports(1, tcp) * CAMERAS
        size = f"{SIZE_WH[0]}x{SIZE_WH[1]}"
        ours = [sys.executable, "-m", "tests.pipeline.streams", kind, str(seconds), ",".join(map(str, self.ports)), size]
        theirs = ["/usr/bin/python3", "tests/benchmarks/rtsp_server.py", str(film), str(self.ports[0])]
        self._words = theirs if kind == "rtsp" else ours
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._words, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        if not self._process.stdout.readline().startswith("ready"):
            raise RuntimeError(f"the {self.kind} server did not start")

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    @property
    def urls(self) -> dict[str, str]:
        patterns = {
            "udp": "udp://127.0.0.1:{port}",
            "http": "http://127.0.0.1:{port}/{name}",
            "rtsp": "rtsp://127.0.0.1:{port}/cam",
        }
        names = [f"cam{number + 1}" for number in range(CAMERAS)]
        return {name: patterns[self.kind].format(port=port, name=name) for name, port in zip(names, self.ports, strict=True)}


@contextmanager
def serving(kind: str, seconds: float, film: Path) -> Iterator[Server]:
    server = Server(kind, seconds, film)
    try:
        yield server
    finally:
        server.kill()


def streams(kinds: list[str], seconds: float, scratch: Path) -> None:
    """Frames lost, CPU of this process, skew of frame k over the cameras."""
    print(f"{CAMERAS} streams of {SIZE_WH[0]}x{SIZE_WH[1]} at {FPS} fps for {seconds:g} s")
    print(f"{'':12} {'frames':>7} {'lost':>5} {'CPU cores':>10} {'p99 skew ms':>12} {'max':>7} {'MB/s':>6} {'grown MB':>8}")
    for kind in kinds:
        with serving(kind, seconds + 20, scratch / "film.mp4") as server:
            begin, cpu, before = time.monotonic(), time.process_time(), psutil.Process().memory_info().rss
            made = record(scratch / f"streams-{kind}", server.urls, seconds, threading.Event())
            cores = (time.process_time() - cpu) / (time.monotonic() - begin)
            grown = (psutil.Process().memory_info().rss - before) / 1e6
        frames = {camera: sent_numbers(made, camera, kind) for camera in server.urls}
        lost = sum(int(numbers[-1] - numbers[0]) + 1 - len(numbers) for numbers, _ in frames.values())
        spreads_ms = skew(list(frames.values()))
        size = sum(figures["bytes"] for figures in made.manifest["cameras"].values()) / seconds / 1e6
        count = sum(len(numbers) for numbers, _ in frames.values())
        worst = f"{np.percentile(spreads_ms, 99):12.3f} {spreads_ms.max():7.3f}"
        print(f"{kind:12} {count:7d} {lost:5d} {cores:10.3f} {worst} {size:6.1f} {grown:8.0f}", flush=True)
        shutil.rmtree(made.folder)
    print(f"{'bar':12} {'':7} {LOST_BAR:5d} {CPU_BAR:10.3f} {SKEW_BAR_MS:12.3f}")


def sent_numbers(made: Recording, camera: str, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """The server's number of every frame recorded, ascending, and its time on the recorder's clock, ns."""
    rows = read_journal(made.folder / camera)
    assert set(rows.segment.tolist()) == {0}, f"{camera}: more than one segment: {made.manifest['events']}"
    times = times_of(rows)[0]
    if kind == "http":
        return _numbers_by_content(made.folder / camera / "000.mkv", times), times
    if kind == "udp":
        return np.round(rows.pts_ns * FPS / 1e9).astype(np.int64), times
    # A client's RTP times count from when it joined: frames are told by the recorder's clock, in phase with the first camera.
    first = times_of(read_journal(made.folder / "cam1"))[0][0]
    return np.round((times - first) * FPS / 1e9).astype(np.int64), times


def _numbers_by_content(file: Path, times_ns: np.ndarray) -> np.ndarray:
    """Numbers of JPEGs, known by their bytes up to whole rounds of LOOP, which the time tells."""
    known = {data: number for number, data in enumerate(jpeg_frames(moving(LOOP, SIZE_WH), 80))}
    with av.open(str(file)) as container:
        found = np.array([known[bytes(packet)] for packet in container.demux(video=0) if packet.size])
    steps = np.diff(found) % LOOP
    rounds = np.round((np.diff(times_ns) * FPS / 1e9 - steps) / LOOP).astype(np.int64)
    # The cameras begin within one round of each other.
    base = found[0] + LOOP * round((times_ns[0] * FPS / 1e9 - found[0]) / LOOP)
    return base + np.concatenate([[0], np.cumsum(steps + rounds * LOOP)])


def skew(cameras: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """max - min over the cameras of the time of the same frame, ms, for all frames that all of them have."""
    times = [dict(zip(numbers.tolist(), times_ns.tolist(), strict=True)) for numbers, times_ns in cameras]
    shared = sorted(set.intersection(*(set(each) for each in times)))
    table = np.array([[each[number] for number in shared] for each in times])
    return (table.max(0) - table.min(0)) / 1e6


def restart(kinds: list[str], scratch: Path) -> None:
    """A server killed while it is recorded, and started again."""
    print("a server killed after 4 s and started again 2 s later")
    for kind in kinds:
        done: list[Recording] = []
        with serving(kind, 60, scratch / "film.mp4") as server:
            arguments = (scratch / f"restart-{kind}", server.urls, None, stop := threading.Event())
            thread = threading.Thread(target=lambda made=done, given=arguments: made.append(record(*given)))
            thread.start()
            time.sleep(6)
            server.kill()
            time.sleep(2)
            server.start()
            time.sleep(8)
            stop.set()
            thread.join()
        for camera, figures in done[0].manifest["cameras"].items():
            gaps = ", ".join(f"{(gap['to_ns'] - gap['from_ns']) / 1e9:.2f} s" for gap in figures["gaps"])
            probe = RecordingReader(done[0].folder / camera).check(lambda n: None)
            playable = f"{probe.frames} of {figures['frames']} frames decoded{probe.problem and ': ' + probe.problem}"
            print(f"{kind:5} {camera}: {figures['reconnects']} reconnects, gaps {gaps or 'none'}; {playable}", flush=True)
        shutil.rmtree(done[0].folder)


def decode(scratch: Path, rounds: int = 3) -> None:
    """Four files in four threads: our reader (RGB, exact times) beside cv2.VideoCapture (BGR), by turns."""
    files = [scratch / f"film{number}.mp4" for number in range(CAMERAS)]
    for file in files:
        shutil.copy(scratch / "film.mp4", file)
    ways: dict[str, Callable[[Path], int]] = {"posemill": _by_reader, "cv2": _by_cv2}
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            begin, cpu = time.perf_counter(), time.process_time()
            with ThreadPoolExecutor(CAMERAS) as pool:
                count = sum(pool.map(way, files))
            figures[name].append((count / (time.perf_counter() - begin), count / (time.process_time() - cpu)))
    print(f"decode of {CAMERAS} files of {SIZE_WH[0]}x{SIZE_WH[1]}, {CAMERAS} threads, best of {rounds}")
    for name, each in figures.items():
        print(
            f"{name:12} {max(wall for wall, _ in each):7.1f} frames/s, {max(cpu for _, cpu in each):7.1f} frames per CPU second"
        )
    print(f"{'bar':12} at least as fast as cv2", flush=True)


def _by_reader(file: Path) -> int:
    return sum(1 for _ in open_source(file.parent, Source(path=file.name)).shots())


def _by_cv2(file: Path) -> int:
    capture, count = cv2.VideoCapture(str(file)), 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


def tiled(scratch: Path, session: Path | None) -> None:
    """The virtual studio's four files as one, tiled without loss: the same frames bit for bit."""
    if session is None:
        session = scratch / "studio"
        simulate(session, StudioConfig(people=1, people_instants=10, board_instants=3))
    files = sorted((session / "raw" / "people").glob("cam[1-4].mp4"))
    singles = [[shot.image for shot in open_source(session, Source(path=str(file))).shots()] for file in files]
    whole = [np.vstack([np.hstack(four[:2]), np.hstack(four[2:])]) for four in zip(*singles, strict=True)]
    for codec, name, options in (("libx264rgb", "four.mp4", {"qp": "0", "crf": "0"}), ("ffv1", "four.mkv", {})):
        _write_lossless(scratch / name, whole, codec, options)
        crops = layout_crops(open_source(scratch, Source(path=name)).probe().size_wh, "2x2")
        differing = 0
        for shot in open_source(scratch, Source(path=name)).shots():
            tiles = [crop(shot.image, each, name) for each in crops]
            differing += sum(not np.array_equal(tile, singles[at][shot.number]) for at, tile in enumerate(tiles))
        print(f"tiled, {codec:10}: {differing} of {len(whole) * CAMERAS} pictures differ (bar 0)")


def _write_lossless(path: Path, images: list[np.ndarray], codec: str, options: dict[str, str]) -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=FPS, options=options)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "rgb24" if codec == "libx264rgb" else "bgr0"
        for image in images:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode())
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parts = ("streams", "restart", "decode", "tiled")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(parts)}; default: all")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--kinds", default="udp,http,rtsp")
    parser.add_argument("--session", type=Path, help="a simulated session for `tiled`; default: a small one is made")
    asked = parser.parse_args()
    chosen = asked.parts or parts
    kinds = [kind for kind in asked.kinds.split(",") if kind != "rtsp" or _has_rtsp_server()]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder).resolve()
        if "decode" in chosen or "rtsp" in kinds:
            loops = 5 if "rtsp" not in kinds else round((asked.seconds + 30) * FPS / LOOP)
            write_video(
                scratch / "film.mp4", moving(LOOP, SIZE_WH) * loops, preset="ultrafast", crf="23", g="15", bf="0", threads="1"
            )
        if "streams" in chosen:
            streams(kinds, asked.seconds, scratch)
        if "restart" in chosen:
            restart(kinds, scratch)
        if "decode" in chosen:
            decode(scratch)
        if "tiled" in chosen:
            tiled(scratch, asked.session)


def _has_rtsp_server() -> bool:
    check = "import gi; gi.require_version('GstRtspServer', '1.0')"
    return (
        Path("/usr/bin/python3").exists()
        and subprocess.run(["/usr/bin/python3", "-c", check], capture_output=True).returncode == 0
    )


if __name__ == "__main__":
    main()
