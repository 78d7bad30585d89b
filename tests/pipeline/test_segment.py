import threading
from pathlib import Path

import av

from pipeline import record_camera
from pipeline.live import Kind, LiveStream
from pipeline.recording import RecordingReader
from pipeline.segment import own_ms
from tests.pipeline.footage import number_of, write_video
from tests.pipeline.streams import numbered


def test_every_frame_has_a_millisecond_of_its_own() -> None:
    taken: set[int] = set()
    assert [own_ms(ms, taken) for ms in (0, 33, 33, 33, 34, 70)] == [0, 33, 34, 35, 36, 70]


def test_frames_that_come_within_a_millisecond_are_all_there(tmp_path: Path) -> None:
    """A server that was held up sends what it has at once; without times of its own its frames have those of their coming."""
    source = av.open(str(write_video(tmp_path / "film.mkv", numbered(12), bf="0", g="1")))
    live = LiveStream(source, Kind("file"), "camera cam1")
    recorder = record_camera.CameraRecorder("cam1", "", tmp_path / "a", 0, threading.Event())
    for number, packet in enumerate(packet for packet in source.demux(video=0) if packet.size):
        came_ns = number * 33_000_000 if number < 4 else 4 * 33_000_000 + number * 100_000  # the last eight at once
        recorder._take(live, live._arrival(packet, 0)._replace(pts_ns=came_ns, dts_ns=came_ns, arrived_ns=came_ns))
    recorder._end_segment()
    recorder._close()
    reader = RecordingReader(tmp_path / "a")
    assert reader.probe().frames == 12
    assert [number_of(shot.image) for shot in reader.shots(range(12))] == list(range(12))
    assert list(reader.probe().t_ns[-2:]) == [133_000_000, 133_100_000]  # when they came, not where they stand
