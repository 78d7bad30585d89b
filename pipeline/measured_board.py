"""What a square measured on a print says of a board's spec."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote

from calibration.board import Board
from calibration.board_set import Target, boards_of, parse_target
from calibration.sheet import resized
from pipeline.errors import InputError
from pipeline.session import load_session

# A square this much off its spec makes every distance of the rig as much wrong: from here on it is worth a warning.
WARN_CHANGE = 0.005


@dataclass(frozen=True)
class Measured:
    """The board as it was measured, by which share its square differs from the one that was stated, and warnings."""

    board: Board
    change: float
    warnings: tuple[str, ...]


def measure(board: Board, square_mm: float, session: Path | None = None) -> Measured:
    """The spec of a print of `board` whose square (AprilGrid: pitch of the tags) is square_mm, markers scaled with it.

    Warns where that differs by more than half a percent from `board`, and from the board of a session. Raises InputError for
    a length that no square has.
    """
    if not 0 < square_mm < 10_000:
        raise InputError(f"--measured: expected the side of one square in mm, got {square_mm:g}")
    right = resized(board, square_mm / 1000)
    change = right.square_m / board.square_m - 1
    warnings = []
    if abs(change) > WARN_CHANGE:
        warnings.append(f"the square is {_difference(right, board)}: the print was scaled; use {right.spec}")
    if session is not None:
        warnings += _session_warnings(right, boards_of(_stated(session)), session)
    return Measured(right, change, tuple(warnings))


def session_board(session: Path) -> Board:
    """The board that session.yaml states. Raises InputError when it states none, or several."""
    boards = boards_of(_stated(session))
    if len(boards) > 1:
        raise InputError(f"{session / 'session.yaml'}: states {len(boards)} boards; say which with SPEC")
    return boards[0]


def _stated(session: Path) -> Target:
    spec = load_session(session).board
    if not spec:
        raise InputError(f"{session / 'session.yaml'}: board is not set; set it with `posemill new {session} --board SPEC`")
    return parse_target(spec)


def _session_warnings(right: Board, stated: tuple[Board, ...], session: Path) -> list[str]:
    same = [board for board in stated if replace(board, square_m=right.square_m, marker_m=right.marker_m) == right]
    told = " + ".join(right.spec if board in same else board.spec for board in stated) if same else right.spec
    mend = f"correct it with `posemill new {session} --board {quote(told)}`"
    if not same:
        return [f"session {session} states another board, {' + '.join(board.spec for board in stated)}; {mend}"]
    if abs(right.square_m / same[0].square_m - 1) > WARN_CHANGE:
        return [f"the square is {_difference(right, same[0])} in session {session}; {mend}"]
    return []


def _difference(right: Board, stated: Board) -> str:
    share = right.square_m / stated.square_m - 1
    side = "less" if share < 0 else "more"
    return f"{1000 * right.square_m:g} mm, {100 * abs(share):.2f} % {side} than the {1000 * stated.square_m:g} mm"
