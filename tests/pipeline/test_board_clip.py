"""Rigs from clips of several boards, and of cameras that read their rows one after the other."""

from pathlib import Path

import numpy as np
import pytest

from calibration.board import Board
from calibration.board_set import parse_target
from calibration.quality import compare_rigs
from calibration.rig import Rig
from calibration.synthetic import moving_board
from calibration.transforms import Rigid
from pipeline import calibrate, ingest
from pipeline.boards import corners_in_clip, rolling_in_clip
from pipeline.calibrate import read_rig
from pipeline.config import CalibrateConfig, IngestConfig
from pipeline.errors import InputError
from pipeline.new_session import Request, new_session
from pipeline.session import load_session
from pipeline.store import Ref, Store
from pipeline.types import Artefact
from tests.pipeline.board_film import BOARD, SIZE, rendered, small_rig
from tests.pipeline.footage import write_video

SECOND = Board("chessboard", 5, 4, 0.09)
RATE = 30.0  # of write_video
READOUT_S = 0.030
BANDS = 12


def _session(root: Path, footage: Path, names: tuple[str, ...], board: str, **options: object) -> tuple[Store, Artefact]:
    cameras = tuple(f"{name}={footage / name}.mp4" for name in names)
    new_session(root, Request(cameras=cameras, clip="board", board=board, board_clip=True, **options))  # type: ignore[arg-type]
    store = Store(root)
    return store, ingest.run(store, Ref(clip="board"), IngestConfig())


def test_two_boards_of_one_session_make_its_rig(tmp_path: Path) -> None:
    rig, both = small_rig(), f"{BOARD.spec} + {SECOND.spec}"
    poses = {b: moving_board(rig, b, 9, low_m=(-0.2, -0.2, 0.8), high_m=(0.3, 0.2, 1.1), seed=3) for b in (BOARD, SECOND)}
    for name in rig.names:
        write_video(tmp_path / f"{name}.mp4", [rendered(rig, name, p, b) for b in poses for p in poses[b]], crf="4")
    store, frames = _session(tmp_path / "s", tmp_path, rig.names, both)
    made = calibrate.run(store, Ref((frames,)), CalibrateConfig())
    assert max(error.centre_mm for error in compare_rigs(read_rig(made), rig)) < 15
    corners, _ = corners_in_clip(store, frames, "board", parse_target(both), rig.names, range(18))
    views = np.isfinite(corners[..., 0]).any(2).reshape(3, 18, 2).sum((0, 1))
    assert views.min() > 12
    assert "17, board 2" in (made.path / "report.html").read_text()


def _pose_at(t_s: float) -> Rigid:
    facing = np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    angle = 2 * np.pi * t_s
    turn = Rigid.from_rvec([0.2 * np.sin(angle), 0.45 * np.sin(0.7 * angle), 0.4 * np.sin(0.9 * angle)], np.zeros(3)).R
    middle = [0.12 * np.sin(0.5 * angle), 0.16 * np.sin(0.8 * angle), 0.95 + 0.12 * np.sin(1.1 * angle)]
    return Rigid(facing @ turn, np.array(middle) - facing @ turn @ BOARD.corners_m.mean(0))


def _rolling_frame(rig: Rig, name: str, t_s: float) -> np.ndarray:
    """A frame of which each band of rows is rendered when it is read."""
    image, height = [], SIZE[1] // BANDS
    for band in range(BANDS):
        delay_s = ((band + 0.5) / BANDS - 0.5) * READOUT_S
        image.append(rendered(rig, name, _pose_at(t_s + delay_s))[band * height : (band + 1) * height])
    return np.concatenate(image)


@pytest.fixture(scope="module")
def rolling(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Rig]:
    folder, rig = tmp_path_factory.mktemp("rolling"), small_rig(2)
    for name in rig.names:
        write_video(folder / f"{name}.mp4", [_rolling_frame(rig, name, at / RATE) for at in range(45)], crf="4")
    return folder, rig


@pytest.mark.parametrize("told", ["30", "solve"])
def test_rolling_shutters_are_undone(tmp_path: Path, rolling: tuple[Path, Rig], told: str) -> None:
    folder, rig = rolling
    readouts = tuple(f"{name}={told}" for name in rig.names)
    plain = calibrate.run(*_with_frames(tmp_path / "plain", folder, rig, ()), CalibrateConfig())
    made = calibrate.run(*_with_frames(tmp_path / "rolling", folder, rig, readouts), CalibrateConfig())
    for name in rig.names:
        # 5 sigma of 0.17 ms: frames of 12 bands, compressed, are no exact rolling shutter.
        assert made.summary["readout_ms"][name] == pytest.approx(1e3 * READOUT_S, abs=0.0 if told == "30" else 0.85)
        assert made.summary["rms_px"][name] < 0.8 * plain.summary["rms_px"][name]
        assert read_rig(made)[name].readout_s == pytest.approx(1e-3 * made.summary["readout_ms"][name], abs=1e-6)
    assert plain.summary["readout_ms"] == {}
    assert "Rolling shutters" in (made.path / "report.html").read_text()
    assert "Rolling shutters" not in (plain.path / "report.html").read_text()


def _with_frames(root: Path, folder: Path, rig: Rig, readouts: tuple[str, ...]) -> tuple[Store, Ref]:
    store, frames = _session(root, folder, rig.names, BOARD.spec, readouts=readouts)
    return store, Ref((frames,))


def test_sightings_before_and_after_an_instant_are_those_of_its_neighbours(tmp_path: Path, rolling: tuple[Path, Rig]) -> None:
    store, ref = _with_frames(tmp_path, rolling[0], rolling[1], ())
    names = rolling[1].names
    every, _ = corners_in_clip(store, ref.inputs[0], "board", BOARD, names, range(12))
    near, times_s = rolling_in_clip(store, ref.inputs[0], "board", BOARD, names, (0, 4, 10))
    np.testing.assert_array_equal(near[:, :, 1:], every[:, [[3, 9], [4, 10], [5, 11]]])
    assert np.isnan(near[:, 0, 0]).all()
    assert np.isnan(times_s[:, 0, 0]).all()
    np.testing.assert_allclose(np.diff(times_s[:, :, 1:], axis=1), 1 / RATE, atol=1e-6)


def test_a_readout_is_checked_where_it_is_given(tmp_path: Path, rolling: tuple[Path, Rig]) -> None:
    folder, rig = rolling
    for text, message in (
        ("cam9=12", "camera 'cam9' is not one of cam1, cam2"),
        ("cam1=fast", "expected NAME=MS or NAME=solve, got cam1=fast"),
        ("cam1=0", "camera cam1: expected ms, up to 100 either way, or solve, got 0; leave out cameras with a global"),
        ("cam1=2000", "camera cam1: expected ms, up to 100"),
    ):
        with pytest.raises(InputError, match=message):
            _session(tmp_path, folder, rig.names, BOARD.spec, readouts=(text,))
    _session(tmp_path, folder, rig.names, BOARD.spec, readouts=("cam1=-12.5", "cam2=solve"))
    assert load_session(tmp_path).calibration.readout_ms == {"cam1": -12.5, "cam2": "solve"}
