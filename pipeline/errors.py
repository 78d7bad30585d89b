"""The exceptions a user can meet.

PosemillError            anything refused or failed; the command line prints its message and exits with `exit_status`
├── InputError           the request was wrong: a file, a name, a config key (exit status 2)
└── StageError           the work failed: nothing detected, disk full, a gate not passed (exit status 1)

`calibration.errors.CalibrationError` and `models.weights.WeightsError` come from the layers below.
"""

from __future__ import annotations

from collections.abc import Sequence

from calibration.errors import CalibrationError


class PosemillError(Exception):
    """Something posemill refuses or fails at; the message says what was expected, what was found and what to do next."""

    exit_status = 1


class InputError(PosemillError):
    """The request was wrong: the user can mend it without new footage."""

    exit_status = 2


class StageError(PosemillError):
    """The request was right and the work failed."""

    exit_status = 1


# Of one file that is wrong all over, a person wants to see the first.
MOST_PROBLEMS, MOST_LETTERS = 10, 400


def told(problems: Sequence[str]) -> str:
    """Problems of one file, a line each: the first of them, each cut to what a terminal can hold."""
    more = [f"and {len(problems) - MOST_PROBLEMS} more"] if len(problems) > MOST_PROBLEMS else []
    lines = (line if len(line) <= MOST_LETTERS else f"{line[:MOST_LETTERS]}..." for line in problems[:MOST_PROBLEMS])
    return "\n".join([*lines, *more])


# What the command line turns into one clear message instead of a traceback.
EXPECTED_ERRORS: tuple[type[Exception], ...] = (PosemillError, CalibrationError)


def exit_status_of(error: Exception) -> int:
    """2 for a wrong request, 1 for work that failed."""
    return error.exit_status if isinstance(error, PosemillError) else 1
