from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.errors import CalibrationError
from calibration.formats import save_rig
from calibration.synthetic import ring_rig
from pipeline.errors import InputError
from pipeline.live_sources import streams_of
from pipeline.new_session import Request, new_session
from pipeline.session import load_session
from tests.pipeline.footage import numbered_video, picture, write_video
from tests.pipeline.streams import jpeg_frames, numbered, serving


@pytest.fixture
def videos(tmp_path: Path) -> dict[str, Path]:
    return {name: numbered_video(tmp_path / f"{name}.mp4", 5) for name in ("cam1", "cam2")}


def _cameras(videos: dict[str, Path]) -> tuple[str, ...]:
    return tuple(f"{name}={path}" for name, path in videos.items())


def test_every_source_is_probed_and_recorded_untouched(tmp_path: Path, videos: dict[str, Path]) -> None:
    content = videos["cam1"].read_bytes()
    session, lines = new_session(tmp_path / "s", Request(cameras=_cameras(videos), board="chessboard:4x7:0.06"))
    assert load_session(tmp_path / "s") == session
    assert session.cameras == ("cam1", "cam2")
    assert [(line.camera, line.size_wh, line.frames, line.fps) for line in lines] == [
        ("cam1", (64, 48), 5, 30.0),
        ("cam2", (64, 48), 5, 30.0),
    ]
    assert session.clips[0].sources["cam1"].path == str(videos["cam1"])
    assert videos["cam1"].read_bytes() == content


def test_sources_inside_the_session_are_recorded_relative_to_it(tmp_path: Path) -> None:
    (tmp_path / "s" / "raw").mkdir(parents=True)
    path = numbered_video(tmp_path / "s" / "raw" / "a.mp4", 2)
    session, _ = new_session(tmp_path / "s", Request(cameras=(f"cam1={path}",)))
    assert session.clips[0].sources["cam1"].path == "raw/a.mp4"


def test_called_again_it_adds_a_clip_and_keeps_the_rest(tmp_path: Path, videos: dict[str, Path]) -> None:
    new_session(tmp_path, Request(cameras=_cameras(videos), clip="board", board_clip=True, board="chessboard:4x7:0.06"))
    walk = {name: numbered_video(tmp_path / f"walk-{name}.mp4", 5) for name in videos}
    session, _ = new_session(tmp_path, Request(cameras=_cameras(walk), clip="walk"))
    assert [clip.name for clip in session.clips] == ["board", "walk"]
    assert (session.calibration.board_clip, session.board) == ("board", "chessboard:4x7:0.06")
    other = numbered_video(tmp_path / "other.mp4", 5)
    with pytest.raises(InputError, match="clip 'walk' is in this session already, of other sources"):
        new_session(tmp_path, Request(cameras=(f"cam1={other}",), clip="walk"))
    with pytest.raises(InputError, match="camera 'cam9' is not one of this session's: cam1, cam2"):
        new_session(tmp_path, Request(cameras=(f"cam9={videos['cam1']}",)))


def test_a_clip_may_be_told_anew(tmp_path: Path, videos: dict[str, Path]) -> None:
    new_session(tmp_path, Request(cameras=_cameras(videos)))
    session, _ = new_session(tmp_path, Request(cameras=_cameras(videos), image_origins=("cam1=4,0",)))
    assert [clip.name for clip in session.clips] == ["clip1"]
    assert session.clips[0].sources["cam1"].image_origin_px == (4, 0)
    session, _ = new_session(tmp_path, Request(board="chessboard:4x7:0.06"))
    assert (len(session.clips), session.board) == (1, "chessboard:4x7:0.06")


def test_a_tiled_file_becomes_its_cameras(tmp_path: Path) -> None:
    path = numbered_video(tmp_path / "four.mp4", 3, size_wh=(128, 96))
    session, lines = new_session(tmp_path / "s", Request(tiled=str(path), layout="2x2"))
    crops = {name: source.crop_px for name, source in session.clips[0].sources.items()}
    assert crops == {"cam1": (0, 0, 64, 48), "cam2": (64, 0, 64, 48), "cam3": (0, 48, 64, 48), "cam4": (64, 48, 64, 48)}
    assert {line.size_wh for line in lines} == {(64, 48)}
    named, _ = new_session(tmp_path / "t", Request(tiled=str(path), layout="1x4", camera_names=("a", "b", "c", "d")))
    assert named.cameras == ("a", "b", "c", "d")
    with pytest.raises(InputError, match="has 4 tiles, got 2 names"):
        new_session(tmp_path / "u", Request(tiled=str(path), layout="2x2", camera_names=("a", "b")))


def test_a_tiled_file_that_does_not_divide_is_refused(tmp_path: Path) -> None:
    path = numbered_video(tmp_path / "odd.mp4", 2, size_wh=(130, 96))
    with pytest.raises(InputError, match="130x96 px cannot be cut into 4x1 tiles"):
        new_session(tmp_path / "s", Request(tiled=str(path), layout="4x1"))


def test_a_stereo_file_becomes_a_pair_beside_the_tiled_cameras(tmp_path: Path) -> None:
    four = numbered_video(tmp_path / "four.mp4", 3, size_wh=(128, 96))
    stereo = numbered_video(tmp_path / "stereo.mp4", 3, size_wh=(128, 48))
    asked = Request(tiled=str(four), layout="2x2", stereo=str(stereo), stereo_layout="side-by-side")
    session, _ = new_session(tmp_path / "s", asked)
    assert session.cameras == ("cam1", "cam2", "cam3", "cam4", "left", "right")
    assert session.stereo_pairs == (("left", "right"),)
    assert session.clips[0].sources["right"].crop_px == (64, 0, 64, 48)


def test_a_broken_or_missing_source_names_its_camera_and_writes_nothing(tmp_path: Path, videos: dict[str, Path]) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty").mkdir()
    for bad, message in (("text.mp4", "expected a video"), ("gone.mp4", "not found"), ("empty", "found none among 0 files")):
        with pytest.raises(InputError, match=f"camera cam2: .*{message}"):
            new_session(tmp_path / "s", Request(cameras=(f"cam1={videos['cam1']}", f"cam2={tmp_path / bad}")))
    assert not (tmp_path / "s").exists()


def test_options_that_cannot_be_read_are_shown(tmp_path: Path, videos: dict[str, Path]) -> None:
    cameras = _cameras(videos)
    wrong = {
        "expected NAME=VALUE, got 'a.mp4'": Request(cameras=("a.mp4",)),
        "cam1 is given twice": Request(cameras=(cameras[0], cameras[0])),
        "--image-origin: expected NAME=X,Y": Request(cameras=cameras, image_origins=("cam1=left",)),
        "--image-fit: needs the calibrated size": Request(cameras=cameras, image_fits=("cam1=contain",)),
        "--stereo-pair: expected LEFT,RIGHT of cam1, cam2": Request(cameras=cameras, stereo_pairs=("cam1,cam7",)),
        "--detections: camera cam1: .*: not found": Request(cameras=cameras, detections=(f"cam1={tmp_path / 'none'}",)),
        "expected sources": Request(),
    }
    for message, request in wrong.items():
        with pytest.raises(InputError, match=message):
            new_session(tmp_path / "s", request)
    with pytest.raises(CalibrationError, match="cannot read 'checkers'"):
        new_session(tmp_path / "s", Request(cameras=cameras, board="checkers"))


def test_an_empty_intrinsics_folder_names_the_camera(tmp_path: Path, videos: dict[str, Path]) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match="--intrinsics: camera cam1: .*photos: expected images"):
        new_session(tmp_path / "s", Request(cameras=_cameras(videos), intrinsics=(f"cam1={tmp_path / 'photos'}",)))


def test_a_size_unlike_the_rigs_is_noted_and_a_fit_resolves_it(tmp_path: Path, videos: dict[str, Path]) -> None:
    save_rig(ring_rig(2, size_wh=(80, 48), focal_px=60), tmp_path / "rig.yaml")
    request = Request(cameras=_cameras(videos), rig=str(tmp_path / "rig.yaml"), image_fits=("cam2=contain",))
    session, lines = new_session(tmp_path / "s", request)
    assert lines[0].note == "camera cam1: the video is 64x48 px, its calibration 80x48 px"
    assert lines[1].note == ""
    source = session.clips[0].sources["cam2"]
    assert source.image_scale == (0.8, 0.8)
    assert source.image_origin_px == pytest.approx((0, -6))  # 48 - 60 px of the calibrated image, half of it above


def test_a_rig_without_a_camera_is_refused(tmp_path: Path, videos: dict[str, Path]) -> None:
    save_rig(ring_rig(1), tmp_path / "rig.yaml")
    with pytest.raises(InputError, match="camera cam2 is not in this rig; it has cam1"):
        new_session(tmp_path / "s", Request(cameras=_cameras(videos), rig=str(tmp_path / "rig.yaml")))


def test_image_folders_are_sources(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for number in range(4):
        cv2.imwrite(str(tmp_path / "a" / f"{number}.png"), np.ascontiguousarray(picture(number)))
    _, lines = new_session(tmp_path / "s", Request(cameras=(f"cam1={tmp_path / 'a'}",), image_fps=10))
    assert (lines[0].frames, lines[0].fps, lines[0].duration_s) == (4, 10.0, 0.4)


def test_live_sources_are_opened_and_kept_without_their_passwords(tmp_path: Path) -> None:
    with serving({"cam1": jpeg_frames(numbered(48)), "four": jpeg_frames(numbered(48))}, password="s3cret") as server:
        host = f"127.0.0.1:{server.port}"
        asked = Request(live=(f"cam1=http://bob:s3cret@{host}/cam1",))
        session, [line] = new_session(tmp_path, asked)
        assert (line.size_wh, line.path, line.note) == ((64, 48), f"http://bob:***@{host}/cam1", "live, mjpeg: posemill record")
        assert "s3cret" not in (tmp_path / "session.yaml").read_text()
        assert load_session(tmp_path) == session
        assert streams_of(tmp_path, session) == {"cam1": (f"http://bob:s3cret@{host}/cam1", ("cam1",))}
        with pytest.raises(InputError, match=r"camera cam1: http://bob:\*\*\*@.*check user and password"):
            new_session(tmp_path, Request(live=(f"cam1=http://bob:wrongish@{host}/cam1",)))


def test_a_four_way_stream_is_opened_once_and_cut(tmp_path: Path) -> None:
    with serving({"four": jpeg_frames(numbered(48))}) as server:
        url = f"http://127.0.0.1:{server.port}/four"
        session, lines = new_session(tmp_path, Request(tiled=url, layout="2x2"))
        assert session.cameras == ("cam1", "cam2", "cam3", "cam4")
        assert {line.size_wh for line in lines} == {(32, 24)}
        assert session.live["cam4"].crop_px == (32, 24, 32, 24)
        assert list(streams_of(tmp_path, session)) == ["cam1+cam2+cam3+cam4"]
        with pytest.raises(InputError, match="has 4 tiles, got 2 names"):
            new_session(tmp_path / "b", Request(tiled=url, layout="2x2", camera_names=("a", "b")))


def test_a_session_without_live_sources_cannot_be_recorded(tmp_path: Path) -> None:
    numbered_video(tmp_path / "a.mp4", 5)
    session, _ = new_session(tmp_path / "s", Request(cameras=(f"cam1={tmp_path / 'a.mp4'}",)))
    with pytest.raises(InputError, match="has no live sources; add them: posemill new .* --live cam1=URL"):
        streams_of(tmp_path / "s", session)


def _scene(camera: int, number: int, size_wh: tuple[int, int] = (64, 48)) -> np.ndarray:
    """A smooth scene that moves."""
    noise = np.random.default_rng(camera).normal(128, 900, (size_wh[1], size_wh[0] + 40, 3))
    return np.clip(cv2.GaussianBlur(noise, (0, 0), 6)[:, number : number + size_wh[0]], 0, 255).astype(np.uint8)


def test_a_layout_is_taken_from_the_seams_where_they_are_sure(tmp_path: Path) -> None:
    pictures = [[_scene(camera, number) for camera in range(4)] for number in range(6)]
    write_video(tmp_path / "four.mp4", [np.vstack([np.hstack(four[:2]), np.hstack(four[2:])]) for four in pictures])
    write_video(tmp_path / "over.mp4", [np.vstack(four[:2]) for four in pictures])
    asked = Request(tiled=str(tmp_path / "four.mp4"), stereo=str(tmp_path / "over.mp4"))
    session, lines = new_session(tmp_path / "s", asked)
    assert session.clips[0].sources["cam4"].crop_px == (64, 48, 64, 48)
    assert session.clips[0].sources["right"].crop_px == (0, 48, 64, 48)
    assert lines[0].note.startswith("2x2 by its seams, ")
    preview = cv2.imread(str(tmp_path / "s" / "preview.jpg"))
    assert preview.shape == (2 * 300, 4 * 400, 3)


def test_a_layout_that_is_not_sure_is_asked_for(tmp_path: Path) -> None:
    write_video(tmp_path / "one.mp4", [_scene(0, number, (128, 96)) for number in range(6)])
    with pytest.raises(InputError, match=r"one.mp4: how the cameras stand in it is not sure .*tell it with --layout$"):
        new_session(tmp_path / "s", Request(tiled=str(tmp_path / "one.mp4")))
    with pytest.raises(InputError, match="tell it with --stereo-layout$"):
        new_session(tmp_path / "s", Request(stereo=str(tmp_path / "one.mp4")))
    with pytest.raises(InputError, match="expected side-by-side or top-bottom, got 'left'"):
        new_session(tmp_path / "s", Request(stereo=str(tmp_path / "one.mp4"), stereo_layout="left"))
