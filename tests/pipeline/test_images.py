"""What `read_image` makes of files that are not plain RGB photos."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.errors import InputError
from pipeline.sources import read_image


def gradient() -> np.ndarray:
    """(40, 60, 3) a smooth picture without symmetry."""
    y, x = np.mgrid[:40, :60]
    return np.stack([x * 4, y * 6, (x + y) * 2], -1).astype(np.uint8)


def test_grey_is_read_as_three_equal_channels(tmp_path: Path) -> None:
    Image.fromarray(gradient()[..., 0]).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.repeat(gradient()[..., :1], 3, -1))


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_sixteen_bits_become_eight(tmp_path: Path, ending: str) -> None:
    deep = gradient().astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / f"a{ending}"), deep[..., ::-1])
    image = read_image(tmp_path / f"a{ending}")
    assert image.dtype == np.uint8
    np.testing.assert_allclose(image.astype(int), gradient(), atol=1)


def test_cmyk_keeps_its_colours(tmp_path: Path) -> None:
    colours = np.zeros((32, 96, 3), np.uint8)
    colours[:, :32], colours[:, 32:64], colours[:, 64:] = (200, 30, 30), (30, 200, 30), (240, 240, 240)
    Image.fromarray(colours).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    image = read_image(tmp_path / "a.jpg")
    assert Image.open(tmp_path / "a.jpg").mode == "CMYK"
    for x in (16, 48, 80):
        np.testing.assert_allclose(image[16, x].astype(int), colours[16, x], atol=12)


def test_transparency_is_dropped(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([gradient(), np.full((40, 60), 128, np.uint8)])).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), gradient())


@pytest.mark.parametrize(("orientation", "turns"), [(3, 2), (6, 3), (8, 1)])
def test_a_photo_is_turned_upright_as_its_exif_says(tmp_path: Path, orientation: int, turns: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(gradient()).save(tmp_path / "a.jpg", quality=98, exif=exif)
    upright = np.rot90(gradient(), turns)  # anticlockwise; orientation 6 asks for a clockwise quarter
    image = read_image(tmp_path / "a.jpg")
    assert image.shape == upright.shape
    assert np.abs(image.astype(int) - upright).mean() < 4


@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
def test_an_animation_is_no_still_image(tmp_path: Path, ending: str) -> None:
    first, *others = (Image.fromarray(np.full((16, 16, 3), 50 * n, np.uint8)) for n in range(3))
    first.save(tmp_path / f"a.{ending}", save_all=True, append_images=others)
    with pytest.raises(InputError, match=f"a.{ending}: expected a still image, found 3 frames .*make it a video"):
        read_image(tmp_path / f"a.{ending}")


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"a.jpg: expected an image, found an empty file \(0 bytes\)"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("content", [b"no picture at all", b"\xff\xd8\xff\xe0broken"])
def test_a_file_that_is_no_image_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(InputError, match="a.jpg: not a readable image"):
        read_image(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="not a readable image"):
        read_image(tmp_path)  # a folder


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few kilobytes that claims a huge black picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_an_enormous_image_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(bomb(30_000, 30_000))
    assert (tmp_path / "a.png").stat().st_size < 5_000
    monkeypatch.setattr("cv2.imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(InputError, match="a.png: an image too large to decode safely .*900000000 pixels"):
        read_image(tmp_path / "a.png")


def test_a_large_photo_is_read_without_a_warning(recwarn: pytest.WarningsRecorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)  # the picture below has 2,400: more than once, less than twice
    path = Path(__file__).with_name("never-written.png")
    data = io.BytesIO()
    Image.fromarray(gradient()).save(data, "PNG")
    monkeypatch.setattr(Path, "read_bytes", lambda self: data.getvalue())
    assert read_image(path).shape == (40, 60, 3)
    assert not recwarn.list
