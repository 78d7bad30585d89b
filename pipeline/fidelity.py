"""Do the labels of a generated image still hold? People found again are held against the labels they were drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from models.skeleton import COCO17, Topology
from pipeline.types import Array

# COCO's OKS scales with the area of the person's outline. Without outlines the usual stand-in is this share of the box around
# the joints (the ratio of the two over COCO's people, as the AI Challenger and Ultralytics evaluations have it).
OUTLINE_SHARE = 0.53

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Gates:
    """What an image must hold: see AugmentConfig. Chosen by `bench_fidelity`, on the precise side of its bars."""

    min_oks: float = 0.4
    swap_margin: float = 0.05
    max_drift: float = 0.125
    drift_min_score: float = 0.75


@dataclass(frozen=True, eq=False)
class LabelCheck:
    """accepted, with the reasons when not; oks (P,) and drift_px (P, J) per labelled person, NaN drift where nothing was found;
    found: number of people found again; matched_px (P, J, 2): where each labelled person was seen, NaN where only guessed."""

    accepted: bool
    reasons: tuple[str, ...]
    oks: Array
    drift_px: Array
    found: int
    matched_px: Array

    def but(self, reasons: Sequence[str]) -> LabelCheck:
        """The same check with more reasons against the image."""
        return replace(self, accepted=self.accepted and not reasons, reasons=(*self.reasons, *reasons))


def check_labels(
    labels_px: Array, found_px: Array, gates: Gates, topology: Topology = COCO17, score: Array | None = None
) -> LabelCheck:
    """Labels (P, J, 2), NaN where not labelled, against people found again (N, J, 2), NaN where a joint was not found.

    Rejected: another number of people; a person with OKS below min_oks; a person that fits better mirrored (left and right
    swapped); a joint further off than max_drift of the person's extent. score (N, J) of the joints found: below
    drift_min_score a joint was guessed rather than seen (it is hidden), and its place contradicts no label. Without scores
    every joint was seen.
    """
    labels, found = (
        np.asarray(labels_px, dtype=np.float64),
        np.asarray(found_px, dtype=np.float64).reshape(-1, len(topology), 2),
    )
    similar = oks_matrix(labels, found, topology)
    mirrored = oks_matrix(labels, found[:, list(topology.mirror)], topology)
    # a person is the same person whether or not left and right were swapped
    rows, columns = linear_sum_assignment(-np.maximum(similar, mirrored))
    oks, flipped, drift_px = np.zeros(len(labels)), np.zeros(len(labels)), np.full(labels.shape[:2], np.nan)
    oks[rows], flipped[rows] = similar[rows, columns], mirrored[rows, columns]
    drift_px[rows] = np.linalg.norm(labels[rows] - found[columns], axis=-1)
    seen = np.ones(labels.shape[:2], bool)
    if score is not None:
        seen[rows] = np.asarray(score)[columns] >= gates.drift_min_score
    reasons = [] if len(found) == len(labels) else [f"found {len(found)} people, expected {len(labels)}"]
    for person in range(len(labels)):
        judged_px = np.where(seen[person], drift_px[person], np.nan)
        reasons += _person_reasons(person, labels[person], oks[person], flipped[person], judged_px, gates, topology)
    matched_px = np.full(labels.shape, np.nan)
    matched_px[rows] = found[columns]
    matched_px[~seen] = np.nan
    return LabelCheck(not reasons, tuple(reasons), oks, drift_px, len(found), matched_px)


def background_reasons(image: Image, captured: Image, mask: NDArray[np.bool_], allowed: float) -> list[str]:
    """Why a picture (S, S, 3) that should show the captured background does not: mean change of its levels (0..255) outside
    the mask (S, S) of its people."""
    if not mask.any():
        return ["nobody inside the mask: the picture is the captured one"]
    if mask.all():
        return []
    changed = float(np.abs(image[~mask].astype(np.float64) - captured[~mask]).mean())
    return (
        [f"background changed by {changed:.1f} levels outside the people, allowed {allowed:.1f}"] if changed > allowed else []
    )


def _person_reasons(
    person: int, label_px: Array, oks: float, flipped: float, drift_px: Array, gates: Gates, topology: Topology
) -> list[str]:
    if flipped > oks + gates.swap_margin:
        return [f"person {person}: left and right swapped (OKS {oks:.2f}, mirrored {flipped:.2f})"]
    reasons = [f"person {person}: OKS {oks:.2f} below {gates.min_oks:.2f}"] if oks < gates.min_oks else []
    limit_px = gates.max_drift * float(extent_px(label_px[None])[0])
    far = np.flatnonzero(np.nan_to_num(drift_px) > limit_px)
    if len(far):
        worst = far[np.argmax(drift_px[far])]
        reasons.append(f"person {person}: {topology.joints[worst]} drifted {drift_px[worst]:.1f} px, allowed {limit_px:.1f}")
    return reasons


def oks_matrix(labels_px: Array, found_px: Array, topology: Topology = COCO17, areas_px2: Array | None = None) -> Array:
    """Object keypoint similarity (P, N) of labels (P, J, 2) and people found (N, J, 2), over the labelled joints.

    exp(-d^2 / (2 area (2 sigma)^2)), as pycocotools has it; a labelled joint that was not found counts 0. areas_px2: (P,) of
    the people; without it that of `area_px2`.
    """
    areas = area_px2(labels_px) if areas_px2 is None else areas_px2
    square = ((labels_px[:, None] - found_px[None]) ** 2).sum(-1)
    spread = 2 * areas[:, None, None] * (2 * topology.sigmas) ** 2
    closeness = np.where(np.isfinite(square), np.exp(-np.nan_to_num(square) / spread), 0.0)
    labelled: NDArray[np.int64] = np.isfinite(labels_px).all(-1).sum(1)
    return closeness.sum(-1) / np.maximum(labelled, 1)[:, None]


def area_px2(labels_px: Array) -> Array:
    """The area (P,) of people by the boxes around their joints (P, J, 2), in px^2; at least 1."""
    sides = _sides_px(labels_px)
    return np.maximum(OUTLINE_SHARE * sides[:, 0] * sides[:, 1], 1.0)


def extent_px(labels_px: Array) -> Array:
    """The longer side (P,) of the boxes around people's joints (P, J, 2), in px."""
    return _sides_px(labels_px).max(1)


def _sides_px(labels_px: Array) -> Array:
    there = np.isfinite(labels_px).all(-1, keepdims=True)
    high = np.where(there, labels_px, -np.inf).max(1, initial=-np.inf)
    low = np.where(there, labels_px, np.inf).min(1, initial=np.inf)
    return np.where(np.isfinite(high - low), high - low, 0.0)
