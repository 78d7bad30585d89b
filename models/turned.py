"""People who lie, hang or stand on their heads: the image is looked at in four quarter turns, and each place keeps one person.

A network that learnt from upright people finds a handstand in the turned image. The same person is often found in several
turns, wrongly in most: of people that share a place the one with the highest score stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
People = tuple[Array, Array, Array]

# People are upright far more often than not, so what a turn finds must be better by this much.
TURNED_SCORE = 0.9
# Share of the smaller of two boxes around joints that, when it is in common, makes them one place.
SAME_PLACE = 0.5


def unturned(xy_px: Array, turns: int, size_wh: tuple[int, int]) -> Array:
    """Pixels (..., 2) of `numpy.rot90(image, turns)` as pixels of the image, of size_wh."""
    x, y = xy_px[..., 0], xy_px[..., 1]
    right, bottom = size_wh[0] - 1, size_wh[1] - 1
    places = ((x, y), (right - y, x), (right - x, bottom - y), (y, bottom - x))
    return np.stack(places[turns % 4], axis=-1)


def one_per_place(found: Sequence[People]) -> People:
    """People of one image, found upright and in further turns (xy_px already turned back), best first.

    People of one turn may stand in each other's place, as they do in crowds; people of another turn may not.
    """
    turn = np.concatenate([np.full(len(people[0]), number) for number, people in enumerate(found)])
    xy_px, score, tag = (np.concatenate(part) for part in zip(*found, strict=True))
    value = score.sum(1) * np.where(turn == 0, 1.0, TURNED_SCORE)
    kept: list[int] = []
    for person in np.argsort(-value, kind="stable"):
        others = [other for other in kept if turn[other] != turn[person]]
        if not others or shared(xy_px[person], xy_px[others]).max() <= SAME_PLACE:
            kept.append(int(person))
    return xy_px[kept], score[kept], tag[kept]


def shared(person: Array, others: Array) -> Array:
    """(N,) of the boxes around the joints of a person (J, 2) and of others (N, J, 2): what they share of the smaller one."""
    low, high = (np.maximum(np.nanmin(others, 1), np.nanmin(person, 0)), np.minimum(np.nanmax(others, 1), np.nanmax(person, 0)))
    common = np.prod(np.maximum(high - low, 0), axis=-1)
    size, sizes = (np.prod(np.nanmax(each, -2) - np.nanmin(each, -2), axis=-1) for each in (person, others))
    return np.asarray(common / np.maximum(np.minimum(size, sizes), 1e-9))
