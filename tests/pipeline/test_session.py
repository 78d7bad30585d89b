from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.session import Clip, Session, Source, load_session, resolve, save_session

SESSION = Session(
    name="s",
    cameras=("cam1", "cam2"),
    stereo_pairs=(("cam1", "cam2"),),
    clips=(
        Clip(name="walk", sources={"cam1": Source(path="raw/a.mp4"), "cam2": Source(path="b", image_origin_px=(4, 0))}),
        Clip(name="solo", sources={"cam1": Source(path="raw/c.mp4", crop_px=(0, 0, 64, 48))}),
    ),
)


def test_a_session_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    save_session(SESSION, tmp_path)
    assert load_session(tmp_path) == SESSION
    assert "null" not in (tmp_path / "session.yaml").read_text()


def test_an_unknown_key_names_the_nearest_known_one(tmp_path: Path) -> None:
    path = save_session(SESSION, tmp_path)
    path.write_text(path.read_text().replace("crop_px", "crop"))
    with pytest.raises(
        InputError, match=r"session\.yaml: key clips\.1\.sources\.cam1\.crop is not known; the nearest known key is crop_px"
    ):
        load_session(tmp_path)


def test_a_clip_of_an_unknown_camera_is_refused(tmp_path: Path) -> None:
    path = save_session(SESSION, tmp_path)
    path.write_text(path.read_text().replace("- cam2\n", "- cam3\n", 1))
    with pytest.raises(InputError, match="clip walk: camera 'cam2' is not one of cam1, cam3"):
        load_session(tmp_path)


def test_a_session_that_is_no_yaml_or_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"session\.yaml: not found; make a session with `posemill new"):
        load_session(tmp_path)
    (tmp_path / "session.yaml").write_text("cameras: [cam1\n")
    with pytest.raises(InputError, match="not readable as YAML"):
        load_session(tmp_path)


def test_a_pair_belongs_to_the_clips_both_cameras_filmed() -> None:
    assert SESSION.pairs_of(SESSION.clip("walk")) == (("cam1", "cam2"),)
    assert SESSION.pairs_of(SESSION.clip("solo")) == ()


def test_the_board_clip_holds_no_people() -> None:
    with_board = SESSION.model_copy(update={"calibration": SESSION.calibration.model_copy(update={"board_clip": "solo"})})
    assert [clip.name for clip in with_board.people_clips] == ["walk"]


def test_an_unknown_clip_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="clip: expected one of walk, solo, got 'run'"):
        SESSION.clip("run")


def test_relative_paths_start_at_the_session(tmp_path: Path) -> None:
    assert resolve(tmp_path, "raw/a.mp4") == tmp_path / "raw" / "a.mp4"
    assert resolve(tmp_path, "/films/a.mp4") == Path("/films/a.mp4")
    for name in ("1" * 256, "é" * 128 + ".mp4", "a/" * 1900):  # 255 bytes a name and 4096 in all are what Linux takes
        with pytest.raises(InputError, match=f"expected a path, found {len(name)} letters; correct it in session.yaml"):
            resolve(tmp_path, name)
