"""Which joints are seen while a prior learns: all but one, those before in the order, all but a few, any."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.prior import JOINTS, LEAST_SEEN, ORDER
from models.skeleton import COCO17

MOST_MISSING = 6


def few_missing(rng: np.random.Generator, count: int) -> Tensor:
    """(N, J) what is left when 1 to MOST_MISSING joints are missing: anywhere, or the neighbours of one."""
    near = _steps_apart()
    chance = rng.random((count, JOINTS))
    together = rng.random((count, 1)) < 0.5
    seed = rng.integers(JOINTS, size=count)
    turn = np.argsort(np.where(together, near[seed] + chance, chance), axis=1).argsort(axis=1)
    return torch.from_numpy(turn >= rng.integers(1, MOST_MISSING + 1, size=(count, 1)))


def any_seen(rng: np.random.Generator, count: int) -> Tensor:
    """(N, J) any LEAST_SEEN to J - 1 joints, or the first of the order."""
    turn = rng.random((count, JOINTS)).argsort(axis=1).argsort(axis=1)
    rank = np.array([ORDER.index(j) for j in range(JOINTS)])
    turn = np.where(rng.random((count, 1)) < 0.3, rank, turn)
    return torch.from_numpy(turn < rng.integers(LEAST_SEEN, JOINTS, size=(count, 1)))


def _steps_apart() -> NDArray[np.float64]:
    """(J, J) limbs between joints."""
    apart = np.full((JOINTS, JOINTS), np.inf)
    np.fill_diagonal(apart, 0.0)
    for a, b in COCO17.limbs:
        apart[a, b] = apart[b, a] = 1.0
    for k in range(JOINTS):
        apart = np.minimum(apart, apart[:, k, None] + apart[None, k])
    return apart
