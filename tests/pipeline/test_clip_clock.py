from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from calibration.clocks import Clocks, PairClock, solve_clocks
from pipeline import clip_clock, ingest
from pipeline.clip_clock import sync_clip
from pipeline.config import IngestConfig
from pipeline.errors import InputError
from pipeline.film_signals import sound
from pipeline.new_session import Request, new_session
from pipeline.session import ClipClock, load_session
from pipeline.store import Ref, Store
from pipeline.tables import read_rows
from tests.pipeline.clocked_films import crowd_noise, lamp, walker, write_film
from tests.pipeline.footage import picture, write_video

NAMES = ("cam1", "cam2", "cam3")
SECONDS = 24.0
CLOCKS = Clocks(NAMES, np.array([0.0, 1.31, -0.7]), np.array([0.0, 8e-5, -6e-5]), 0.0, np.zeros((6, 6)))


def _session(root: Path, **scene: object) -> Path:
    root.mkdir()
    for c, name in enumerate(NAMES):
        shown = {"pictures": None, "heard": None} | scene
        write_film(root / f"{name}.mp4", session_s=partial(CLOCKS.session_s, c), seconds=SECONDS, **shown)  # type: ignore[arg-type]
    new_session(root, Request(cameras=tuple(f"{name}={root / name}.mp4" for name in NAMES), clip="walk"))
    return root


def _off_s(clock: ClipClock, at_s: float = SECONDS / 2) -> list[float]:
    found_s = [clock.session_ns(name, [round(1e9 * at_s)])[0] / 1e9 for name in NAMES]
    return [found - float(CLOCKS.session_s(c, np.array([at_s]))[0]) for c, found in enumerate(found_s)]


def test_sound_puts_cameras_on_one_clock_within_a_millisecond(tmp_path: Path) -> None:
    root = _session(tmp_path / "s", heard=crowd_noise(0, SECONDS))
    clock = sync_clip(root, "walk", "audio", 3.0, [], lambda _: None)
    assert max(map(abs, _off_s(clock))) < 1e-3
    assert load_session(root).clip("walk").clock == clock


def test_pairs_that_contradict_the_others_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _session(tmp_path / "s", heard=crowd_noise(0, SECONDS))
    wrong = PairClock("cam2", "cam3", 0.25, 0.0, np.eye(2), 0.0)
    monkeypatch.setattr(clip_clock, "solve_clocks", lambda *given: replace(solve_clocks(*given), left_out=(wrong,)))
    said: list[str] = []
    sync_clip(root, "walk", "audio", 3.0, [], said.append)
    assert "left out because they contradict the other pairs: cam2-cam3 (+250.0 ms)" in said[0]


def test_motion_puts_them_on_one_clock_within_half_a_frame(tmp_path: Path) -> None:
    root = _session(tmp_path / "s", pictures=walker(0, SECONDS))
    clock = sync_clip(root, "walk", "motion", 3.0, [], lambda _: None)
    assert max(map(abs, _off_s(clock))) < 0.5 / 30


def test_flashes_put_them_on_one_clock_within_a_frame(tmp_path: Path) -> None:
    root = _session(tmp_path / "s", pictures=lamp((6.13, 9.87, 17.4)))
    clock = sync_clip(root, "walk", "flash", 3.0, [], lambda _: None)
    assert max(map(abs, _off_s(clock))) < 1 / 30


def test_the_surest_method_is_taken_and_frames_are_matched_by_it(tmp_path: Path) -> None:
    root = _session(tmp_path / "s", pictures=lamp((6.13, 9.87, 17.4)), heard=crowd_noise(0, SECONDS))
    said: list[str] = []
    clock = sync_clip(root, "walk", "auto", 3.0, [], said.append)
    assert clock.method == "audio"
    assert any("flash is sure to" in line for line in said)
    made = ingest.run(Store(root), Ref(clip="walk"), IngestConfig())
    assert made.summary["clock"]["method"] == "audio"
    assert made.summary["spread_ms"] < 34
    rows = [row for row in read_rows(made.path) if row["frame_index"] >= 0 and row["camera"] == "cam2"]
    late_s = [(row["frame_index"] / 30 * (1 + 8e-5) + 1.31) - row["t_ns"] / 1e9 for row in rows]
    assert max(map(abs, late_s)) < 0.0177  # the nearest frame of each, at 30 frames/s
    assert made.summary["missing"] > 0  # no camera saw what was before it started


def test_where_no_method_is_sure_nothing_is_written_and_each_says_why(tmp_path: Path) -> None:
    root = _session(tmp_path / "s")
    with pytest.raises(InputError) as told:
        sync_clip(root, "walk", "auto", 3.0, [], lambda _: None)
    for way in ("audio: camera cam1: .* no sound track", "keypoints: ", "flash: cam1 and cam2: 0 and 0 flashes", "motion: "):
        assert told.match(f"(?s)no method is sure of its clocks:.*{way}")
    assert load_session(root).clip("walk").clock is None


def test_cameras_of_one_file_need_no_sync_and_unknown_methods_are_refused(tmp_path: Path) -> None:
    tiles = [np.hstack([picture(number), picture(number)]) for number in range(8)]
    new_session(tmp_path / "s", Request(tiled=str(write_video(tmp_path / "t.mp4", tiles)), layout="2x1", clip="walk"))
    with pytest.raises(InputError, match="on one clock already"):
        sync_clip(tmp_path / "s", "walk", "auto", 3.0, [], lambda _: None)
    with pytest.raises(InputError, match="expected auto or one of audio, keypoints, flash, motion, got 'ears'"):
        sync_clip(tmp_path / "s", "walk", "ears", 3.0, [], lambda _: None)


def test_sound_counts_from_the_first_picture(tmp_path: Path) -> None:
    click_s = 1.5

    def heard(t_s: np.ndarray) -> np.ndarray:
        return 0.9 * ((t_s >= click_s) & (t_s < click_s + 0.002))

    path = write_film(tmp_path / "a.mp4", None, heard, lambda own_s: own_s, 3.0)
    signal = sound("cam1", path)
    assert abs(signal.start_s + np.abs(signal.values).argmax() / signal.rate_hz - click_s) < 3e-3
