"""Cameras on loopback: one process sends frame k of all of them at the same instant, so that their true skew is 0.

`python -m tests.pipeline.streams udp|http SECONDS PORT,PORT,... WIDTHxHEIGHT` serves them outside of the process that records.
"""

from __future__ import annotations

import base64
import io
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import av
import cv2
import numpy as np

from tests.pipeline.footage import Image, picture

DATAGRAM = 7 * 188  # bytes: what fits into one Ethernet frame


def free_ports(count: int, kind: int = socket.SOCK_DGRAM) -> list[int]:
    """Ports that nobody listens on."""
    held = [socket.socket(socket.AF_INET, kind) for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def numbered(count: int, size_wh: tuple[int, int] = (64, 48)) -> list[Image]:
    """Pictures that tell their number, up to 48 of them."""
    return [picture(number % 48, size_wh) for number in range(count)]


class _Chunks(io.RawIOBase):
    """What a muxer writes, cut where `take` is called."""

    def __init__(self) -> None:
        self.held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.held += data
        return len(data)

    def take(self) -> bytes:
        taken, self.held = bytes(self.held), bytearray()
        return taken


def ts_frames(images: Sequence[Image], count: int, fps: int = 30, start: int = 0, **options: str) -> list[bytes]:
    """MPEG-TS bytes of `count` frames from frame number `start` on, a keyframe each half second; the images are repeated."""
    packets = _h264(images, fps, options)
    sink = _Chunks()
    frames = []
    with av.open(sink, "w", format="mpegts", options={"flush_packets": "1", "pcr_period": "20"}) as out:
        stream = out.add_stream("libx264", rate=fps)
        stream.height, stream.width, stream.pix_fmt = *images[0].shape[:2], "yuv420p"
        for number in range(start, start + count):
            data, key = packets[number % len(packets)]
            packet = av.Packet(data)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 90_000), key
            packet.pts = packet.dts = 90_000 * number // fps
            out.mux(packet)
            frames.append(sink.take())
    return frames


def _h264(images: Sequence[Image], fps: int, options: dict[str, str]) -> list[tuple[bytes, bool]]:
    defaults = {"g": str(fps // 2), "preset": "ultrafast", "tune": "zerolatency", "crf": "18", "sc_threshold": "0"}
    coder = av.CodecContext.create("libx264", "w")
    coder.options = {**defaults, **options}
    coder.height, coder.width, coder.pix_fmt = *images[0].shape[:2], "yuv420p"
    coder.time_base, coder.framerate = Fraction(1, fps), Fraction(fps)
    packets = []
    for number, image in enumerate(images):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame.pts = number
        packets += coder.encode(frame)
    return [(bytes(packet), packet.is_keyframe) for packet in [*packets, *coder.encode(None)]]


def jpeg_frames(images: Sequence[Image], quality: int = 90) -> list[bytes]:
    """JPEG bytes of images."""
    return [cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes() for image in images]


def send_udp(cameras: dict[int, Sequence[bytes]], fps: int, stop: threading.Event | None = None) -> None:
    """Send frame k of every camera (port: frames) at the same instant, datagram by datagram in turn."""
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    begin = time.monotonic()
    for number in range(min(map(len, cameras.values()))):
        time.sleep(max(0.0, begin + number / fps - time.monotonic()))
        if stop is not None and stop.is_set():
            break
        frames = {port: frames[number] for port, frames in cameras.items()}
        for sent, at in enumerate(range(0, max(map(len, frames.values())), DATAGRAM)):
            for port, frame in frames.items():
                if at < len(frame):
                    sender.sendto(frame[at : at + DATAGRAM], ("127.0.0.1", port))
            if sent % 8 == 7:
                time.sleep(0.0002)  # as a camera's own network card would pace a keyframe
    sender.close()


class JpegServer:
    """HTTP MJPEG: /NAME for every camera; a client gets every frame from the one that is due when it connects."""

    def __init__(self, cameras: dict[str, Sequence[bytes]], fps: int = 30, password: str = "", port: int = 0) -> None:
        self.cameras, self.fps, self.password = cameras, fps, password
        self.stopped = threading.Event()
        self.begin = time.monotonic()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # noqa: N802
                owner.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        expected = "Basic " + base64.b64encode(f"bob:{self.password}".encode()).decode()
        if self.password and request.headers.get("Authorization") != expected:
            request.send_response(401)
            request.send_header("WWW-Authenticate", 'Basic realm="camera"')
            request.end_headers()
            return
        request.send_response(200)
        request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        request.end_headers()
        frames = self.cameras[request.path.strip("/").partition("?")[0]]
        number = int((time.monotonic() - self.begin) * self.fps) + 1
        try:
            while not self.stopped.is_set():
                time.sleep(max(0.0, self.begin + number / self.fps - time.monotonic()))
                frame = frames[number % len(frames)]
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(frame)}\r\n\r\n"
                request.wfile.write(head.encode() + frame + b"\r\n")
                number += 1
        except OSError:
            return

    def stop(self) -> None:
        self.stopped.set()
        self.server.shutdown()
        self.server.server_close()


@contextmanager
def serving(cameras: dict[str, Sequence[bytes]], fps: int = 30, password: str = "", port: int = 0) -> Iterator[JpegServer]:
    """A JpegServer for the time of a block."""
    server = JpegServer(cameras, fps, password, port)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def sending(cameras: dict[int, Sequence[bytes]], fps: int = 30) -> Iterator[threading.Event]:
    """Datagrams sent by a thread for the time of a block; setting the event stops them."""
    stop = threading.Event()
    thread = threading.Thread(target=send_udp, args=(cameras, fps, stop), daemon=True)
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join()


def moving(count: int, size_wh: tuple[int, int]) -> list[Image]:
    """Pictures with detail and motion: what a camera sends costs bits."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (size_wh[1] // 8, size_wh[0] // 4, 3), dtype=np.uint8)
    wide = cv2.resize(small, (size_wh[0] * 2, size_wh[1]), interpolation=cv2.INTER_NEAREST)
    return [np.ascontiguousarray(wide[:, (4 * k) % size_wh[0] :][:, : size_wh[0]]).astype(np.uint8) for k in range(count)]


def main(kind: str, seconds: str, ports: str, size: str) -> None:
    """Serve until the seconds are over; prints `ready` when the first frame is due."""
    width, height = map(int, size.split("x"))
    numbers = [int(port) for port in ports.split(",")]
    images = moving(60, (width, height))
    if kind == "udp":
        frames = ts_frames(images, round(float(seconds) * 30))
        print("ready", flush=True)
        send_udp(dict.fromkeys(numbers, frames), 30)
        return
    pictures = jpeg_frames(images, 80)
    server = JpegServer({f"cam{n + 1}": pictures for n in range(4)}, 30, port=numbers[0])
    print("ready", flush=True)
    time.sleep(float(seconds))
    server.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
