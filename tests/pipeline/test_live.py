import socket
import threading
from collections.abc import Iterator

import av
import pytest

from pipeline import live as live_module
from pipeline.errors import InputError
from pipeline.live import Arrival, Unreachable, _refusal, kinds_of, open_live
from pipeline.probe import NS
from tests.pipeline.streams import free_ports, jpeg_frames, numbered, sending, serving, ts_frames


def _first(packets: Iterator[Arrival], count: int) -> list[Arrival]:
    return [next(packets) for _ in range(count)]


def test_mpeg_ts_over_udp_gives_the_cameras_own_times() -> None:
    [port] = free_ports(1)
    with sending({port: ts_frames(numbered(48), 90)}), open_live(f"udp://127.0.0.1:{port}", "camera cam1") as live:
        taken = _first(live.packets(), 40)
    assert (live.codec, live.size_wh, live.fps) == ("h264", (64, 48), 30)
    steps = {b.pts_ns - a.pts_ns for a, b in zip(taken[:-1], taken[1:], strict=True)}
    assert steps <= {NS // 30, NS // 30 + 1}


def test_http_mjpeg_is_timed_by_its_arrival() -> None:
    with serving({"cam1": jpeg_frames(numbered(48))}) as server:
        with open_live(f"http://127.0.0.1:{server.port}/cam1", "camera cam1") as live:
            taken = _first(live.packets(), 15)
        assert (live.codec, live.size_wh) == ("mjpeg", (64, 48))
    assert all(each.pts_ns == each.arrived_ns for each in taken)
    assert (taken[-1].pts_ns - taken[4].pts_ns) / NS == pytest.approx(10 / 30, abs=0.1)


def test_a_wrong_password_is_named_without_showing_it() -> None:
    with serving({"cam1": jpeg_frames(numbered(2))}, password="right") as server:
        url = f"http://bob:wrongish@127.0.0.1:{server.port}/cam1"
        with pytest.raises(InputError, match=r"camera cam1: http://bob:\*\*\*@.*refused.*check user and password") as caught:
            open_live(url, "camera cam1").__enter__()
        assert "wrongish" not in str(caught.value)
        with open_live(url.replace("wrongish", "right"), "camera cam1") as live:
            assert live.codec == "mjpeg"


def test_a_server_that_goes_silent_is_noticed_after_the_read_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    assert live_module.READ_TIMEOUT_S < 5
    monkeypatch.setattr(live_module, "READ_TIMEOUT_S", 0.4)
    frames = jpeg_frames(numbered(10))
    with serving({"cam1": frames}) as server, open_live(f"http://127.0.0.1:{server.port}/cam1", "camera cam1") as live:
        packets = live.packets()
        next(packets)
        server.begin += 60  # the next picture is due in a minute, and the connection stays
        with pytest.raises(Unreachable, match=r"camera cam1: http://127.0.0.1.*nothing came for 0.4 s"):
            _first(packets, 200)


def test_nobody_at_the_address_is_unreachable() -> None:
    for kind in ("http", "rtsp"):
        with pytest.raises(Unreachable, match="check that the camera is on"):
            open_live(f"{kind}://127.0.0.1:1/x", "camera cam1").__enter__()


def test_what_is_no_video_is_refused() -> None:
    server = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        for _ in range(2):
            client, _ = server.accept()
            client.recv(4096)
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 12\r\n\r\n<p>hello</p>")
            client.close()

    threading.Thread(target=answer, daemon=True).start()
    with pytest.raises(InputError, match="no video that can be read"):
        open_live(f"http://127.0.0.1:{server.getsockname()[1]}/", "camera cam1").__enter__()
    server.close()


def test_unknown_addresses_are_refused_with_what_is_known() -> None:
    with pytest.raises(InputError, match=r"ftp://bob:\*\*\*@x: expected /dev/videoN, rtsp://"):
        kinds_of("ftp://bob:secret@x")
    with pytest.raises(InputError, match=r"/dev/video99 \(UVC\): not there"):
        open_live("/dev/video99", "camera cam1").__enter__()


def test_a_failure_without_a_reason_is_worth_another_try_and_a_locked_device_is_not() -> None:
    [kind] = kinds_of("rtsp://x")
    for number, expected in ((1, Unreachable), (13, InputError)):
        error = av.error.PermissionError(number, "not permitted", "rtsp://bob:s3cret@x")
        told = _refusal("rtsp://bob:s3cret@x", kind, "camera cam1", error)
        assert isinstance(told, expected)
        assert "s3cret" not in str(told)
