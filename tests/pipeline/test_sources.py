from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.session import Source
from pipeline.sources import crop, layout_crops, list_images, open_source
from tests.pipeline.footage import number_of, numbered_video, picture, turn_by_flag, write_video


def _ignore(_: int) -> None:
    pass


def test_a_video_gives_every_frame_with_its_exact_time(tmp_path: Path) -> None:
    path = numbered_video(tmp_path / "a.mp4", 40, fps=30)
    shots = list(open_source(tmp_path, Source(path=str(path))).shots())
    assert [number_of(shot.image) for shot in shots] == list(range(40))
    assert [shot.number for shot in shots] == list(range(40))
    assert [shot.t_ns for shot in shots] == [number * 1_000_000_000 // 30 for number in range(40)]


@pytest.mark.parametrize("start", [1, 11, 12, 13, 23, 24, 37])
def test_reading_from_the_middle_gives_the_same_frames(tmp_path: Path, start: int) -> None:
    reader = open_source(tmp_path, Source(path=str(numbered_video(tmp_path / "a.mp4", 40))))
    everything = [shot.image for shot in reader.shots()]
    part = list(reader.shots(range(start, start + 5)))
    assert [shot.number for shot in part] == list(range(start, min(start + 5, 40)))
    for shot in part:
        assert np.array_equal(shot.image, everything[shot.number])


def test_frames_far_apart_are_reached_by_their_keyframes(tmp_path: Path) -> None:
    reader = open_source(tmp_path, Source(path=str(numbered_video(tmp_path / "a.mp4", 48))))
    everything = [shot.image for shot in reader.shots()]
    entered: list[int] = []
    original = type(reader)._decode  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.video.VideoReader._decode", lambda self, at: entered.append(at) or original(self, at))
        shots = list(reader.shots([3, 5, 30, 31, 38, 90]))
    assert [shot.number for shot in shots] == [3, 5, 30, 31, 38]  # there is no 90
    assert entered == [3, 30]  # 38 is too near to 31 to be worth a seek
    assert all(np.array_equal(shot.image, everything[shot.number]) for shot in shots)


def test_reading_from_the_middle_does_not_decode_the_beginning(tmp_path: Path) -> None:
    reader = open_source(tmp_path, Source(path=str(numbered_video(tmp_path / "a.mp4", 40))))
    decoded = [frame.pts for frame in reader._decode(30)]  # type: ignore[attr-defined]
    assert len(decoded) <= 40 - 24 + 2  # the keyframe and its leading B-frames


def test_an_image_folder_is_read_in_natural_order(tmp_path: Path) -> None:
    for number in range(12):
        cv2.imwrite(str(tmp_path / f"img{number}.png"), picture(number))
    (tmp_path / "notes.txt").write_text("not an image")
    reader = open_source(tmp_path, Source(path=".", fps=10))
    shots = list(reader.shots())
    assert [number_of(shot.image) for shot in shots] == list(range(12))
    assert shots[3].t_ns == 300_000_000
    assert [shot.number for shot in reader.shots([2, 11, 12])] == [2, 11]
    assert [p.name for p in list_images(tmp_path / "img1*.png")] == ["img1.png", "img10.png", "img11.png"]


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


def test_a_crop_outside_the_frame_is_refused() -> None:
    with pytest.raises(InputError, match=r"camera cam1: crop_px \(32, 0, 64, 48\).*64x48"):
        crop(picture(0), (32, 0, 64, 48), "camera cam1")


@pytest.mark.parametrize(("codec", "ending", "pixels"), [("libx264rgb", "mp4", "rgb24"), ("ffv1", "mkv", "bgr0")])
def test_files_tiled_without_loss_give_the_same_frames_bit_for_bit(
    tmp_path: Path, codec: str, ending: str, pixels: str
) -> None:
    singles = [numbered_video(tmp_path / f"cam{n}.mp4", 6, shade=10 * n) for n in range(4)]
    images = [[shot.image for shot in open_source(tmp_path, Source(path=file.name)).shots()] for file in singles]
    path = tmp_path / f"four.{ending}"
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=30, options={"qp": "0"} if codec == "libx264rgb" else {})
        stream.height, stream.width, stream.pix_fmt = 96, 128, pixels
        for a, b, c, d in zip(*images, strict=True):
            whole = np.vstack([np.hstack([a, b]), np.hstack([c, d])])
            out.mux(stream.encode(av.VideoFrame.from_ndarray(whole, format="rgb24")))
        out.mux(stream.encode())
    for shot in open_source(tmp_path, Source(path=path.name)).shots():
        for at, tile in enumerate(layout_crops((128, 96), "2x2")):
            assert np.array_equal(crop(shot.image, tile, "four"), images[at][shot.number])
