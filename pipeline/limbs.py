"""Bones do not change their length: skeletons over time, held softly to the lengths that a person's limbs have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.skeleton import Topology
from pipeline.types import DEFAULT_TOPOLOGY, Array

# Passes of Gauss and Newton's method; lengths are within a tenth of a millimetre of the end after three.
PASSES = 3


def body_limbs(topology: Topology = DEFAULT_TOPOLOGY) -> list[tuple[int, int]]:
    """Limbs between limb joints: shins, thighs, hips, sides, shoulders, arms. Those of the face bend, and are too short to
    judge."""
    return [limb for limb in topology.limbs if set(limb) <= set(topology.limb_joints)]


def limb_lengths_m(xyz_m: Array, limbs: Sequence[tuple[int, int]]) -> Array:
    """(..., J, 3) -> (..., L) in m, NaN where an end is missing."""
    ends = np.array(limbs)
    return np.linalg.norm(xyz_m[..., ends[:, 0], :] - xyz_m[..., ends[:, 1], :], axis=-1)


def median_known(rows: Array) -> Array:
    """(L,) medians over (F, L) of what is known; NaN for a column that never is."""
    known = np.isfinite(rows).any(0)
    median = np.full(rows.shape[1], np.nan)
    median[known] = np.nanmedian(rows[:, known], axis=0)
    return median


def held_to_lengths(
    xyz_m: Array, covariance_m2: Array, lengths_m: Array, limbs: Sequence[tuple[int, int]], sigma_m: float
) -> Array:
    """Joints (F, J, 3) moved, each as far as its covariance (F, J, 3, 3) lets it, so that limbs come near their lengths (L,).

    The most likely joints given both, sigma_m being how far a limb's length may be off: a joint's ends differ by clothes and
    by how a detector sees them. Joints that are NaN stay so, and limbs of which one end is NaN hold nothing.
    """
    known = np.asarray(np.isfinite(xyz_m).all(-1) & np.isfinite(covariance_m2).all((-1, -2)))
    information = np.linalg.inv(np.where(known[..., None, None], covariance_m2, np.eye(3)))
    start = np.where(known[..., None], xyz_m, 0.0)
    ends = np.array(limbs)[np.isfinite(lengths_m)]
    wanted_m, both = lengths_m[np.isfinite(lengths_m)], known[:, ends[:, 0]] & known[:, ends[:, 1]]
    at = start.copy()
    for _ in range(PASSES):
        normal, right = _equations(at, start, information, ends, wanted_m, both / sigma_m**2)
        at = at + np.linalg.solve(normal, right[..., None])[..., 0].reshape(at.shape)
    return np.where(np.isfinite(xyz_m), at, np.nan)


def _equations(
    at: Array, start: Array, information: Array, ends: NDArray[np.int64], wanted_m: Array, weight: Array
) -> tuple[Array, Array]:
    """Normal equations (F, 3J, 3J) and (F, 3J) of a step from `at`; weight (F, L) in 1/m^2."""
    instants, joints = at.shape[:2]
    normal, right = np.zeros((instants, joints, joints, 3, 3)), np.einsum("fjab,fjb->fja", information, start - at)
    normal[:, np.arange(joints), np.arange(joints)] = information
    for k, (a, b) in enumerate(ends):
        along = at[:, a] - at[:, b]
        length_m = np.maximum(np.linalg.norm(along, axis=-1, keepdims=True), 1e-9)
        along, short_m = along / length_m, wanted_m[k] - length_m
        pull = weight[:, k, None] * along
        stiff = pull[:, :, None] * along[:, None]
        normal[:, a, a] += stiff
        normal[:, b, b] += stiff
        normal[:, a, b] -= stiff
        normal[:, b, a] -= stiff
        right[:, a] += pull * short_m
        right[:, b] -= pull * short_m
    return normal.transpose(0, 1, 3, 2, 4).reshape(instants, 3 * joints, 3 * joints), right.reshape(instants, -1)
