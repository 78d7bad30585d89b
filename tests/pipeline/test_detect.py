import json
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline.atomic import remove
from pipeline.config import DetectConfig
from pipeline.detect import chunks, counts_of, detect, imported, keep_good, run, summarise
from pipeline.detections import read_detections
from pipeline.errors import InputError
from pipeline.pose_rows import stream_poses2d
from pipeline.session import Clip, Session, Source, save_session
from pipeline.store import Ref, Store
from pipeline.tables import FRAMES, read_rows, write_rows
from pipeline.types import Artefact, Poses2D

JOINTS = 17
CONFIG = DetectConfig(batch=4)


class _SeesBrightness:
    """Finds one person per image, whose nose is at the mean brightness; remembers the batches it was given."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def detect(self, images: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        self.batches.append(len(images))
        return [(np.full((1, JOINTS, 2), image.mean()), np.full((1, JOINTS), 0.8), np.zeros((1, 2))) for image in images]


def _frames(count: int) -> list[tuple[int, np.ndarray]]:
    return [(f * 10, np.full((6, 8, 3), f, np.uint8)) for f in range(count)]


def test_every_frame_is_detected_once_in_order_and_in_batches() -> None:
    detector = _SeesBrightness()
    poses = list(detect(detector, _frames(10), "cam1", CONFIG))
    assert detector.batches == [4, 4, 2]
    assert [pose.t_ns for pose in poses] == list(range(0, 100, 10))
    assert [pose.xy_px[0, 0, 0] for pose in poses] == list(range(10))


def test_frames_are_read_as_they_are_needed() -> None:
    def frames():
        yield from _frames(4)
        raise RuntimeError("read too far")

    stream = detect(_SeesBrightness(), frames(), "cam1", CONFIG)
    assert [next(stream).t_ns for _ in range(4)] == [0, 10, 20, 30]


def test_weak_joints_are_missing_and_people_of_too_few_joints_are_dropped() -> None:
    score = np.full((3, JOINTS), 0.5)
    score[0, 4:] = 0.05
    score[1, 0] = 0.05
    score[2, 1] = np.nan
    pose = Poses2D("cam1", 0, np.ones((3, JOINTS, 2)), score, np.arange(3.0)[:, None])
    kept = keep_good(pose, DetectConfig(min_score=0.1, min_joints=5))
    assert kept.tag[:, 0].tolist() == [1.0, 2.0]
    assert np.isnan(kept.xy_px[0, 0]).all()
    assert kept.score[0, 0] == 0
    assert kept.score[1, 1] == 0
    assert np.isfinite(kept.xy_px[0, 1:]).all()


def test_the_best_people_are_kept() -> None:
    score = np.repeat(np.array([0.3, 0.9, 0.6])[:, None], JOINTS, axis=1)
    pose = Poses2D("cam1", 0, np.ones((3, JOINTS, 2)), score, np.arange(3.0)[:, None])
    assert keep_good(pose, DetectConfig(max_people=2)).tag[:, 0].tolist() == [1.0, 2.0]


def test_nobody_in_sight_is_no_error() -> None:
    empty = Poses2D("cam1", 0, np.zeros((0, JOINTS, 2)), np.zeros((0, JOINTS)), np.zeros((0, 1)))
    assert len(keep_good(empty, CONFIG)) == 0
    assert summarise([counts_of([empty])], {"camera": "cam1", "instants": 2}) == {
        "camera": "cam1", "images": 1, "instants_without_image": 1, "people": 0, "images_without_people": 1, "mean_score": 0.0,
    }  # fmt: skip


def _write_openpose(folder: Path, frames: int) -> None:
    """BODY_25B people whose nose is at x = 10 + frame and who have no left eye."""
    folder.mkdir(parents=True)
    for f in range(frames):
        person = np.stack([np.full(25, 10.0 + f), np.arange(25) * 20.0, np.full(25, 0.7)], axis=1)
        person[1] = 0
        content = {"people": [{"pose_keypoints_2d": person.ravel().tolist()}]}
        (folder / f"clip_{f:06d}_keypoints.json").write_text(json.dumps(content))


def _store(root: Path, detections: dict[str, str]) -> tuple[Store, Ref]:
    """A session with an ingest of five frames at 100 ns steps; the last instant has no frame."""
    clip = Clip(name="walk", sources={"cam1": Source(path="raw/cam1.mp4")}, detections=detections)
    save_session(Session(name="s", cameras=("cam1",), clips=(clip,)), root)
    base = {"camera": "cam1", "frame_t_ns": 0, "width_px": 100, "height_px": 600}
    rows = [{"instant": i, "t_ns": 100 * i, "frame_index": i if i < 5 else -1, **base} for i in range(6)]
    write_rows(root / "frames.parquet", rows, FRAMES)
    return Store(root), Ref((Artefact("ingest", root / "frames.parquet", "abc", len(rows)),), "walk", "cam1")


def test_imported_detections_stand_in_frame_by_frame(tmp_path: Path) -> None:
    _write_openpose(tmp_path / "json", 5)
    store, ref = _store(tmp_path, {"cam1": "json"})
    done = run(store, ref, CONFIG)
    poses = {pose.t_ns: pose for pose in stream_poses2d(done.path, JOINTS)}
    assert sorted(poses) == [0, 100, 200, 300, 400]
    assert [poses[t].xy_px[0, 0, 0] for t in sorted(poses)] == [10, 11, 12, 13, 14]
    assert np.isnan(poses[0].xy_px[0, 1]).all()
    assert done.summary["imported"] == "json"
    assert done.summary["people"] == 5
    assert not run(store, ref, CONFIG).made


def test_changed_detections_run_the_stage_again(tmp_path: Path) -> None:
    _write_openpose(tmp_path / "json", 5)
    store, ref = _store(tmp_path, {"cam1": "json"})
    first = run(store, ref, CONFIG)
    (tmp_path / "json" / "clip_000002_keypoints.json").write_text('{"people": []}')
    again = run(store, ref, CONFIG)
    assert again.made
    assert again.digest != first.digest
    assert again.summary["people"] == 4


@pytest.mark.parametrize(("files", "allowed"), [(3, False), (4, True), (6, True), (7, False)])
def test_detections_of_another_length_are_refused_beyond_one_frame(tmp_path: Path, files: int, allowed: bool) -> None:
    _write_openpose(tmp_path / "json", files)
    detections, shown = read_detections(tmp_path / "json"), {f: [f * 100] for f in range(5)}
    if allowed:
        assert [pose.t_ns for pose in imported(detections, shown, "cam1", CONFIG)] == [0, 100, 200, 300, 400]
        return
    with pytest.raises(InputError, match=f"reach frame {files - 1}, those of camera cam1 end at 4.*max_frame_difference=2"):
        list(imported(detections, shown, "cam1", CONFIG))


def test_new_weights_run_the_stage_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, ref = _store(tmp_path, {})
    monkeypatch.setattr("pipeline.detect.read_frame_sets", _five_frames)
    made = []
    for content in (b"one", b"two", b"two"):
        header = json.dumps({"__metadata__": {"licence": '"CC0"', "of": str(content)}}).encode()
        (tmp_path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
        monkeypatch.setitem(sys.modules, "models.detector", _FakeModule)
        made.append(run(store, ref, DetectConfig(weights=str(tmp_path / "w.safetensors"))))
    assert [artefact.made for artefact in made] == [True, True, False]
    assert made[0].summary["weights_licence"] == "CC0"
    assert made[0].rows == 5


class _FakeModule:
    @staticmethod
    def load_detector(weights: str, device: str, **options: object) -> _SeesBrightness:
        return _SeesBrightness()


def _five_frames(store, ingest, clip, cameras, instants):
    from pipeline.types import Frame, FrameSet

    for t_ns, image in [frame for number, frame in enumerate(_frames(5)) if number in instants]:
        yield FrameSet(t_ns, (Frame(cameras[0], 0, t_ns, image),))


def _detecting(monkeypatch: pytest.MonkeyPatch) -> _SeesBrightness:
    """Frames and a detector for `_store`; returns the detector."""
    detector = _SeesBrightness()
    monkeypatch.setattr("pipeline.detect.read_frame_sets", _five_frames)
    monkeypatch.setattr("pipeline.detect.detector_of", lambda config: detector)
    return detector


@pytest.mark.parametrize(
    ("batch", "chunk", "batches"), [(4, 256, [4, 1]), (2, 2, [2, 2, 1]), (2, 3, [2, 2, 1]), (4, 1, [4, 1])]
)
def test_chunks_are_whole_batches_and_leave_one_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int, chunk: int, batches: list[int]
) -> None:
    store, ref = _store(tmp_path, {})
    detector = _detecting(monkeypatch)
    config = DetectConfig(batch=batch, chunk_frames=chunk)
    parts = chunks(store, ref, config)
    whole = run(store, ref, config)
    assert detector.batches == batches
    assert len(parts) == {256: 1, 2: 3, 3: 2, 1: 2}[chunk]
    assert whole.rows == whole.summary["images"] == whole.summary["people"] == 5
    assert chunks(store, ref, config) == []  # nothing is left to do
    left = sorted(path.name for path in whole.path.parent.glob("detect*"))
    assert left == sorted([whole.path.name, whole.path.with_suffix(".json").name])


@pytest.mark.parametrize("forgotten", [0, 1, 2])
def test_a_run_killed_while_it_forgets_chunks_leaves_none_to_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgotten: int
) -> None:
    store, ref = _store(tmp_path, {})
    _detecting(monkeypatch)
    config, left = DetectConfig(batch=2, chunk_frames=2), forgotten
    forget = store.forget

    def killed(artefact: Artefact) -> None:
        nonlocal left
        if not left:
            remove(artefact.manifest_path)  # and not what it tells of
            raise KeyboardInterrupt
        left -= 1
        forget(artefact)

    monkeypatch.setattr(store, "forget", killed)
    with pytest.raises(KeyboardInterrupt):
        run(store, ref, config)
    folder = tmp_path / "clips" / ref.clip
    assert len(list(folder.glob("detect-*@*.parquet"))) == 3 - forgotten
    monkeypatch.setattr(store, "forget", forget)
    done = run(store, ref, config)
    assert not done.made
    assert sorted(path.name for path in folder.glob("detect*")) == [done.manifest_path.name, done.path.name]


def test_the_result_is_the_same_to_the_byte_however_it_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _detecting(monkeypatch)
    contents = []
    for number, chunk in enumerate((2, 4, 256)):
        store, ref = _store(tmp_path / str(number), {})
        contents.append(run(store, ref, DetectConfig(batch=2, chunk_frames=chunk)).path.read_bytes())
    assert contents[0] == contents[1] == contents[2]


def test_chunks_that_are_done_are_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, ref = _store(tmp_path, {})
    detector = _detecting(monkeypatch)
    config = DetectConfig(batch=2, chunk_frames=2)
    parts = chunks(store, ref, config)
    run(store, parts[1], config)  # by another worker, or before this one was killed
    assert detector.batches == [2]
    run(store, ref, config)
    assert detector.batches == [2, 2, 1]
    assert [row["t_ns"] for row in read_rows(run(store, ref, config).path)] == [0, 10, 20, 30, 40]
