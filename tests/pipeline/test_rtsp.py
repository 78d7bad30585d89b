"""RTSP against GStreamer's server, where Debian's is installed (see tests/benchmarks/rtsp_server.py)."""

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.live import open_live
from pipeline.record import record
from pipeline.recording import RecordingReader
from tests.pipeline.footage import number_of, write_video
from tests.pipeline.streams import numbered

pytestmark = pytest.mark.slow  # it needs a server that is not ours, and fails when that does
SYSTEM_PYTHON, SERVER = "/usr/bin/python3", Path(__file__).resolve().parents[1] / "benchmarks" / "rtsp_server.py"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    check = "import gi; gi.require_version('GstRtspServer', '1.0')"
    if not Path(SYSTEM_PYTHON).exists() or subprocess.run([SYSTEM_PYTHON, "-c", check], capture_output=True).returncode:
        pytest.skip("GStreamer's RTSP server is not installed: apt-get install gir1.2-gst-rtsp-server-1.0 python3-gi")
    film = tmp_path_factory.mktemp("rtsp") / "film.mp4"
    # Slices, as cameras send them: the server tells parameter sets before each.
    write_video(film, numbered(48) * 12, g="15", bf="0", slices="2", sc_threshold="0")
    words = [SYSTEM_PYTHON, str(SERVER), str(film), "0", "s3cret"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready, number = process.stdout.readline().split()
        assert ready == "ready"
        yield int(number)
        process.kill()


def test_rtsp_is_recorded_frame_by_frame(port: int, tmp_path: Path) -> None:
    urls = {f"cam{n}": f"rtsp://bob:s3cret@127.0.0.1:{port}/cam" for n in (1, 2)}
    made = record(tmp_path / "a", urls, 2.0, threading.Event())
    assert made.manifest["skew_ms"]["p99"] < 4
    for camera in urls:
        reader = RecordingReader(tmp_path / "a" / camera)
        assert reader.check(lambda n: None).problem == ""
        # The server sends its first frames twice: as it got ready, and when it began.
        numbers = [number_of(shot.image) for shot in reader.shots()][8:]
        assert len(numbers) > 40
        assert numbers == [(numbers[0] + n) % 48 for n in range(len(numbers))]
    assert "s3cret" not in (tmp_path / "a" / "recording.json").read_text()


def test_rtsp_refusals_are_named(port: int) -> None:
    with pytest.raises(InputError, match=r"rtsp://bob:\*\*\*@.* \(RTSP\): refused .*check user and password"):
        open_live(f"rtsp://bob:wrongish@127.0.0.1:{port}/cam", "camera cam1").__enter__()
    with pytest.raises(InputError, match="not there"):
        open_live(f"rtsp://bob:s3cret@127.0.0.1:{port}/none", "camera cam1").__enter__()
