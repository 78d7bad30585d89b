import av
import numpy as np
import pytest

from pipeline.stream_parameters import continues_picture, parameters_of
from tests.pipeline.streams import jpeg_frames, numbered, ts_frames

SPS, OTHER_SPS, PPS = b"\x67\x42\xc0\x0a\xda", b"\x67\x42\xc0\x0a\xdb", b"\x68\xce\x02"
FIRST_SLICE, NEXT_SLICE = b"\x65\x88\x84" + bytes(range(1, 90)), b"\x65\x11\x84" + bytes(range(1, 90))


def _packet(*units: bytes) -> memoryview:
    return memoryview(b"".join(b"\0\0\0\1" + unit for unit in units))


def test_parameter_sets_of_a_keyframe_are_found_once_and_in_order() -> None:
    found = parameters_of("h264", _packet(b"\x09\xf0", SPS, PPS, SPS, PPS, FIRST_SLICE))
    assert found == (SPS, b"\0\0\0\1" + SPS + b"\0\0\0\1" + PPS)
    # Repeated before every slice, as some senders do, they are no change.
    assert parameters_of("h264", _packet(SPS, PPS, FIRST_SLICE, SPS, PPS, NEXT_SLICE)) == found
    assert parameters_of("h264", _packet(OTHER_SPS, PPS, FIRST_SLICE)) != found
    assert parameters_of("h264", _packet(FIRST_SLICE)) is None


def test_a_slice_that_is_not_the_first_continues_its_picture() -> None:
    assert continues_picture("h264", _packet(SPS, PPS, NEXT_SLICE))
    assert not continues_picture("h264", _packet(SPS, PPS, FIRST_SLICE))
    assert continues_picture("hevc", _packet(b"\x26\x01\x2f\x11"))
    assert not continues_picture("hevc", _packet(b"\x26\x01\xaf\x11"))
    assert not continues_picture("mjpeg", memoryview(jpeg_frames(numbered(1))[0]))


@pytest.mark.parametrize("size_wh", [(64, 48), (96, 80)])
def test_a_jpeg_tells_its_size(size_wh: tuple[int, int]) -> None:
    found = parameters_of("mjpeg", memoryview(jpeg_frames(numbered(1, size_wh))[0]))
    assert found is not None
    assert found.picture[1:5] == size_wh[1].to_bytes(2, "big") + size_wh[0].to_bytes(2, "big")


def test_an_encoders_own_parameter_sets_are_found(tmp_path) -> None:
    (tmp_path / "a.ts").write_bytes(b"".join(ts_frames(numbered(20), 20)))
    with av.open(str(tmp_path / "a.ts")) as container:
        key = next(packet for packet in container.demux(video=0) if packet.is_keyframe)
        found = parameters_of("h264", memoryview(key))
    assert np.frombuffer(found.picture, np.uint8)[0] & 0x1F == 7
