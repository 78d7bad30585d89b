import cv2
import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.seams import STEREO, TILED, layout_of, propose


def _scene(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(128, 1200, (120, 160, 3))
    return np.clip(cv2.GaussianBlur(noise, (0, 0), 9), 0, 255).astype(np.uint8)


def _frames(layout: str, count: int = 4) -> list[np.ndarray]:
    """Different scenes as tiles, after a lossy codec."""
    columns, rows = map(int, layout.split("x"))
    frames = []
    for number in range(count):
        tiles = [np.roll(_scene(seed), number, axis=1) for seed in range(columns * rows)]
        whole = np.vstack([np.hstack(tiles[row * columns : (row + 1) * columns]) for row in range(rows)])
        frames.append(cv2.imdecode(cv2.imencode(".jpg", whole, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR))
    return frames


@pytest.mark.parametrize(("layout", "candidates"), [*((each, TILED) for each in TILED), *((each, STEREO) for each in STEREO)])
def test_a_layout_is_seen_at_its_seams(layout: str, candidates: tuple[str, ...]) -> None:
    proposal = propose(_frames(layout), candidates)
    assert (proposal.layout, proposal.sure) == (layout, True)


def test_one_picture_has_no_layout() -> None:
    single = [cv2.resize(frame, (320, 240)) for frame in _frames("1x1")]
    with pytest.raises(InputError, match=r"four.mp4: how the cameras stand in it is not sure .*2x2.*tell it with --layout"):
        layout_of(single, TILED, "four.mp4", "--layout")


def test_a_picture_full_of_lines_is_not_cut_at_one_of_them() -> None:
    grid = np.kron(np.random.default_rng(0).integers(0, 255, (12, 16, 3)), np.ones((10, 10, 1))).astype(np.uint8)
    assert not propose([grid], STEREO).sure
    assert not propose([grid], TILED).sure
