"""Grouping of joint candidates into people by their tags (Newell, Huang, Deng 2017, section 3.3), made deterministic.

Differences from the usual implementation, each for a reason: tag distances are not rounded, they count beyond a tolerance
(rounding lets the value decide between near tags, which is right, but leaves ties to the solver); a candidate farther than
the tag threshold costs exactly what a new person costs (so one far candidate cannot push a near one away); a second
candidate with the tag of a person who has that joint already is a duplicate and begins nobody; people are capped by score, not
by order of creation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Array = NDArray[Any]


@dataclass(frozen=True)
class GroupConfig:
    """Thresholds of the decoder. Heatmap values are in 0..1; tags are in the unit in which push separates by 1.

    detection: a candidate's least value. tag: largest distance to a person's mean tag. tolerance: tags nearer than this are the
    same. fill: least value of a missing joint read from the map (0 turns filling off). min_joints: candidates a person needs.
    order: joints in the order in which people are built, trunk first (None: 0..J-1, or Newell's order for 17 joints).
    """

    candidates: int = 30
    max_people: int = 30
    detection: float = 0.1
    tag: float = 1.0
    tolerance: float = 0.5
    fill: float = 0.02
    min_joints: int = 1
    order: tuple[int, ...] | None = None


# Newell's released code: face, shoulders, hips, elbows, knees, wrists, ankles.
COCO_ORDER = (0, 1, 2, 3, 4, 5, 6, 11, 12, 7, 8, 13, 14, 9, 10, 15, 16)


@dataclass
class _Person:
    """A person under construction: flat pixel and value per joint (-1 and 0 where missing), sum and count of its tags."""

    pixel: Array
    score: Array
    tag_sum: Array
    count: int = 0

    @property
    def tag(self) -> Array:
        return self.tag_sum / self.count

    def add(self, joint: int, pixel: int, score: float, tag: Array) -> None:
        self.pixel[joint], self.score[joint] = pixel, score
        self.tag_sum += tag
        self.count += 1


def group(heatmaps: Array, tags: Array, config: GroupConfig | None = None) -> tuple[Array, Array, Array]:
    """People of one image: heatmaps (J, H, W), tags (J, H, W) or (J, H, W, K) -> xy (P, J, 2), score (P, J), tag (P, K).

    xy is in heatmap pixels (pixel (0, 0) is the centre of the top-left one), refined below the pixel; NaN with score 0 where
    nothing was found. A score is the heatmap's own value at the joint, for joints filled from the map too. People are sorted
    by mean score, best first. Raises ValueError on shapes that do not fit.
    """
    config = config or GroupConfig()
    heatmaps, tags = _checked(heatmaps, tags)
    joints, height, width = heatmaps.shape
    flat = tags.reshape(joints, height * width, -1)
    people: list[_Person] = []
    for joint, (pixel, score) in _in_order(find_candidates(heatmaps, config), config):
        _match(people, joints, joint, pixel, score, flat[joint, pixel], config)
    people = _best([p for p in people if p.count >= config.min_joints], config.max_people)
    if config.fill > 0:
        _fill(people, heatmaps.reshape(joints, -1), flat, config)
    pixel = np.array([p.pixel for p in people], np.int64).reshape(-1, joints)
    score = np.array([p.score for p in people], np.float32).reshape(-1, joints)
    tag = np.array([p.tag for p in people], np.float32).reshape(-1, flat.shape[-1])
    return refine_peaks(heatmaps, pixel), score, tag


def _checked(heatmaps: Array, tags: Array) -> tuple[Array, Array]:
    if tags.ndim == 3:
        tags = tags[..., None]
    if heatmaps.ndim != 3 or tags.ndim != 4 or tags.shape[:3] != heatmaps.shape:
        raise ValueError(f"group: expected heatmaps (J, H, W) and tags (J, H, W, K), got {heatmaps.shape}, {tags.shape}")
    return np.nan_to_num(np.ascontiguousarray(heatmaps, np.float32)), np.asarray(tags, np.float64)


def find_candidates(heatmaps: Array, config: GroupConfig) -> list[tuple[Array, Array]]:
    """Per joint the flat pixels and values of its local maxima (3x3), highest first, ties by pixel."""
    found = []
    kernel = np.ones((3, 3), np.uint8)
    for heatmap in heatmaps:
        peak = (heatmap == cv2.dilate(heatmap, kernel)) & (heatmap > config.detection)
        pixel = np.flatnonzero(peak)
        score = heatmap.reshape(-1)[pixel]
        best = np.lexsort((pixel, -score))[: config.candidates]
        found.append((pixel[best], score[best]))
    return found


def _in_order(found: Sequence[tuple[Array, Array]], config: GroupConfig) -> list[tuple[int, tuple[Array, Array]]]:
    default = COCO_ORDER if len(found) == len(COCO_ORDER) else tuple(range(len(found)))
    order = config.order or default
    if sorted(order) != list(range(len(found))):
        raise ValueError(f"group: order must name each of the {len(found)} joints once, got {order}")
    return [(joint, found[joint]) for joint in order]


def _match(people: list[_Person], joints: int, joint: int, pixel: Array, score: Array, tag: Array, config: GroupConfig) -> None:
    """Give the candidates of one joint to the people so far, or let them begin new ones."""
    owner, begins = np.full(len(pixel), -1), np.ones(len(pixel), bool)
    if people and len(pixel):
        distance = np.linalg.norm(tag[:, None] - np.array([p.tag for p in people]), axis=-1)
        begins = distance.min(1) >= config.tolerance
        # A pair beyond the threshold costs what starting a new person costs: both mean "not matched".
        apart = np.clip(distance, config.tolerance, config.tag) - config.tolerance
        cost = np.where(distance < config.tag, 100 * apart - score[:, None], 100 * (config.tag - config.tolerance))
        for row, column in zip(*linear_sum_assignment(cost), strict=True):
            if distance[row, column] < config.tag:
                owner[row] = column
    for i, person in enumerate(owner):
        if person >= 0:
            people[person].add(joint, int(pixel[i]), float(score[i]), tag[i])
        elif begins[i] and not _known(people, joint, tag[i], config):
            people.append(_Person(np.full(joints, -1), np.zeros(joints), np.zeros(tag.shape[-1])))
            people[-1].add(joint, int(pixel[i]), float(score[i]), tag[i])


def _known(people: list[_Person], joint: int, tag: Array, config: GroupConfig) -> bool:
    """Whether somebody with this tag has this joint already: candidates come best first, so the one at hand is worse."""
    return any(p.pixel[joint] >= 0 and np.linalg.norm(p.tag - tag) < config.tolerance for p in people)


def _best(people: list[_Person], count: int) -> list[_Person]:
    """The `count` people with the highest mean score; ties by their pixels, so that no order of creation shows."""
    return sorted(people, key=lambda p: (-p.score.sum(), p.pixel.tolist()))[:count]


def _fill(people: list[_Person], heatmaps: Array, tags: Array, config: GroupConfig) -> None:
    """Read missing joints from the map (J, H*W): the highest value, less the tag distance beyond the tolerance."""
    for joint, heatmap in enumerate(heatmaps):
        lacking = [p for p in people if p.pixel[joint] < 0]
        pixel = np.flatnonzero(heatmap > config.fill) if lacking else np.empty(0, int)
        if not len(pixel):
            continue
        distance = np.linalg.norm(tags[joint, pixel] - np.array([p.tag for p in lacking])[:, None], axis=-1)
        value = heatmap[pixel] - np.maximum(distance - config.tolerance, 0)
        for person, best in zip(lacking, value.argmax(1), strict=True):
            person.pixel[joint], person.score[joint] = pixel[best], heatmap[pixel[best]]


def refine_peaks(heatmaps: Array, pixel: Array) -> NDArray[np.float32]:
    """Sub-pixel places (P, J, 2) of flat pixels (P, J), NaN for -1.

    Parabola through the logarithm of three neighbours per axis: exact for a Gaussian. At most half a pixel.
    """
    joints, height, width = heatmaps.shape
    padded = np.pad(np.log(np.maximum(heatmaps, 1e-6)), ((0, 0), (1, 1), (1, 1)), mode="edge")
    y, x = np.divmod(np.maximum(pixel, 0), width)
    j = np.broadcast_to(np.arange(joints), pixel.shape)
    middle = padded[j, y + 1, x + 1]
    dx = _vertex(padded[j, y + 1, x], middle, padded[j, y + 1, x + 2])
    dy = _vertex(padded[j, y, x + 1], middle, padded[j, y + 2, x + 1])
    xy = np.stack([x + dx, y + dy], -1).astype(np.float32)
    xy[pixel < 0] = np.nan
    return xy


def _vertex(before: Array, at: Array, after: Array) -> Array:
    """Offset of the top of the parabola through three values, in -0.5..0.5; 0 where the middle is no maximum."""
    curve = before + after - 2 * at
    offset = np.where(curve < -1e-9, (before - after) / np.where(curve < -1e-9, 2 * curve, -1.0), 0.0)
    is_top = (at >= before) & (at >= after)
    return np.where(is_top, np.clip(offset, -0.5, 0.5), 0.0)
