"""The usual decoder, as in the code released with Newell 2017: rounded tag distances, the Munkres algorithm in Python, loops.

`numpy` throughout, with cv2.dilate for its max-pooling, so that what is compared is the grouping and not torch's pooling.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from munkres import Munkres
from numpy.typing import NDArray

from models.grouping import COCO_ORDER

Array = NDArray[Any]
Solver = Callable[[Array], list[tuple[int, int]]]
PEOPLE, DETECTION, TAG = 30, 0.1, 1.0


def munkres_pairs(cost: Array) -> list[tuple[int, int]]:
    return [(int(i), int(j)) for i, j in Munkres().compute(cost.tolist())]


def top_k(heatmaps: Array, tags: Array) -> Array:
    """(J, 30, 3 + K): x, y, value and tags of the highest local maxima."""
    out = []
    for heatmap, tag in zip(heatmaps, tags, strict=True):
        maxima = heatmap * (heatmap == cv2.dilate(heatmap, np.ones((3, 3), np.uint8)))
        pixel = np.argsort(-maxima, axis=None, kind="stable")[:PEOPLE]
        y, x = np.divmod(pixel, heatmap.shape[1])
        out.append(np.column_stack([x, y, maxima[y, x], tag[y, x]]))
    return np.stack(out)


def match_by_tag(joints: Array, solve: Solver) -> Array:
    """(P, J, 3 + K) people of candidates (J, 30, 3 + K)."""
    people: dict[float, Array] = {}
    seen: dict[float, list[Array]] = {}
    for joint in COCO_ORDER:
        found = joints[joint][joints[joint][:, 2] > DETECTION]
        keys = list(people)[:PEOPLE]
        pairs: list[tuple[int, int]] = [(row, -1) for row in range(len(found))]
        if keys and len(found):
            means = np.array([np.mean(seen[key], axis=0) for key in keys])
            distance = np.sqrt(((found[:, None, 3:] - means) ** 2).mean(2))
            cost = np.round(distance) * 100 - found[:, 2:3]
            lacking = max(len(found) - len(keys), 0)
            pairs = solve(np.concatenate([cost, np.full((len(found), lacking), 1e10)], 1))
        for row, column in pairs:
            if 0 <= column < len(keys) and distance[row, column] < TAG:
                people[keys[column]][joint] = found[row]
                seen[keys[column]].append(found[row, 3:])
            else:
                key = float(found[row, 3])
                people.setdefault(key, np.zeros(joints.shape[::2]))[joint] = found[row]
                seen[key] = [found[row, 3:]]
    return np.array(list(people.values())).reshape(-1, *joints.shape[::2])


def adjust_and_fill(people: Array, heatmaps: Array, tags: Array) -> None:
    """A quarter pixel towards the higher neighbour; missing joints from the whole map, less the rounded tag distance."""
    for person in people:
        mean = person[person[:, 2] > 0][:, 3:].mean(0)
        for joint, heatmap in enumerate(heatmaps):
            if person[joint, 2] == 0:
                distance = np.sqrt(((tags[joint] - mean) ** 2).sum(2))
                y, x = np.unravel_index(np.argmax(heatmap - np.round(distance)), heatmap.shape)
                person[joint, :3] = x, y, heatmap[y, x]
            x, y = person[joint, :2].astype(int)
            left, right = heatmap[y, max(x - 1, 0)], heatmap[y, min(x + 1, heatmap.shape[1] - 1)]
            above, below = heatmap[max(y - 1, 0), x], heatmap[min(y + 1, heatmap.shape[0] - 1), x]
            person[joint, :2] += 0.25 * np.sign([right - left, below - above])


def usual_group(heatmaps: Array, tags: Array, solve: Solver = munkres_pairs) -> Array:
    """xy (P, J, 2) of at most 30 people, in the order in which they were begun."""
    people = match_by_tag(top_k(heatmaps, tags), solve)[:PEOPLE]
    adjust_and_fill(people, heatmaps, tags)
    return people[..., :2]
