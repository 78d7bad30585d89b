"""Joints weighed against where a pose prior expects them: what the views leave open is filled in, what they say stays said.

A joint and its covariance by the views, and its mean and covariance given the person's other joints by the prior, are two
measurements of one place; the refined joint is their weighted mean. Its error_px stays that of the views alone, and a joint
whose error could grow beyond the threshold of reconstruct stays where the views put it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.rig import Rig
from pipeline.pose_prior import load_pose_prior
from pipeline.types import Array, Skeletons3D

CHUNK = 64  # instants


def refined(rig: Rig, instants: Iterable[Skeletons3D], weights: str, threshold_px: float) -> Iterator[Skeletons3D]:
    """The same skeletons, refined. Raises InputError for weights that are no pose prior."""
    prior = load_pose_prior(weights, "reconstruct.prior")
    stream = iter(instants)
    while chunk := list(islice(stream, CHUNK)):
        yield from _refined(rig, chunk, prior, threshold_px)


def _refined(rig: Rig, chunk: list[Skeletons3D], prior: Any, threshold_px: float) -> Iterator[Skeletons3D]:
    counts = np.cumsum([len(instant) for instant in chunk])[:-1]
    expected = prior.each(np.concatenate([instant.xyz_m for instant in chunk]))
    means, covariances = np.split(expected.mean_m, counts), np.split(expected.covariance_m2, counts)
    for instant, mean_m, covariance_m2 in zip(chunk, means, covariances, strict=True):
        if instant.covariance_m2 is None:
            yield instant
            continue
        at_m, left_m2 = weighed(instant.xyz_m, instant.covariance_m2, mean_m, covariance_m2)
        moves = instant.error_px + largest_shift_px(rig, instant.xyz_m, at_m) <= threshold_px
        xyz_m = np.where(moves[..., None], at_m, instant.xyz_m)
        yield replace(instant, xyz_m=xyz_m, covariance_m2=np.where(moves[..., None, None], left_m2, instant.covariance_m2))


def weighed(xyz_m: Array, covariance_m2: Array, mean_m: Array, expected_m2: Array) -> tuple[Array, Array]:
    """Joints (..., 3) and covariances (..., 3, 3) of the product of two normal densities; NaN where either is."""
    known: NDArray[np.bool_] = np.asarray(np.isfinite(covariance_m2 + expected_m2).all((-1, -2)))
    total = np.where(known[..., None, None], covariance_m2 + expected_m2, np.eye(3))
    gain = np.where(known[..., None, None], covariance_m2, 0.0) @ np.linalg.inv(total)
    moved_m = xyz_m + (gain @ np.where(known[..., None], mean_m - xyz_m, 0.0)[..., None])[..., 0]
    left_m2 = covariance_m2 - gain @ covariance_m2
    return np.where(known[..., None], moved_m, np.nan), np.where(known[..., None, None], left_m2, np.nan)


def largest_shift_px(rig: Rig, from_m: Array, to_m: Array) -> Array:
    """(P, J) how far joints (P, J, 3) move at most in the image of any camera; NaN where they are not known."""
    known = np.isfinite(from_m).all(-1) & np.isfinite(to_m).all(-1)
    shift_px = np.full(known.shape, np.nan)
    if known.any():
        moved = [np.linalg.norm(c.project(from_m[known]) - c.project(to_m[known]), axis=-1) for c in rig.cameras]
        shift_px[known] = np.stack(moved).max(0)
    return shift_px
