"""Grouping of joint candidates into people by their tags (Newell, Huang, Deng 2017, section 3.3), made deterministic.

Differences from the usual implementation, each for a reason: tag distances are not rounded, they count beyond a tolerance
(rounding lets the value decide between near tags, which is right, but leaves ties to the solver); a pair gains its value times
its closeness and an unmatched candidate nothing (so neither a far candidate nor a second one for the same person pushes a
near one away); what is equal to the last digit is decided by fixed lots, so that the best assignment is the only one; a
second candidate with the tag of a person who has that joint already is a duplicate and begins nobody; people are capped by
score, not by order of creation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from models.peaks import find_peaks, refine_peaks, tags_at

Array = NDArray[Any]


@dataclass(frozen=True)
class GroupConfig:
    """Thresholds of the decoder. Heatmap values are in 0..1; tags are in the unit in which push separates by 1.

    detection: a candidate's least value. tag: largest distance to a person's mean tag. tolerance: tags nearer than this are the
    same. fill: least value of a missing joint read from the map (0 turns filling off). min_joints: candidates a person needs.
    same: somebody of whose joints more than this share lies on those of a better person is that person, put together once
    more from strays (1 keeps everybody). order: joints in the order in which people are built, trunk first (None: 0..J-1, or
    Newell's order for 17 joints).
    """

    candidates: int = 30
    max_people: int = 30
    detection: float = 0.1
    tag: float = 1.0
    tolerance: float = 0.5
    fill: float = 0.02
    min_joints: int = 1
    same: float = 0.5
    order: tuple[int, ...] | None = None


# Newell's released code: face, shoulders, hips, elbows, knees, wrists, ankles.
COCO_ORDER = (0, 1, 2, 3, 4, 5, 6, 11, 12, 7, 8, 13, 14, 9, 10, 15, 16)
# Share of a pair's gain that falls with the tag distance inside the tolerance, and share that is drawn by lot: small enough
# to decide only between values that are the same for any purpose, the second far above the rounding of a solver's sums.
NEARNESS, LOT = 1e-3, 1e-6
SAME_PX = 1.5  # joints of one kind that are nearer are one joint, in heatmap pixels


@dataclass
class People:
    """People under construction: flat pixel and value per joint (P, J), -1 and 0 where missing; sum (P, K), count of tags."""

    pixel: Array
    score: Array
    tag_sum: Array
    count: Array

    @staticmethod
    def nobody(joints: int, dims: int) -> People:
        """No people of that many joints and tag dimensions."""
        return People(np.empty((0, joints), np.int64), np.empty((0, joints)), np.empty((0, dims)), np.empty(0, np.int64))

    @property
    def tag(self) -> Array:
        """Mean tags (P, K)."""
        return self.tag_sum / self.count[:, None]

    def begin(self, count: int) -> NDArray[np.int64]:
        """Append people without joints; returns their rows."""
        joints, dims = self.pixel.shape[1], self.tag_sum.shape[1]
        self.pixel = np.concatenate([self.pixel, np.full((count, joints), -1)])
        self.score = np.concatenate([self.score, np.zeros((count, joints))])
        self.tag_sum = np.concatenate([self.tag_sum, np.zeros((count, dims))])
        self.count = np.concatenate([self.count, np.zeros(count, np.int64)])
        return np.arange(len(self.count) - count, len(self.count))

    def give(self, row: Array, joint: int, pixel: Array, score: Array, tag: Array) -> None:
        """One candidate of a joint to each of some rows."""
        self.pixel[row, joint], self.score[row, joint] = pixel, score
        self.tag_sum[row] += tag
        self.count[row] += 1

    def take(self, row: Array) -> People:
        """Some of the people, in that order."""
        return People(self.pixel[row], self.score[row], self.tag_sum[row], self.count[row])

    def best(self, count: int) -> People:
        """The `count` people with the highest mean score; ties by their pixels, so that no order of creation shows."""
        return self.take(np.lexsort((*self.pixel.T[::-1], -self.score.sum(1)))[:count])


def group(heatmaps: Array, tags: Array, config: GroupConfig | None = None) -> tuple[Array, Array, Array]:
    """People of one image: heatmaps (J, H, W), tags (J, H, W) or (J, H, W, K) -> xy (P, J, 2), score (P, J), tag (P, K).

    xy is in heatmap pixels (pixel (0, 0) is the centre of the top-left one), refined below the pixel; NaN with score 0 where
    nothing was found. A score is the heatmap's own value at the joint, for joints filled from the map too. People are sorted
    by mean score, best first. Raises ValueError on shapes that do not fit.
    """
    config = config or GroupConfig()
    heatmaps, tags = _checked(heatmaps, tags)
    people = assemble(find_peaks(heatmaps, config.detection), tags, config)
    people = people.take(people.count >= config.min_joints).best(config.max_people)
    if config.fill > 0:
        _fill(people, heatmaps, tags, config)
    people = _distinct(people.best(config.max_people), heatmaps.shape[2], config.same)
    return refine_peaks(heatmaps, people.pixel), people.score.astype(np.float32), people.tag.astype(np.float32)


def _checked(heatmaps: Array, tags: Array) -> tuple[Array, Array]:
    if tags.ndim == 3:
        tags = tags[..., None]
    if heatmaps.ndim != 3 or tags.ndim != 4 or tags.shape[:3] != heatmaps.shape:
        raise ValueError(f"group: expected heatmaps (J, H, W) and tags (J, H, W, K), got {heatmaps.shape}, {tags.shape}")
    heatmaps = np.ascontiguousarray(heatmaps, np.float32)
    return heatmaps if np.isfinite(heatmaps.sum()) else np.nan_to_num(heatmaps), tags


def assemble(peaks: Sequence[tuple[Array, Array]], tags: Array, config: GroupConfig) -> People:
    """All people that the peaks (flat pixels and values per joint, in any order) and tags (J, H, W, K) make."""
    default = COCO_ORDER if len(peaks) == len(COCO_ORDER) else tuple(range(len(peaks)))
    order = config.order or default
    if sorted(order) != list(range(len(peaks))):
        raise ValueError(f"group: order must name each of the {len(peaks)} joints once, got {order}")
    people = People.nobody(len(peaks), tags.shape[3])
    ranked = [_ranked(pixel, score, config.candidates) for pixel, score in peaks]
    tag = tags_at(tags, [pixel for pixel, _ in ranked])
    for joint in order:
        _match(people, joint, *ranked[joint], tag[joint], config)
    return people


def _ranked(pixel: Array, score: Array, count: int) -> tuple[Array, Array]:
    """The best `count` candidates of a joint, best first, ties by pixel."""
    best = np.lexsort((pixel, -score))[:count]
    return pixel[best], score[best]


def _match(people: People, joint: int, pixel: Array, score: Array, tag: Array, config: GroupConfig) -> None:
    """Give the candidates of one joint, best first, to the people so far, or let them begin new ones."""
    distance = cdist(tag, people.tag)
    i, person = linear_sum_assignment(pair_gains(distance, score, config), maximize=True)
    near = distance[i, person] < config.tag
    i, person = i[near], person[near]
    people.give(person, joint, pixel[i], score[i], tag[i])
    free = ~(distance < config.tolerance).any(1)
    free[i] = False
    if free.any():
        new = np.flatnonzero(free)
        new = new[_first_of_each(tag[new], config.tolerance)]
        people.give(people.begin(len(new)), joint, pixel[new], score[new], tag[new])


def pair_gains(distance: Array, score: Array, config: GroupConfig) -> Array:
    """What each pair of candidate and person adds, (C, P), from tag distances (C, P) and values (C,), 0 from `config.tag` on.

    The value, times a closeness that falls from 1 by NEARNESS inside the tolerance and to 0 at `config.tag`. Inside, the
    square of the distance counts: sums of plain distances are equal for either pairing of tags on one line.
    """
    beyond = np.maximum(distance - config.tolerance, 0) / max(config.tag - config.tolerance, 1e-9)
    closeness = 1 - NEARNESS * (distance / config.tag) ** 2 - (1 - NEARNESS) * beyond
    # Random lots make the best assignment unique (isolation lemma: Mulmuley, Vazirani, Vazirani 1987).
    gains = score[:, None] * np.maximum(closeness, 0) * (1 - LOT * _lots(distance.shape))
    return np.where(distance < config.tag, gains, 0)


@lru_cache(1024)
def _lots(shape: tuple[int, int]) -> NDArray[np.float64]:
    return np.random.default_rng(0).random(shape)


def _first_of_each(tag: Array, tolerance: float) -> NDArray[np.bool_]:
    """Which of the tags (N, K), best first, are not within the tolerance of one that is kept already."""
    near = cdist(tag, tag) < tolerance
    kept = np.zeros(len(tag), bool)
    for i, others in enumerate(near):
        kept[i] = not (others & kept).any()
    return kept


def _fill(people: People, heatmaps: Array, tags: Array, config: GroupConfig) -> None:
    """Read missing joints from the map: the highest value, less the tag distance beyond the tolerance."""
    mean, flat = people.tag, heatmaps.reshape(len(heatmaps), -1)
    missing = people.pixel < 0
    nowhere = np.empty(0, np.int64)
    pixels = [np.flatnonzero(m > config.fill) if some.any() else nowhere for m, some in zip(flat, missing.T, strict=True)]
    for joint, (pixel, tag) in enumerate(zip(pixels, tags_at(tags, pixels), strict=True)):
        if len(pixel):
            score, lacking = flat[joint, pixel], np.flatnonzero(missing[:, joint])
            best = (score - np.maximum(cdist(mean[lacking], tag) - config.tolerance, 0)).argmax(1)
            people.pixel[lacking, joint], people.score[lacking, joint] = pixel[best], score[best]


def _distinct(people: People, width: int, share: float) -> People:
    """Best first, those who share no more of their joints with anybody kept before them."""
    there = people.pixel >= 0
    y, x = np.divmod(people.pixel, width)
    near = np.hypot(x[:, None] - x, y[:, None] - y) <= SAME_PX
    common = (near & there[:, None] & there).sum(2)
    kept: list[int] = []
    for person, found in enumerate(there.sum(1)):
        if not (common[person, kept] > share * found).any():
            kept.append(person)
    return people.take(np.array(kept, np.int64))
