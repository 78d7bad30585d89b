"""A calibration target as a PDF to print at its true size."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibration.board import Board
from calibration.sheet import dark_rectangles_m, printed_size_m, quiet_zone_m, resized
from pipeline.atomic import write_atomically
from pipeline.errors import InputError

if TYPE_CHECKING:
    from reportlab.pdfgen.canvas import Canvas

Array = NDArray[np.float64]

PAPERS_MM = {
    "A4": (210, 297),
    "A3": (297, 420),
    "A2": (420, 594),
    "A1": (594, 841),
    "A0": (841, 1189),
    "LETTER": (215.9, 279.4),
}
PT_PER_MM = 72 / 25.4
RULER_MM = 100
# Room above the target for the mark that says which edge is the top, and below it for ruler and text.
TOP_MM = 7.0
FOOT_MM = 27.0
LINE_MM = 4.5


@dataclass(frozen=True)
class Layout:
    """A page: its width and height, and where the board frame's origin lies from its top left corner; mm."""

    page_mm: tuple[float, float]
    origin_mm: tuple[float, float]


def paper_mm(text: str) -> tuple[float, float]:
    """A4 to A0, letter or WxH in mm to width and height. Raises InputError naming the papers there are."""
    size = re.fullmatch(r"(\d+(?:\.\d+)?)[xX](\d+(?:\.\d+)?)", text.strip())
    if size:
        return float(size[1]), float(size[2])
    if text.strip().upper() not in PAPERS_MM:
        raise InputError(f"--paper: expected {', '.join(PAPERS_MM).lower()} or WIDTHxHEIGHT in mm, e.g. 500x700, got {text!r}")
    return PAPERS_MM[text.strip().upper()]


def lay_out(board: Board, paper: str = "A4", margin_mm: float = 10.0) -> Layout:
    """Where a board stands on paper, upright or across. Raises InputError with the size needed and what would fit."""
    width_mm, height_mm = paper_mm(paper)
    needed_mm = needed(board, margin_mm)
    for page_mm in ((width_mm, height_mm), (height_mm, width_mm)):
        if needed_mm[0] <= page_mm[0] and needed_mm[1] <= page_mm[1]:
            first_mm = 1000 * dark_rectangles_m(board)[:, :2].min(0)
            left_mm = 0.5 * (page_mm[0] - 1000 * printed_size_m(board)[0])
            top_mm = margin_mm + TOP_MM + _zone_mm(board)
            return Layout(page_mm, (float(left_mm - first_mm[0]), float(top_mm - first_mm[1])))
    raise InputError(_too_large(board, paper, margin_mm))


def needed(board: Board, margin_mm: float) -> tuple[float, float]:
    """Width and height in mm of the least paper: target, ground around it, margins, ruler and text."""
    width_mm, height_mm = (1000 * side for side in printed_size_m(board))
    zone_mm = _zone_mm(board)
    width_mm = max(width_mm + 2 * max(margin_mm, zone_mm), RULER_MM + 2 * margin_mm)
    return width_mm, height_mm + 2 * zone_mm + TOP_MM + FOOT_MM + 2 * margin_mm


def _zone_mm(board: Board) -> float:
    """White ground around the target; an inverted board prints its own dark one."""
    return 0.0 if board.inverted else 1000 * quiet_zone_m(board)


def _too_large(board: Board, paper: str, margin_mm: float) -> str:
    width_mm, height_mm = printed_size_m(board)
    need = needed(board, margin_mm)
    sides = sorted(need)
    larger = next((name for name, mm in PAPERS_MM.items() if sides[0] <= min(mm) and sides[1] <= max(mm)), "")
    fitting = _largest_mm(board, paper, margin_mm)
    shrunk = (
        f"the largest square that fits {paper} is {fitting:.1f} mm: {resized(board, fitting / 1000).spec}" if fitting else ""
    )
    other = f"it fits --paper {larger}" if larger else f"it fits --paper {math.ceil(need[0])}x{math.ceil(need[1])}"
    return (
        f"board {board.spec} is {1000 * width_mm:.1f} x {1000 * height_mm:.1f} mm and needs paper of {need[0]:.1f} x "
        f"{need[1]:.1f} mm with its ground, ruler and margins of {margin_mm:g} mm; {paper} is "
        f"{' x '.join(f'{side:g}' for side in paper_mm(paper))} mm; " + "; ".join(filter(None, (shrunk, other)))
    )


def _largest_mm(board: Board, paper: str, margin_mm: float) -> float:
    """The largest square in tenths of a mm that fits; 0 where none of a mm does."""
    unit = resized(board, 1e-3)
    (width, height), zone = (1000 * side for side in printed_size_m(unit)), _zone_mm(unit)
    best = 0.0
    page_mm = paper_mm(paper)
    for across_mm, down_mm in (page_mm, page_mm[::-1]):
        room_mm = down_mm - 2 * margin_mm - TOP_MM - FOOT_MM
        if across_mm >= RULER_MM + 2 * margin_mm:
            sides = (across_mm - 2 * margin_mm) / width, across_mm / (width + 2 * zone), room_mm / (height + 2 * zone)
            best = max(best, math.floor(10 * min(sides) + 1e-6) / 10)
    return best if best >= 1 else 0.0


def print_board(board: Board, path: Path, paper: str = "A4", margin_mm: float = 10.0) -> Layout:
    """Write a one-page vector PDF of the board at true size. Raises InputError when it does not fit the paper."""
    layout = lay_out(board, paper, margin_mm)
    if path.suffix.lower() != ".pdf":
        raise InputError(f"{path}: expected a file name that ends in .pdf")
    write_atomically(path, _pdf(board, layout, margin_mm))
    return layout


def _pdf(board: Board, layout: Layout, margin_mm: float) -> bytes:
    from reportlab.pdfgen.canvas import Canvas

    out = BytesIO()
    canvas = Canvas(out, pagesize=tuple(side * PT_PER_MM for side in layout.page_mm), invariant=1)
    canvas.setTitle(f"posemill board {board.spec}")
    canvas.setViewerPreference("PrintScaling", "None")
    # From here on: mm from the page's top left, y down, as in the board frame.
    canvas.transform(PT_PER_MM, 0, 0, -PT_PER_MM, 0, layout.page_mm[1] * PT_PER_MM)
    _draw_target(canvas, board, layout)
    _draw_top_mark(canvas, layout, margin_mm)
    _draw_foot(canvas, board, layout, margin_mm)
    canvas.showPage()
    canvas.save()
    return out.getvalue()


def _draw_target(canvas: Canvas, board: Board, layout: Layout) -> None:
    """All rectangles as one path: drawn one by one, neighbours would show hairlines between them."""
    path = canvas.beginPath()
    for x, y, width, height in 1000 * dark_rectangles_m(board):
        path.rect(layout.origin_mm[0] + x, layout.origin_mm[1] + y, width, height)
    canvas.drawPath(path, stroke=0, fill=1)


def _draw_top_mark(canvas: Canvas, layout: Layout, margin_mm: float) -> None:
    middle_mm = 0.5 * layout.page_mm[0]
    path = canvas.beginPath()
    path.moveTo(middle_mm - 9, margin_mm + 3.5)
    path.lineTo(middle_mm - 7, margin_mm)
    path.lineTo(middle_mm - 5, margin_mm + 3.5)
    path.close()
    canvas.drawPath(path, stroke=0, fill=1)
    _text(canvas, middle_mm - 3, margin_mm + 3.4, "top of the board", 3.2)


def _draw_foot(canvas: Canvas, board: Board, layout: Layout, margin_mm: float) -> None:
    left_mm = max(margin_mm, 0.5 * (layout.page_mm[0] - 1000 * printed_size_m(board)[0]))
    left_mm = min(left_mm, layout.page_mm[0] - margin_mm - RULER_MM)
    top_mm = layout.page_mm[1] - margin_mm - FOOT_MM + 3
    _draw_ruler(canvas, left_mm, top_mm)
    room_mm = layout.page_mm[0] - margin_mm - left_mm
    side = "from one tag's left edge to the next one's" if board.kind == "aprilgrid" else "one square"
    lines = (
        (board.spec, 3.6, "Courier-Bold"),
        (f"print at 100 %, no scaling; the ruler is {RULER_MM} mm, {side} {1000 * board.square_m:g} mm", 3.0, "Helvetica"),
        (f"measured otherwise? posemill board {board.spec} --measured MM", 3.0, "Helvetica"),
    )
    for number, (line, size_mm, font) in enumerate(lines):
        _text(canvas, left_mm, top_mm + 9.5 + number * LINE_MM, line, size_mm, font, room_mm)


def _draw_ruler(canvas: Canvas, left_mm: float, top_mm: float) -> None:
    canvas.setLineWidth(0.2)
    canvas.line(left_mm, top_mm, left_mm + RULER_MM, top_mm)
    for tick in range(RULER_MM + 1):
        length_mm = 4 if tick % 50 == 0 else 3 if tick % 10 == 0 else 2 if tick % 5 == 0 else 1
        canvas.line(left_mm + tick, top_mm, left_mm + tick, top_mm + length_mm)


def _text(
    canvas: Any, x_mm: float, y_mm: float, words: str, size_mm: float, font: str = "Helvetica", room_mm: float = math.inf
) -> None:
    """Words with their baseline at y_mm, smaller where they would be longer than room_mm."""
    size_mm *= min(1.0, room_mm / canvas.stringWidth(words, font, size_mm))
    canvas.saveState()
    canvas.transform(1, 0, 0, -1, x_mm, y_mm)
    canvas.setFont(font, size_mm)
    canvas.drawString(0, 0, words)
    canvas.restoreState()
