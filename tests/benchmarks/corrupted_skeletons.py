"""Skeletons that cannot be, made on purpose, and which joints were touched: what a pose prior must catch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from models.skeleton import COCO17

Array = NDArray[Any]
Changed = tuple[Array, Array]  # xyz_m (N, J, 3), and touched (N, J)

OUTLIER_M = 0.15
LEAST_APART_M = 0.15  # limbs nearer to each other than this change little when they are exchanged
LEAST_BACK_DEG, MOST_BACK_DEG = 30.0, 80.0
SWAPS = (("elbow", "wrist"), ("knee", "ankle"), ("wrist",), ("ankle",))


def swapped_limbs(xyz_m: Array, rng: np.random.Generator) -> Changed:
    """Arms, legs, wrists or ankles are named the other way round; the whole skeletons of those where that is no matter."""
    out, touched = xyz_m.copy(), np.zeros(xyz_m.shape[:2], bool)
    for n, start in enumerate(rng.integers(len(SWAPS), size=len(xyz_m))):
        for names in (*SWAPS[start:], *SWAPS[:start]):
            left, right = ([COCO17.index(f"{side}_{name}") for name in names] for side in ("left", "right"))
            if np.linalg.norm(xyz_m[n, left] - xyz_m[n, right], axis=-1).max() >= LEAST_APART_M:
                out[n, left + right] = xyz_m[n, right + left]
                touched[n, left + right] = True
                break
    return out, touched


def outlier(xyz_m: Array, rng: np.random.Generator) -> Changed:
    """One joint is 15 cm off, any joint in any direction."""
    out, touched = xyz_m.copy(), np.zeros(xyz_m.shape[:2], bool)
    which, away = rng.integers(xyz_m.shape[1], size=len(xyz_m)), rng.normal(size=(len(xyz_m), 3))
    rows = np.arange(len(xyz_m))
    out[rows, which] += OUTLIER_M * away / np.linalg.norm(away, axis=-1, keepdims=True)
    touched[rows, which] = True
    return out, touched


def others_arm(xyz_m: Array, rng: np.random.Generator) -> Changed:
    """Elbow and wrist are those of somebody else, who stands 0.4 to 1 m away."""
    out, touched = xyz_m.copy(), np.zeros(xyz_m.shape[:2], bool)
    other = xyz_m[rng.permutation(len(xyz_m))]
    turn = Rotation.from_euler("z", rng.uniform(-np.pi, np.pi, (len(xyz_m), 1))).as_matrix()
    root_m = xyz_m[:, [11, 12]].mean(1)
    centred = np.einsum("nab,njb->nja", turn, other - other[:, [11, 12]].mean(1, keepdims=True))
    angle, far_m = rng.uniform(0, 2 * np.pi, len(xyz_m)), rng.uniform(0.4, 1.0, len(xyz_m))
    stranger = centred + (root_m + np.stack([far_m * np.cos(angle), far_m * np.sin(angle), 0 * angle], -1))[:, None]
    for n, side in enumerate(rng.choice(["left", "right"], len(xyz_m))):
        arm = [COCO17.index(f"{side}_{name}") for name in ("elbow", "wrist")]
        out[n, arm], touched[n, arm] = stranger[n, arm], True
    return out, touched


def mirrored(xyz_m: Array, rng: np.random.Generator) -> Changed:
    """Seen in a mirror, with left and right as they were named: every joint is the wrong one."""
    return xyz_m * np.array([-1.0, 1.0, 1.0]), np.ones(xyz_m.shape[:2], bool)


def knee_backwards(xyz_m: Array, rng: np.random.Generator) -> Changed:
    """A shin is bent to the front of the thigh by 30 to 80 degrees."""
    out, touched = xyz_m.copy(), np.zeros(xyz_m.shape[:2], bool)
    leftwards = xyz_m[:, 11] - xyz_m[:, 12]
    for n, side in enumerate(rng.choice(["left", "right"], len(xyz_m))):
        hip, knee, ankle = (COCO17.index(f"{side}_{name}") for name in ("hip", "knee", "ankle"))
        thigh = _unit(xyz_m[n, knee] - xyz_m[n, hip])
        front = _unit(np.cross(thigh, leftwards[n]))
        bend = np.radians(rng.uniform(LEAST_BACK_DEG, MOST_BACK_DEG))
        shin_m = np.linalg.norm(xyz_m[n, ankle] - xyz_m[n, knee])
        out[n, ankle] = xyz_m[n, knee] + shin_m * (np.cos(bend) * thigh + np.sin(bend) * front)
        touched[n, [knee, ankle]] = True
    return out, touched


def _unit(vector: Array) -> Array:
    return vector / np.linalg.norm(vector)


CORRUPTIONS: dict[str, Callable[[Array, np.random.Generator], Changed]] = {
    "swapped limbs": swapped_limbs,
    "15 cm outlier": outlier,
    "wrong person's arm": others_arm,
    "mirrored": mirrored,
    "knee backwards": knee_backwards,
}
