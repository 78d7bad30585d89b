import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline import ingest
from pipeline.config import IngestConfig
from pipeline.errors import InputError
from pipeline.probe import Probe
from pipeline.session import Clip, Session, Source, save_session
from pipeline.store import Ref, Store
from pipeline.tables import read_rows
from tests.pipeline.footage import number_of, numbered_video, picture, write_video

CONFIG = IngestConfig()
WALK = Ref(clip="walk")


def _store(root: Path, **sources: Source) -> Store:
    save_session(Session(name="s", cameras=tuple(sources), clips=(Clip(name="walk", sources=sources),)), root)
    return Store(root)


def _two(root: Path, left: dict | None = None, right: dict | None = None) -> Store:
    (root / "raw").mkdir()
    for name, options in (("cam1", left), ("cam2", right)):
        numbered_video(root / "raw" / f"{name}.mp4", **({"frames": 20} | (options or {})))
    return _store(root, cam1=Source(path="raw/cam1.mp4"), cam2=Source(path="raw/cam2.mp4"))


def test_every_instant_names_one_frame_of_each_camera(tmp_path: Path) -> None:
    artefact = ingest.run(_two(tmp_path), WALK, CONFIG)
    rows = read_rows(artefact.path)
    assert len(rows) == artefact.rows == 40
    assert [r["frame_index"] for r in rows if r["camera"] == "cam2"] == list(range(20))
    assert {(r["width_px"], r["height_px"]) for r in rows} == {(64, 48)}
    assert artefact.summary["size_wh"] == {"cam1": [64, 48], "cam2": [64, 48]}
    assert (artefact.summary["instants"], artefact.summary["spread_ms"], artefact.summary["missing"]) == (20, 0, 0)


def test_a_second_run_opens_no_film_and_a_changed_file_is_read_again(tmp_path: Path) -> None:
    store = _two(tmp_path)
    first = ingest.run(store, WALK, CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("av.open", lambda *_, **__: pytest.fail("a film was opened"))
        again = ingest.run(store, WALK, CONFIG)
    assert again == first
    assert not again.made
    numbered_video(tmp_path / "raw" / "cam1.mp4", 20, shade=3)
    assert ingest.run(store, WALK, CONFIG).digest != first.digest


def test_the_same_footage_gives_the_same_bytes(tmp_path: Path) -> None:
    store = _two(tmp_path)
    first = ingest.run(store, WALK, CONFIG)
    content = first.path.read_bytes()
    assert ingest.run(Store(tmp_path, redo=("ingest",)), WALK, CONFIG).path.read_bytes() == content


def test_frame_sets_come_back_in_the_order_asked_for(tmp_path: Path) -> None:
    store = _two(tmp_path)
    artefact = ingest.run(store, WALK, CONFIG)
    sets = list(ingest.read_frame_sets(store, artefact, "walk", cameras=("cam2", "cam1"), instants=range(3, 18, 5)))
    assert [[f.camera for f in s.frames if f] for s in sets] == [["cam2", "cam1"]] * 3
    assert [[number_of(f.image) for f in s.frames if f] for s in sets] == [[3, 3], [8, 8], [13, 13]]
    assert [s.t_ns for s in sets] == [n * 1_000_000_000 // 30 for n in (3, 8, 13)]


def test_tiled_cameras_are_checked_and_read_as_one_file(tmp_path: Path) -> None:
    write_video(tmp_path / "t.mp4", [np.hstack([picture(n), picture(n + 20)]) for n in range(8)])
    crops = {"cam1": (0, 0, 64, 48), "cam2": (64, 0, 64, 48)}
    store = _store(tmp_path, **{name: Source(path="t.mp4", crop_px=crop) for name, crop in crops.items()})
    artefact = ingest.run(store, WALK, CONFIG)
    assert artefact.summary["size_wh"] == {"cam1": [64, 48], "cam2": [64, 48]}
    sets = list(ingest.read_frame_sets(store, artefact, "walk"))
    assert [[number_of(f.image) for f in s.frames if f] for s in sets] == [[n, n + 20] for n in range(8)]


def test_cameras_of_different_lengths_are_refused_with_a_table(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"lengths differ by 50.0%(.|\n)*cam1 +20 frames(.|\n)*cam2 +10 frames") as caught:
        ingest.run(_two(tmp_path, right={"frames": 10}), WALK, CONFIG)
    assert "ingest.max_length_difference=0.51" in str(caught.value)


def test_cameras_of_different_rates_are_refused_and_matched_by_time_when_allowed(tmp_path: Path) -> None:
    store = _two(tmp_path, left={"frames": 20, "fps": 20}, right={"frames": 40, "fps": 40})
    with pytest.raises(InputError, match=r"frame rates differ by 50.0%(.|\n)*cam1 .* 20.000 fps(.|\n)*cam2 .* 40.000 fps"):
        ingest.run(store, WALK, CONFIG)
    artefact = ingest.run(store, WALK, IngestConfig(max_rate_difference=0.51))
    frames = [r["frame_index"] for r in read_rows(artefact.path) if r["camera"] == "cam2"]
    assert frames == [2 * n for n in range(20)]
    sets = list(ingest.read_frame_sets(store, artefact, "walk"))
    assert [number_of(s.frames[1].image) for s in sets if s.frames[1]] == frames


def test_an_instant_without_a_frame_is_none(tmp_path: Path) -> None:
    store = _two(tmp_path, right={"frames": 10})
    artefact = ingest.run(store, WALK, IngestConfig(max_length_difference=0.6, max_spread_ms=5))
    sets = list(ingest.read_frame_sets(store, artefact, "walk"))
    assert [s.frames[1] is None for s in sets] == [False] * 10 + [True] * 10
    assert artefact.summary["missing"] == 10


def test_a_missing_file_names_the_camera(tmp_path: Path) -> None:
    store = _two(tmp_path)
    (tmp_path / "raw" / "cam2.mp4").unlink()
    with pytest.raises(InputError, match=r"clip walk, camera cam2: .*cam2\.mp4: not found"):
        ingest.run(store, WALK, CONFIG)


def test_a_text_file_names_the_camera(tmp_path: Path) -> None:
    store = _two(tmp_path)
    (tmp_path / "raw" / "cam2.mp4").write_text("notes " * 100)
    with pytest.raises(InputError, match=r"camera cam2: .*cam2\.mp4: expected a video, found something .*600 bytes"):
        ingest.run(store, WALK, CONFIG)


def test_a_truncated_video_names_the_camera_and_the_frames_found_and_stays_untouched(tmp_path: Path) -> None:
    store = _two(tmp_path)
    rng = np.random.default_rng(0)
    path = tmp_path / "raw" / "cam2.mp4"
    write_video(path, [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(20)])
    os.truncate(path, path.stat().st_size * 2 // 3)
    content = path.read_bytes()
    with pytest.raises(InputError, match=r"camera cam2: .*cam2\.mp4: decoded \d+ of 20 frames"):
        ingest.run(store, WALK, CONFIG)
    assert path.read_bytes() == content
    assert not (tmp_path / "clips").exists()


def test_a_crop_outside_its_file_is_refused(tmp_path: Path) -> None:
    numbered_video(tmp_path / "a.mp4", 3)
    with pytest.raises(InputError, match=r"camera cam1: crop_px .*reaches outside a\.mp4 of 64x48"):
        ingest.run(_store(tmp_path, cam1=Source(path="a.mp4", crop_px=(0, 0, 65, 48))), WALK, CONFIG)


def test_a_file_that_shrank_after_ingest_is_named(tmp_path: Path) -> None:
    store = _two(tmp_path)
    artefact = ingest.run(store, WALK, CONFIG)
    numbered_video(tmp_path / "raw" / "cam2.mp4", 5)
    with pytest.raises(InputError, match=r"cam2\.mp4: frame 5 is gone; the file has changed"):
        list(ingest.read_frame_sets(store, artefact, "walk"))


def test_frames_of_one_number_belong_together_where_one_trigger_took_them(tmp_path: Path) -> None:
    store = _two(tmp_path, left={"fps": 30}, right={"fps": 29})  # a container that tells another rate than the trigger had
    config = IngestConfig(match="number", max_rate_difference=0.1, max_length_difference=0.1)
    made = ingest.run(store, WALK, config)
    rows = read_rows(made.path)
    assert {row["instant"]: row["frame_index"] for row in rows if row["camera"] == "cam2"} == {k: k for k in range(20)}
    assert (made.summary["spread_ms"], made.summary["missing"]) == (0, 0)
    assert made.summary["clock"] == {"method": "frames of one number"}


def test_a_recording_beside_a_file_is_not_put_on_a_clock_that_the_file_knows_nothing_of(tmp_path: Path) -> None:
    recorded = Probe(tmp_path, (64, 48), (0, 33_000_000), starts_ns=5_000_000_000)
    clip = Clip(name="walk", sources={"cam1": Source(path="a"), "cam2": Source(path="b")})
    later = replace(recorded, starts_ns=5_010_000_000)
    together, clock = ingest.session_times(clip, {"cam1": recorded, "cam2": later}, CONFIG)
    assert (together["cam2"][0], clock["method"]) == (10_000_000, "recorded together")
    mixed, clock = ingest.session_times(clip, {"cam1": recorded, "cam2": replace(recorded, starts_ns=0)}, CONFIG)
    assert (mixed["cam1"], mixed["cam2"]) == (recorded.t_ns, recorded.t_ns)
    assert clock["method"] == "the files' own times"
