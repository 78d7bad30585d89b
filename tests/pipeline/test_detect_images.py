import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.config import DetectConfig
from pipeline.detect_images import Found, batches, detect_images, expand
from pipeline.errors import InputError
from pipeline.probe import Shot
from pipeline.sources import read_image
from pipeline.tables import read_rows
from tests.pipeline.footage import number_of, numbered_video, picture

JOINTS = 17


class TwoPeople:
    """Finds two people wherever it looks, the second better than the first; nobody in a black picture."""

    def detect(self, images: np.ndarray) -> list:
        xy = np.stack([np.full((JOINTS, 2), 10.0), np.full((JOINTS, 2), 30.0)])
        score = np.stack([np.full(JOINTS, 0.4), np.full(JOINTS, 0.9)])
        return [(xy[:n], score[:n], np.zeros((n, 1))) for n in (2 if image.any() else 0 for image in images)]


@pytest.fixture(autouse=True)
def two_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.detect_images.detector_of", lambda config: TwoPeople())


def write(path: Path, number: int = 4) -> Path:
    path.write_bytes(cv2.imencode(path.suffix, picture(number))[1].tobytes())
    return path


def look(folder: Path, *inputs: Path, draw: Path | None = None) -> Found:
    return detect_images(inputs, folder / "out.parquet", draw, DetectConfig(batch=4))


def test_files_folders_and_patterns_are_taken_in_order_and_once(tmp_path: Path) -> None:
    for name in ("b10.png", "b9.png", "c.jpg", ".b8.png"):
        write(tmp_path / name)
    numbered_video(tmp_path / "d.MP4", 2)
    (tmp_path / "notes.txt").write_text("no picture")
    assert [p.name for p in expand([tmp_path / "c.jpg", tmp_path])] == ["c.jpg", "b9.png", "b10.png", "d.MP4"]
    assert [p.name for p in expand([tmp_path / "b*.png"])] == ["b9.png", "b10.png"]
    assert [p.name for p in expand([write(tmp_path / "odd[1].png")])] == ["odd[1].png"]


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere.png: expected an image, a video"):
        expand([tmp_path / "nowhere.png"])
    with pytest.raises(InputError, match=r"\*.png: expected images or videos .* found none"):
        expand([tmp_path / "*.png"])


def test_the_best_person_comes_first_in_the_table(tmp_path: Path) -> None:
    look(tmp_path, write(tmp_path / "a.png"))
    rows = read_rows(tmp_path / "out.parquet")
    assert [(row["person"], row["x_px"][0], row["width_px"], row["height_px"]) for row in rows] == [
        (0, 30, 64, 48),
        (1, 10, 64, 48),
    ]


def test_a_video_gives_rows_and_an_overlay_for_every_frame(tmp_path: Path) -> None:
    video = numbered_video(tmp_path / "ein Gang – 歩く.mp4", 10, fps=25)
    found = look(tmp_path, video, draw=tmp_path / "drawn")
    rows = read_rows(tmp_path / "out.parquet")
    assert [(row["file"], row["frame"], row["t_ns"]) for row in rows[::2]] == [
        (str(video), n, n * 40_000_000) for n in range(10)
    ]
    assert found.done == [{"file": str(video), "frames": 10, "people": 20, "mean_score": pytest.approx(0.65)}]
    assert found.frames_per_s > 0
    [drawn] = (tmp_path / "drawn").iterdir()
    assert drawn.name == video.name
    seen = cv2.VideoCapture(str(drawn))
    frames = [seen.read()[1] for _ in range(10)]
    assert all(frame is not None and frame.shape == (48, 64, 3) for frame in frames) and not seen.read()[0]


def test_overlays_of_equal_names_do_not_replace_each_other(tmp_path: Path) -> None:
    for folder in ("one", "two words", "drei ü"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "a.png")
    look(tmp_path, *(tmp_path / folder for folder in ("one", "two words", "drei ü")), draw=tmp_path / "drawn")
    assert sorted(p.name for p in (tmp_path / "drawn").iterdir()) == ["a-2.jpg", "a-3.jpg", "a.jpg"]
    assert read_image(tmp_path / "drawn" / "a.jpg").shape == (48, 64, 3)


def test_an_overlay_is_never_written_over_its_source(tmp_path: Path) -> None:
    photo = write(tmp_path / "a.jpg")
    before = photo.read_bytes()
    with pytest.raises(InputError, match="would be written over .*a.jpg, a source; draw to another folder"):
        look(tmp_path, photo, draw=tmp_path)
    assert photo.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jpg"]


def test_a_bad_file_is_told_and_the_others_are_done(tmp_path: Path) -> None:
    numbered_video(tmp_path / "c.mp4", 3)
    write(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"")
    (tmp_path / "d.mp4").write_bytes(b"no video")
    found = look(tmp_path, tmp_path, draw=tmp_path / "drawn")
    assert [(Path(line["file"]).name, line["frames"]) for line in found.done] == [("a.png", 1), ("c.mp4", 3)]
    assert [Path(line["file"]).name for line in found.failed] == ["b.png", "d.mp4"]
    assert "found an empty file (0 bytes)" in found.failed[0]["why"] and "expected a video" in found.failed[1]["why"]
    assert sorted(p.name for p in (tmp_path / "drawn").iterdir()) == ["a.jpg", "c.mp4"]
    assert len(read_rows(tmp_path / "out.parquet")) == 8


def test_when_nothing_can_be_read_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").write_text("no picture")
    with pytest.raises(InputError, match=r"a.png: not a readable image"):
        look(tmp_path, tmp_path / "in")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
    with pytest.raises(InputError, match="expected the name of a file to write"):
        detect_images([write(tmp_path / "b.png")], tmp_path, None, DetectConfig())


def test_nobody_in_view_is_an_empty_table(tmp_path: Path) -> None:
    black = tmp_path / "black.png"
    cv2.imwrite(str(black), np.zeros((48, 64, 3), np.uint8))
    assert look(tmp_path, black).done == [{"file": str(black), "frames": 1, "people": 0, "mean_score": 0.0}]
    assert read_rows(tmp_path / "out.parquet") == []


def test_an_animated_gif_is_a_video(tmp_path: Path) -> None:
    from PIL import Image

    first, *others = (Image.fromarray(picture(number)) for number in range(5))
    first.save(tmp_path / "a.gif", save_all=True, append_images=others, duration=100)
    [line] = look(tmp_path, tmp_path / "a.gif", draw=tmp_path / "drawn").done
    assert line["frames"] == 5
    assert [row["t_ns"] for row in read_rows(tmp_path / "out.parquet")[::2]] == [n * 100_000_000 for n in range(5)]
    assert number_of(cv2.VideoCapture(str(tmp_path / "drawn" / "a.mp4")).read()[1]) in range(3)


def test_a_frame_of_another_size_is_named() -> None:
    shots = [Shot(n, n, np.zeros((8, 8 + n // 5, 3), np.uint8)) for n in range(6)]
    with pytest.raises(InputError, match="a.mp4: frame 5 is 9x8 px, those before 8x8"):
        list(batches(iter(shots), 4, Path("a.mp4")))


PEAK = """
import resource, sys
from pathlib import Path
import numpy as np
from pipeline.config import DetectConfig
from pipeline.detect_images import detect_images
from pipeline.encode import VideoWriter
folder, frames = Path(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(0)
noise = rng.integers(0, 256, (240, 320, 3), np.uint8)
with VideoWriter(folder / "in.mp4", crf=40) as video:
    for n in range(frames):
        video.write(np.roll(noise, n, 1), n * 40_000_000)
config = DetectConfig(size_px=64, flip=False)
found = detect_images([folder / "in.mp4"], folder / "out.parquet", folder / "drawn", config)
assert found.done[0]["frames"] == frames
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_the_memory_does_not_grow_with_a_video(tmp_path: Path) -> None:
    def peak_mb(frames: int) -> int:
        (tmp_path / str(frames)).mkdir()
        command = [sys.executable, "-c", PEAK, str(tmp_path / str(frames)), str(frames)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    short, long = peak_mb(200), peak_mb(2000)
    print(f"peak of 200 frames {short} MB, of 2000 frames {long} MB")
    assert long - short < 60  # the 1,800 frames more are 415 MB of pixels
