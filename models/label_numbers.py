"""Pixels and boxes that others wrote, checked before anything is drawn, cut or measured by them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError

# Farther than any picture reaches; numbers far beyond do not fit where pixels are whole numbers.
FARTHEST_PX = 1e7


def pixels(where: str, values: Any) -> NDArray[np.float64]:
    """Numbers of any shape as they are; NaN where nothing is known. Raises DataError, beginning with `where`, for others."""
    numbers = np.array(values, dtype=np.float64)
    beyond = np.abs(numbers[~np.isnan(numbers)]).max(initial=0.0)
    if beyond > FARTHEST_PX:
        raise DataError(f"{where}: expected pixels within {FARTHEST_PX:g}, found {beyond:g}")
    return numbers


def boxes(where: str, values: Any) -> NDArray[np.float64]:
    """(M, 4) left, top, width, height. Raises DataError for sizes below 0 and for numbers that are none."""
    found = pixels(where, values).reshape(-1, 4)
    if np.isnan(found).any() or (found[:, 2:] < 0).any():
        raise DataError(f"{where}: expected left, top, width and height in px, found {found.round(3).tolist()!s:.100}")
    return found
