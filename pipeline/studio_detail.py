"""A coarser surface to draw: at 256 px a body's triangles are smaller than pixels, and drawing costs by the triangle.

Only what is drawn changes. Joints, visibility and boxes are worked out on the full surface, so labels stay exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Detail:
    """What is drawn of a surface: kept (M,) of its vertices, and triangles (T, 3) between those."""

    kept: Index
    faces: Index


def full(rest_m: Array, faces: Index) -> Detail:
    """The whole surface of vertices (N, 3) and triangles (T, 3)."""
    return Detail(np.arange(len(rest_m)), faces)


def clustered(rest_m: Array, faces: Index, part: Index, cell_m: float) -> Detail:
    """One vertex for all of the same part in a cube of cell_m, that nearest to their mean; triangles that collapse are dropped.

    rest_m (N, 3), faces (T, 3), part (N,). No vertex moves further than the cube's diagonal (Rossignac & Borrel 1993).
    """
    cell = np.floor((rest_m - rest_m.min(0)) / cell_m).astype(np.int64)
    code = np.ravel_multi_index((*cell.T, part), (*(cell.max(0) + 1), int(part.max()) + 1))
    _, group, count = np.unique(code, return_inverse=True, return_counts=True)
    mean_m = np.stack([np.bincount(group, axis) for axis in rest_m.T], axis=1) / count[:, None]
    order = np.lexsort((((rest_m - mean_m[group]) ** 2).sum(1), group))
    first = np.concatenate([[0], np.cumsum(count)[:-1]])
    coarse = group[faces]
    a, b, c = coarse.T
    coarse = coarse[(a != b) & (b != c) & (c != a)]
    a, b, c = np.sort(coarse, axis=1).T
    _, once = np.unique((a * len(first) + b) * len(first) + c, return_index=True)
    return Detail(order[first], coarse[np.sort(once)])
