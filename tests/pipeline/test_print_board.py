from pathlib import Path

import numpy as np
import pytest

from calibration.board import find_corners, parse_board
from pipeline.errors import InputError
from pipeline.measured_board import measure
from pipeline.new_session import Request, new_session
from pipeline.print_board import PT_PER_MM, lay_out, print_board
from tests.pipeline.footage import numbered_video

DPI = 254

SHEETS = [
    ("chessboard:4x7:0.027", "A4"),
    ("chessboard:7x4:0.025:inverted", "A4"),
    ("charuco:5x7:0.032:0.024:DICT_4X4_50", "A4"),
    ("charuco:5x6:0.033:0.025:DICT_4X4_1000:legacy:inverted:first=100", "a4"),
    ("charuco:8x6:0.03:0.0225:DICT_5X5_250", "297x420"),
    ("aprilgrid:4x5:0.0325:0.025:DICT_APRILTAG_36h11", "A4"),
    ("aprilgrid:4x3:0.0325:0.025:DICT_APRILTAG_36h11:inverted:first=9", "letter"),
]


@pytest.mark.parametrize(("spec", "paper"), SHEETS)
def test_every_corner_of_a_printed_board_is_where_its_spec_says(tmp_path: Path, spec: str, paper: str) -> None:
    pypdfium2 = pytest.importorskip("pypdfium2", reason="pypdfium2 draws the PDF: pip install -e .[dev]")
    board = parse_board(spec)
    layout = print_board(board, tmp_path / "board.pdf", paper)
    page = pypdfium2.PdfDocument(str(tmp_path / "board.pdf"))[0]
    assert np.allclose(page.get_size(), np.array(layout.page_mm) * PT_PER_MM, atol=1e-3)  # true size
    image = np.ascontiguousarray(page.render(scale=DPI / 72, grayscale=True).to_numpy().squeeze())
    px_per_mm = np.array(image.shape[::-1]) / layout.page_mm  # the page is stretched to whole pixels
    assert np.allclose(px_per_mm, DPI / 25.4, rtol=1e-3)
    expected = (1000 * board.corners_m[:, :2] + layout.origin_mm) * px_per_mm - 0.5
    np.testing.assert_allclose(find_corners(board, image), expected, atol=0.1)
    assert image[:, :90].min() == image[:, -90:].min() == 255  # the margins are white


def test_the_sheet_says_what_to_type_and_how_to_print_it(tmp_path: Path) -> None:
    pypdfium2 = pytest.importorskip("pypdfium2", reason="pypdfium2 reads the PDF: pip install -e .[dev]")
    print_board(parse_board("charuco:5x7:0.032:0.024:DICT_4X4_50"), tmp_path / "board.pdf")
    text = pypdfium2.PdfDocument(str(tmp_path / "board.pdf"))[0].get_textpage().get_text_bounded()
    assert "charuco:5x7:0.032:0.024:DICT_4X4_50" in text.splitlines()[1]
    assert "print at 100 %, no scaling; the ruler is 100 mm, one square 32 mm" in text
    assert "top of the board" in text


def test_the_same_board_is_the_same_file(tmp_path: Path) -> None:
    board = parse_board("chessboard:4x7:0.027")
    print_board(board, tmp_path / "a.pdf")
    print_board(board, tmp_path / "b.pdf")
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()


@pytest.mark.parametrize("spec", ["charuco:5x7:0.12:0.09:DICT_4X4_50", "chessboard:9x6:0.05:inverted"])
def test_the_largest_square_that_is_offered_fits_and_the_next_does_not(spec: str) -> None:
    with pytest.raises(InputError, match=r"needs paper of .* mm; A4 is 210 x 297 mm; .*; it fits --paper A\d") as caught:
        lay_out(parse_board(spec), "A4")
    offered = str(caught.value).split("largest square that fits A4 is ")[1].split()
    lay_out(parse_board(offered[2].rstrip(";")), "A4")
    larger = measure(parse_board(spec), float(offered[0]) + 0.1).board
    with pytest.raises(InputError, match="needs paper"):
        lay_out(larger, "A4")


def test_paper_and_file_names_that_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    board = parse_board("chessboard:4x7:0.027")
    with pytest.raises(InputError, match=r"--paper: expected a4, a3, .*, got 'B9'"):
        lay_out(board, "B9")
    with pytest.raises(InputError, match=r"ends in \.pdf"):
        print_board(board, tmp_path / "board.png")
    with pytest.raises(InputError, match="--measured: expected the side of one square"):
        measure(board, -1)


def test_a_print_that_was_scaled_is_told_with_the_spec_to_use() -> None:
    board = parse_board("charuco:5x7:0.04:0.03:DICT_4X4_50")
    assert not measure(board, 40.19).warnings
    found = measure(board, 38.8)
    assert found.board.spec == "charuco:5x7:0.0388:0.0291:DICT_4X4_50"
    assert found.change == pytest.approx(-0.03)
    assert found.warnings == (
        f"the square is 38.8 mm, 3.00 % less than the 40 mm: the print was scaled; use {found.board.spec}",
    )


def test_a_measured_square_is_compared_with_the_session(tmp_path: Path) -> None:
    video, board = numbered_video(tmp_path / "cam1.mp4", 3), parse_board("charuco:5x7:0.0388:0.0291:DICT_4X4_50")
    for spec in ("charuco:5x7:0.04:0.03:DICT_4X4_50", "charuco:5x6:0.0388:0.0291:DICT_4X4_50", board.spec):
        new_session(tmp_path / "s", Request(cameras=(f"cam1={video}",), board=spec))
        warnings = " ".join(measure(board, 38.8, tmp_path / "s").warnings)
        if spec == board.spec:
            assert not warnings
        else:
            assert ("3.00 % less than the 40 mm in session" if "x7" in spec else f"another board, {spec}") in warnings
            assert f"posemill new {tmp_path / 's'} --board {board.spec}" in warnings
