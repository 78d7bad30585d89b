"""Heatmaps and tags of crowds whose people are known: with spread, clutter and noise as a network leaves them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.models.scenes import standing

Array = NDArray[Any]
JOINTS = 17
SIGMA_PX = 2.0  # Newell's released code: the map's side / 64 at 128
NOISE = 0.006  # the shipped weights' background on photos (standard deviation of values below .05)
APART_PX = 5.0  # joints of one kind closer than this are one peak, which no grouping can part
TAG_GAP, TAG_SPREAD, TAG_NOISE = 1.5, 0.15, 0.05  # between people; over one person's joints; from pixel to pixel
CLUTTER, HIDDEN = 1 / 3, 0.1  # false peaks for each true one; share of joints without a peak


@dataclass(frozen=True)
class Crowd:
    """Maps (J, H, W) and (J, H, W, K) with the joints in them (N, J, 2), which of them have a peak (N, J)."""

    heatmaps: Array
    tags: Array
    xy: Array
    visible: Array


def crowd(people: int, side: int, dims: int, seed: int) -> Crowd:
    """A scene; its maps are planes in memory, as `Detector` hands them on."""
    rng = np.random.default_rng(seed)
    xy = figures(people, side, rng)
    visible = rng.random((people, JOINTS)) >= HIDDEN
    heatmaps = rng.normal(0, NOISE, (JOINTS, side, side)).astype(np.float32)
    tags = tag_maps(xy, side, dims, rng)
    for person, joint in np.argwhere(visible):
        draw(heatmaps[joint], xy[person, joint], rng.uniform(0.45, 1.0))
    for joint in range(JOINTS):
        add_clutter(heatmaps[joint], tags[joint], xy[:, joint], TAG_GAP * people, rng)
    return Crowd(heatmaps, tags, xy, visible)


def add_clutter(heatmap: Array, tags: Array, taken: Array, highest_tag: float, rng: np.random.Generator) -> None:
    """False peaks away from the true ones: half keep the tag of who is near by, half are objects with their own."""
    for number, place in enumerate(rng.uniform(2, len(heatmap) - 3, (round(CLUTTER * len(taken)), 2))):
        if np.linalg.norm(taken - place, axis=1).min() > 2 * APART_PX:
            draw(heatmap, place, rng.uniform(0.1, 0.35))
            if number % 2:
                x, y = place.round().astype(int)
                tags[y - 1 : y + 2, x - 1 : x + 2] = rng.uniform(-1, highest_tag, tags.shape[-1])


def figures(people: int, side: int, rng: np.random.Generator) -> Array:
    """(N, J, 2) standing people of different sizes, anywhere, joints of one kind apart."""
    placed: list[Array] = []
    while len(placed) < people:
        height = rng.uniform(0.2, 0.5) * side
        size_wh = np.array([height / 2, height])
        xy = standing((int(size_wh[0]), int(size_wh[1])), rng) + rng.uniform(0, side - size_wh)
        inside = xy.min() >= 3 and xy.max() <= side - 4
        if inside and all(np.linalg.norm(xy - other, axis=1).min() > APART_PX for other in placed):
            placed.append(xy)
    return np.stack(placed)


def tag_maps(xy: Array, side: int, dims: int, rng: np.random.Generator) -> Array:
    """(J, H, W, K) float32: each pixel carries the tag of the person whose joint is nearest."""
    means = TAG_GAP * (rng.permutation(len(xy))[:, None] + rng.uniform(-0.1, 0.1, (len(xy), dims)))
    of_joint = means[:, None] + rng.normal(0, TAG_SPREAD, (len(xy), JOINTS, dims))
    y, x = np.mgrid[:side, :side].astype(np.float32)
    tags = np.empty((JOINTS, side, side, dims), np.float32)
    for joint in range(JOINTS):
        squared = [(x - a) ** 2 + (y - b) ** 2 for a, b in xy[:, joint].astype(np.float32)]
        tags[joint] = of_joint[np.argmin(squared, axis=0), joint]
    return tags + rng.normal(0, TAG_NOISE, tags.shape).astype(np.float32)


def draw(heatmap: Array, place: Array, strength: float) -> None:
    """A Gaussian of four standard deviations' reach, the highest of what is there."""
    reach = int(4 * SIGMA_PX)
    x0, y0 = np.maximum(place.astype(int) - reach, 0)
    x1, y1 = np.minimum(place.astype(int) + reach + 1, heatmap.shape[::-1])
    y, x = np.mgrid[y0:y1, x0:x1]
    bump = strength * np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * SIGMA_PX**2))
    window = heatmap[y0:y1, x0:x1]
    window += np.maximum(bump - np.maximum(window, 0), 0)


def recalled(scene: Crowd, xy: Array) -> float:
    """Share of joints with a peak that stand within 2 px in the person who is theirs (one found person per true one)."""
    from scipy.optimize import linear_sum_assignment

    with np.errstate(invalid="ignore"):
        near = np.linalg.norm(xy[:, None] - scene.xy[None], axis=-1) < 2
    hits = (near & scene.visible).sum(-1)
    found, true = linear_sum_assignment(-hits)
    return float(hits[found, true].sum() / scene.visible.sum())
