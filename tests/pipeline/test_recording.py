"""Recording from loopback and reading it back."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipeline import ingest, record_camera
from pipeline.config import IngestConfig
from pipeline.errors import InputError, StageError
from pipeline.live import READ_TIMEOUT_S, Kind, LiveStream
from pipeline.probe import NS
from pipeline.record import Recording, record
from pipeline.recording import RecordingReader
from pipeline.segment import read_journal
from pipeline.session import Clip, Session, Source, save_session
from pipeline.sources import open_source
from pipeline.store import Ref, Store
from tests.pipeline.footage import number_of
from tests.pipeline.streams import free_ports, jpeg_frames, moving, numbered, send_udp, sending, serving, ts_frames


def _record(folder: Path, urls: dict[str, str], seconds: float) -> Recording:
    return record(folder, urls, seconds, threading.Event())


def _kinds(manifest: dict[str, Any]) -> list[str]:
    """What happened; that a transport stream was cut and joined is no wonder here."""
    return [event["kind"] for event in manifest["events"] if event["kind"] != "damaged"]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Two cameras of which the second begins to send a second later, with a clock of its own."""
    first, second = free_ports(2)
    early, late = ts_frames(numbered(48), 200), ts_frames(numbered(48), 200, start=9000 + 30)
    with sending({first: early, second: [b""] * 30 + late[:170]}):
        folder = tmp_path_factory.mktemp("two") / "walk"
        return _record(folder, {"cam1": f"udp://127.0.0.1:{first}", "cam2": f"udp://127.0.0.1:{second}"}, 2.0)


def test_streams_are_copied_whole_and_told_of(two: Recording) -> None:
    manifest = json.loads((two.folder / "recording.json").read_text())
    assert manifest == json.loads(json.dumps(two.manifest))
    for camera, figures in manifest["cameras"].items():
        assert (figures["fps"], figures["dropped"], figures["gaps"], figures["reconnects"]) == (30, 0, [], 0)
        assert figures["frames"] == len((two.folder / camera / "times.csv").read_text().splitlines()) - 1
        assert 55 <= figures["frames"] < 120
    assert {figures["timed_by"] for figures in manifest["cameras"].values()} == {"camera"}
    assert manifest["skew_ms"]["p99"] < 4
    assert {event["kind"] for event in manifest["events"]} == {"connected"}


def test_a_recording_reads_back_frame_by_frame_with_exact_times(two: Recording) -> None:
    reader = open_source(two.folder, Source(path="cam1"))
    probe = reader.check(lambda n: None)
    assert (probe.problem, probe.size_wh) == ("", (64, 48))
    shots = list(reader.shots())
    numbers = [number_of(shot.image) for shot in shots]
    assert numbers == [(numbers[0] + n) % 48 for n in range(len(numbers))]
    pts = np.sort(read_journal(two.folder / "cam1").pts_ns)
    assert np.abs(np.array(probe.t_ns) - (pts - pts[0])).max() <= 200e-6 * (pts[-1] - pts[0]) + 1  # the drift allowed
    assert [shot.t_ns for shot in shots] == list(probe.t_ns)
    assert [number_of(shot.image) for shot in reader.shots([3, 40, 41])] == [numbers[3], numbers[40], numbers[41]]


def test_cameras_that_began_at_different_times_are_matched_by_their_real_times(two: Recording) -> None:
    root = two.folder.parent
    sources = {camera: Source(path=f"walk/{camera}") for camera in ("cam1", "cam2")}
    save_session(Session(name="s", cameras=("cam1", "cam2"), clips=(Clip(name="walk", sources=sources),)), root)
    store = Store(root)
    artefact = ingest.run(store, Ref(clip="walk"), IngestConfig())
    sets = list(ingest.read_frame_sets(store, artefact, "walk"))
    pairs = [[number_of(frame.image) for frame in each.frames if frame] for each in sets]
    both = [pair for pair in pairs if len(pair) == 2]
    assert len(both) > 40
    assert {(a - b) % 48 for a, b in both} == {30 - 9030 % 48}  # number 30 of the first was sent with number 9030 of the other


def test_a_server_killed_and_restarted_is_reconnected_and_its_gap_named(tmp_path: Path) -> None:
    frames = jpeg_frames(numbered(48))
    done: list[Recording] = []
    with serving({"cam1": frames}) as server:
        url = f"http://127.0.0.1:{server.port}/cam1"
        thread = threading.Thread(target=lambda: done.append(_record(tmp_path / "a", {"cam1": url}, 3.5)))
        thread.start()
        time.sleep(1.2)
    time.sleep(0.5)
    with serving({"cam1": frames}, port=server.port):
        thread.join()
    manifest = done[0].manifest
    figures = manifest["cameras"]["cam1"]
    assert figures["reconnects"] == 1
    [gap] = figures["gaps"]
    assert 0.4 * NS < gap["to_ns"] - gap["from_ns"] < 2.5 * NS
    kinds = _kinds(manifest)
    assert (kinds[:2], kinds[-1], set(kinds)) == (["connected", "stopped"], "connected", {"connected", "stopped"})
    assert sorted(path.name for path in (tmp_path / "a" / "cam1").glob("*.mkv")) == ["000.mkv", "001.mkv"]
    probe = RecordingReader(tmp_path / "a" / "cam1").check(lambda n: None)
    assert (probe.problem, probe.frames) == ("", figures["frames"])
    assert max(np.diff(probe.t_ns)) == gap["to_ns"] - gap["from_ns"]


def test_a_camera_that_changes_resolution_begins_a_new_segment(tmp_path: Path) -> None:
    [port] = free_ports(1)
    small, large = ts_frames(numbered(48), 60), ts_frames(numbered(48, (96, 80)), 60, start=60)
    with sending({port: small + large}):
        manifest = _record(tmp_path / "a", {"cam1": f"udp://127.0.0.1:{port}"}, 2.5).manifest
    assert _kinds(manifest) == ["connected", "changed"]
    sizes = [open_source(tmp_path, Source(path=f"a/cam1/00{n}.mkv")).check(lambda n: None) for n in (0, 1)]
    assert [(each.size_wh, each.problem) for each in sizes] == [((64, 48), ""), ((96, 80), "")]
    problem = RecordingReader(tmp_path / "a" / "cam1").check(lambda n: None).problem
    assert "001.mkv: is 96x80 px, the first segment 64x48: the camera changed it;" in problem


def test_a_clock_that_jumps_is_named_and_no_frame_lost(tmp_path: Path) -> None:
    [port] = free_ports(1)
    frames = ts_frames(numbered(48), 60, g="1") + ts_frames(numbered(48), 60, start=60 + 48 * 100, g="1")
    with sending({port: frames}):
        made = _record(tmp_path / "a", {"cam1": f"udp://127.0.0.1:{port}"}, 2.5)
    assert _kinds(made.manifest) == ["connected", "jump"]
    assert any("jumped by +160.033 s" in event["detail"] for event in made.manifest["events"])
    reader = RecordingReader(tmp_path / "a" / "cam1")
    numbers = [number_of(shot.image) for shot in reader.shots()]
    assert numbers == [(numbers[0] + n) % 48 for n in range(len(numbers))]
    assert np.diff(reader.probe().t_ns).max() < 0.1 * NS  # on the recorder's clock nothing jumped


def test_frames_that_never_came_are_counted(tmp_path: Path) -> None:
    [port] = free_ports(1)
    frames = ts_frames(numbered(48), 100, g="1")
    for lost in (50, 51, 60):
        frames[lost] = b""
    with sending({port: frames}):
        manifest = _record(tmp_path / "a", {"cam1": f"udp://127.0.0.1:{port}"}, 2.0).manifest
    assert manifest["cameras"]["cam1"]["dropped"] == 3


def test_a_camera_that_is_not_there_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.record.START_TIMEOUT_S", 0.5)
    with pytest.raises(StageError, match=r"no picture of cam1 within 0.5 s: camera cam1: http://bob:\*\*\*@"):
        _record(tmp_path / "a", {"cam1": "http://bob:s3cret@127.0.0.1:1/x"}, 1.0)
    assert not (tmp_path / "a").exists()


def test_a_wrong_password_ends_a_recording_before_it_begins(tmp_path: Path) -> None:
    with serving({"cam1": jpeg_frames(numbered(2))}, password="right") as server:
        url = f"http://bob:wrongish@127.0.0.1:{server.port}/cam1"
        with pytest.raises(InputError, match="check user and password"):
            _record(tmp_path / "a", {"cam1": url}, 1.0)
    assert not (tmp_path / "a").exists()


def test_a_clip_that_is_there_is_not_recorded_over(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(InputError, match="is there already; record under another name with --clip"):
        _record(tmp_path / "a", {"cam1": "udp://127.0.0.1:1"}, 1.0)


def test_a_disk_that_fills_ends_a_recording_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.record.RESERVE_BYTES", 1 << 60)
    with serving({"cam1": jpeg_frames(numbered(48))}) as server:
        manifest = _record(tmp_path / "a", {"cam1": f"http://127.0.0.1:{server.port}/cam1"}, 30.0).manifest
    assert manifest["ended"].startswith("the disk is almost full")
    assert RecordingReader(tmp_path / "a" / "cam1").check(lambda n: None).problem == ""


def test_a_write_that_fails_ends_a_camera_and_keeps_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = record_camera.Segment.write

    def full(self: record_camera.Segment, arrival: record_camera.Arrival) -> None:
        if self.bytes > 20_000:
            raise StageError(f"{self.path}: the disk is full")
        written(self, arrival)

    monkeypatch.setattr(record_camera.Segment, "write", full)
    with serving({"cam1": jpeg_frames(numbered(48))}) as server:
        manifest = _record(tmp_path / "a", {"cam1": f"http://127.0.0.1:{server.port}/cam1"}, 30.0).manifest
    assert manifest["ended"] == "no camera could be recorded any more"
    assert "the disk is full" in manifest["cameras"]["cam1"]["failure"]
    assert RecordingReader(tmp_path / "a" / "cam1").check(lambda n: None).frames == manifest["cameras"]["cam1"]["frames"] > 0


_PROGRAM = """
import sys, threading
from pathlib import Path
from pipeline.record import record
def watch(now):
    print(now.cameras[0].frames, flush=True)
record(Path(sys.argv[1]), {"cam1": sys.argv[2]}, None, threading.Event(), watch)
"""


def test_a_recording_that_was_killed_reads_up_to_its_last_two_seconds(tmp_path: Path) -> None:
    [port] = free_ports(1)
    frames = ts_frames(numbered(48), 400)
    with sending({port: frames}):
        words = [sys.executable, "-c", _PROGRAM, str(tmp_path / "a"), f"udp://127.0.0.1:{port}"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            counts = [int(child.stdout.readline()) for _ in range(8)]
            child.send_signal(signal.SIGKILL)
    assert not (tmp_path / "a" / "recording.json").exists()
    probe = RecordingReader(tmp_path / "a" / "cam1").check(lambda n: None)
    assert probe.problem == ""
    assert probe.frames >= counts[-1] - 60


def test_a_file_or_journal_cut_off_anywhere_reads_as_far_as_both_are_whole(two: Recording, tmp_path: Path) -> None:
    whole = list(RecordingReader(two.folder / "cam1").shots())
    rng = np.random.default_rng(0)
    for number, name in enumerate(["000.mkv", "times.csv"] * 8):
        folder = shutil.copytree(two.folder / "cam1", tmp_path / str(number))
        size = (folder / name).stat().st_size
        os.truncate(folder / name, int(rng.integers(size // 4, size)))
        reader = RecordingReader(folder)
        probe = reader.check(lambda n: None)
        assert probe.problem == ""
        shots = list(reader.shots())
        assert 0 < len(shots) == probe.frames <= len(whole)
        assert all(np.array_equal(a.image, b.image) for a, b in zip(shots, whole, strict=False))


def test_a_recording_without_one_whole_frame_is_refused(two: Recording, tmp_path: Path) -> None:
    folder = shutil.copytree(two.folder / "cam1", tmp_path / "cut")
    os.truncate(folder / "000.mkv", 100)
    with pytest.raises(InputError, match="holds not one whole frame"):
        RecordingReader(folder).probe()


def test_memory_and_threads_are_given_back(tmp_path: Path) -> None:
    before = threading.active_count()
    [port] = free_ports(1)
    thread = threading.Thread(target=send_udp, args=({port: ts_frames(numbered(48), 60)}, 30))
    thread.start()
    _record(tmp_path / "a", {"cam1": f"udp://127.0.0.1:{port}"}, 0.5)
    thread.join()
    assert threading.active_count() == before
    assert READ_TIMEOUT_S < 5


def test_times_that_repeat_are_named_and_no_frame_is_left_out(tmp_path: Path) -> None:
    [port] = free_ports(1)
    with sending({port: ts_frames(numbered(48), 75)}):
        made = _record(tmp_path / "a", {"cam1": f"udp://127.0.0.1:{port}"}, 0.5)
    recorder = record_camera.CameraRecorder("cam2", "", tmp_path / "b", 0, threading.Event())
    source = av.open(str(tmp_path / "a" / "cam1" / "000.mkv"))
    live = LiveStream(source, Kind("file"), "camera cam2")
    arrivals = [live._arrival(packet, 0) for packet in source.demux(video=0) if packet.size]
    repeated = arrivals[8]._replace(pts_ns=arrivals[7].pts_ns, dts_ns=arrivals[7].dts_ns)
    for arrival in [*arrivals[:8], repeated]:
        recorder._take(live, arrival)
    recorder._end_segment()
    recorder._close()
    assert recorder.counts["repeat"] == 1
    shots = list(RecordingReader(tmp_path / "b").shots())
    expected = list(RecordingReader(made.folder / "cam1").shots(range(9)))
    assert [number_of(a.image) for a in shots] == [number_of(b.image) for b in expected]
    assert shots[8].t_ns - shots[7].t_ns == pytest.approx(1e6, rel=1e-3)


def test_a_disk_that_is_full_in_the_end_is_told_in_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)], capture_output=True).returncode:
        pytest.skip("a small disk cannot be made here: mount -t tmpfs was refused")
    monkeypatch.setattr("pipeline.record.RESERVE_BYTES", -(1 << 40))  # as if others filled it all at once
    try:
        with serving({"cam1": jpeg_frames(moving(10, (320, 240)))}) as server:
            manifest = _record(small / "a", {"cam1": f"http://127.0.0.1:{server.port}/cam1"}, 30.0).manifest
        assert manifest["ended"] == "no camera could be recorded any more"
        assert "the disk is full" in manifest["cameras"]["cam1"]["failure"]
        assert json.loads((small / "a" / "recording.json").read_text()) == json.loads(json.dumps(manifest))
        probe = RecordingReader(small / "a" / "cam1").check(lambda n: None)
        assert probe.problem == ""
        assert probe.frames >= manifest["cameras"]["cam1"]["frames"] - 60
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_jpeg_that_was_cut_off_is_left_out_and_told(tmp_path: Path) -> None:
    frames = jpeg_frames(numbered(48))
    frames[10] = frames[10][: len(frames[10]) // 2]
    with serving({"a": frames}) as server:
        made = _record(tmp_path / "walk", {"cam1": f"http://127.0.0.1:{server.port}/a"}, 2.0)
    figures = made.manifest["cameras"]["cam1"]
    assert figures["happened"]["damaged"] >= 1
    probe = RecordingReader(tmp_path / "walk" / "cam1").check(lambda n: None)
    assert (probe.problem, probe.frames) == ("", figures["frames"])
    assert "cut off" in next(event["detail"] for event in made.manifest["events"] if event["kind"] == "damaged")
