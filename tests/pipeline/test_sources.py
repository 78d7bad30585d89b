from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.session import Source
from pipeline.sources import layout_crops, list_images, open_source, read_frames
from tests.pipeline.footage import number_of, numbered_video, picture, turn_by_flag, write_video


def _ignore(_: int) -> None:
    pass


def test_a_video_gives_every_frame_with_its_exact_time(tmp_path: Path) -> None:
    path = numbered_video(tmp_path / "a.mp4", 40, fps=30)
    frames = [f["cam1"] for f in read_frames(tmp_path, {"cam1": Source(path=str(path))})]
    assert [number_of(f.image) for f in frames] == list(range(40))
    assert [f.index for f in frames] == list(range(40))
    assert [f.t_ns for f in frames] == [number * 1_000_000_000 // 30 for number in range(40)]


@pytest.mark.parametrize("start", [1, 11, 12, 13, 23, 24, 37])
def test_reading_from_the_middle_gives_the_same_frames(tmp_path: Path, start: int) -> None:
    source = {"cam1": Source(path=str(numbered_video(tmp_path / "a.mp4", 40)))}
    everything = [f["cam1"].image for f in read_frames(tmp_path, source)]
    part = [f["cam1"] for f in read_frames(tmp_path, source, start, start + 3)]
    assert [f.index for f in part] == [start, start + 1, start + 2][: 40 - start]
    for frame in part:
        assert np.array_equal(frame.image, everything[frame.index])


def test_reading_from_the_middle_does_not_decode_the_beginning(tmp_path: Path) -> None:
    reader = open_source(tmp_path, Source(path=str(numbered_video(tmp_path / "a.mp4", 40))))
    decoded = [frame.pts for frame in reader._decode(30)]  # type: ignore[attr-defined]
    assert len(decoded) <= 40 - 24 + 2  # the keyframe and its leading B-frames


def test_an_image_folder_is_read_in_natural_order(tmp_path: Path) -> None:
    for number in range(12):
        cv2.imwrite(str(tmp_path / f"img{number}.png"), picture(number))
    (tmp_path / "notes.txt").write_text("not an image")
    frames = [f["cam1"] for f in read_frames(tmp_path, {"cam1": Source(path=".", fps=10)})]
    assert [number_of(f.image) for f in frames] == list(range(12))
    assert frames[3].t_ns == 300_000_000
    assert [p.name for p in list_images(tmp_path / "img1*.png")] == ["img1.png", "img10.png", "img11.png"]


def test_cameras_of_a_tiled_file_are_decoded_in_one_pass(tmp_path: Path) -> None:
    tiles = [np.hstack([picture(n, shade=0), picture(n + 30, shade=90)]) for n in range(10)]
    path = write_video(tmp_path / "t.mp4", tiles)
    crops = layout_crops((128, 48), "2x1")
    sources = {f"cam{i + 1}": Source(path=str(path), crop_px=crop) for i, crop in enumerate(crops)}
    opened = []
    original = open_source(tmp_path, sources["cam1"]).__class__._decode  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.video.VideoReader._decode", lambda self, start: opened.append(start) or original(self, start))
        frames = list(read_frames(tmp_path, sources))
    assert len(opened) == 1
    assert [(number_of(f["cam1"].image), number_of(f["cam2"].image)) for f in frames] == [(n, n + 30) for n in range(10)]
    assert frames[0]["cam2"].image.shape == (48, 64, 3)


def test_a_layout_counts_columns_then_rows_and_goes_row_by_row() -> None:
    assert layout_crops((8, 4), "2x2") == [(0, 0, 4, 2), (4, 0, 4, 2), (0, 2, 4, 2), (4, 2, 4, 2)]
    assert layout_crops((8, 4), "1x4") == [(0, row, 8, 1) for row in range(4)]
    assert layout_crops((8, 4), "4x1") == [(2 * col, 0, 2, 4) for col in range(4)]


def test_a_frame_that_does_not_divide_into_tiles_is_refused_with_its_size() -> None:
    with pytest.raises(InputError, match=r"1281x720 px cannot be cut into 2x2 tiles"):
        layout_crops((1281, 720), "2x2")
    with pytest.raises(InputError, match="COLUMNSxROWS"):
        layout_crops((8, 4), "four")


@pytest.mark.parametrize("matrix", [(0, 1, -1, 0), (0, -1, 1, 0), (-1, 0, 0, -1)])
def test_a_portrait_flag_is_honoured_as_opencv_does(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24, :32] = 255  # top left
    image[24:, :32] = 120  # bottom left
    path = write_video(tmp_path / "p.mp4", [image] * 3)
    turn_by_flag(path, matrix)
    ours = next(open_source(tmp_path, Source(path=str(path))).shots()).image
    theirs = cv2.VideoCapture(str(path)).read()[1][..., ::-1]
    assert ours.shape == theirs.shape
    assert np.abs(ours.astype(int) - theirs).mean() < 3
    probe = open_source(tmp_path, Source(path=str(path))).check(_ignore)
    assert probe.size_wh == (ours.shape[1], ours.shape[0])


def test_a_whole_video_has_no_problem(tmp_path: Path) -> None:
    reader = open_source(tmp_path, Source(path=str(numbered_video(tmp_path / "a.mp4", 40, fps=25))))
    probe = reader.check(_ignore)
    assert (probe.problem, probe.frames, probe.declared, probe.size_wh) == ("", 40, 40, (64, 48))
    assert probe.fps == pytest.approx(25)
    assert probe.duration_ns == pytest.approx(40 / 25 * 1e9, rel=1e-6)
    assert reader.probe() == probe


def test_a_truncated_video_tells_how_many_frames_there_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = write_video(tmp_path / "a.mp4", [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(40)])
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    probe = open_source(tmp_path, Source(path=str(path))).check(_ignore)
    assert f"decoded {probe.frames} of 40 frames" in probe.problem
    assert 10 < probe.frames < 40


@pytest.mark.parametrize("content", [b"hello, I am a text file\n" * 50, b""])
def test_a_text_file_named_mp4_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"notes\.mp4: expected a video"):
        open_source(tmp_path, Source(path="notes.mp4")).probe()


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"gone\.mp4: not found"):
        open_source(tmp_path, Source(path="gone.mp4"))
    with pytest.raises(InputError, match=r"empty: expected images .* found none among 0 files"):
        open_source(tmp_path, Source(path="empty"))


def test_a_broken_image_in_a_folder_is_named(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a1.png"), picture(1))
    (tmp_path / "a2.png").write_text("broken")
    assert "a2.png: not a readable image" in open_source(tmp_path, Source(path=".")).check(_ignore).problem


def test_a_crop_outside_the_frame_is_refused(tmp_path: Path) -> None:
    path = numbered_video(tmp_path / "a.mp4", 2)
    with pytest.raises(InputError, match=r"camera cam1: crop_px \(32, 0, 64, 48\).*64x48"):
        list(read_frames(tmp_path, {"cam1": Source(path=str(path), crop_px=(32, 0, 64, 48))}))
