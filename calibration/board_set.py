"""Several boards filmed in one session: each sighting of each of them is a view of its own, and all determine the same rig."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from calibration.board import Board, Image, find_corners, parse_board
from calibration.errors import CalibrationError

Array = NDArray[np.float64]
Finder: TypeAlias = Callable[[Board, Image], Array]


@dataclass(frozen=True)
class BoardSet:
    """Boards that need not be fixed to each other. Raises CalibrationError for boards that cannot be told apart.

    corners_m holds the corners of all boards one after the other, each board in its own frame. A view shows one board and is
    NaN at the corners of the others, so everything that solves from views of one board solves from these.
    """

    boards: tuple[Board, ...]

    def __post_init__(self) -> None:
        for (n, a), (m, b) in combinations(enumerate(self.boards, 1), 2):
            shared = range(max(a.marker_ids.start, b.marker_ids.start), min(a.marker_ids.stop, b.marker_ids.stop))
            if a.dictionary == b.dictionary and len(shared):
                raise CalibrationError(
                    f"boards {n} and {m} both carry markers {shared.start} to {shared.stop - 1} of {a.dictionary}; print one "
                    f"with first={max(a.marker_ids.stop, b.marker_ids.stop)}"
                )
            if a.kind == b.kind == "chessboard" and {a.cols, a.rows} == {b.cols, b.rows}:
                raise CalibrationError(
                    f"boards {n} and {m} are chessboards of {a.cols}x{a.rows} corners and cannot be told apart; use boards "
                    "with markers, or another number of squares"
                )

    @property
    def kind(self) -> str:
        """The kind of the boards where they are alike, else "mixed"."""
        return self.boards[0].kind if len({board.kind for board in self.boards}) == 1 else "mixed"

    @property
    def square_m(self) -> float:
        """The square of the first board: what a measured scale is told in."""
        return self.boards[0].square_m

    @property
    def spec(self) -> str:
        """The text that `parse_target` turns back into this set."""
        return " + ".join(board.spec for board in self.boards)

    @cached_property
    def corners_m(self) -> Array:
        """Corners (M, 3) of all boards one after the other, each in its own board frame, metres."""
        return np.concatenate([board.corners_m for board in self.boards])


Target: TypeAlias = Board | BoardSet


def parse_target(spec: str) -> Target:
    """A board, or several joined by "+". Raises CalibrationError naming what is wrong."""
    boards = tuple(parse_board(part.strip()) for part in spec.split("+"))
    return boards[0] if len(boards) == 1 else BoardSet(boards)


def boards_of(target: Target) -> tuple[Board, ...]:
    """The boards of a set, or the one board."""
    return target.boards if isinstance(target, BoardSet) else (target,)


def find_views(target: Target, image: Image, find: Finder = find_corners) -> Array:
    """Views (B, M, 2) px in one image, one per board of the target; NaN where not seen and at the other boards' corners."""
    boards = boards_of(target)
    views = np.full((len(boards), len(target.corners_m), 2), np.nan)
    begin = 0
    for view, board in zip(views, boards, strict=True):
        view[begin : begin + len(board.corners_m)] = find(board, image)
        begin += len(board.corners_m)
    return views


def view_labels(target: Target, labels: Sequence[str]) -> list[str]:
    """Names of the views of images called `labels`, in the order of `find_views` image by image."""
    count = len(boards_of(target))
    return list(labels) if count == 1 else [f"{label}, board {n + 1}" for label in labels for n in range(count)]
