"""How plausible the skeletons of a clip are by the pose prior, and which joint speaks against those that are not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from pipeline.pose_prior import load_pose_prior
from pipeline.types import DEFAULT_TOPOLOGY, Array, Skeletons3D

# Above this p-value nobody is blamed: looking without each joint in turn takes 17 times as long.
SUSPECT = 0.05
CHUNK = 4096


@dataclass(frozen=True, eq=False)
class Plausibility:
    """Of every skeleton in the order of its rows: nats (N,) per joint, in the person's own size; p (N,) against all of the
    clip; blamed (N,) the joint most to blame, -1 where p is above SUSPECT. NaN where too little is known."""

    nats: Array
    p: Array
    blamed: NDArray[np.int64]


def plausibility(skeletons: Iterable[Skeletons3D], weights: str) -> Plausibility:
    """Judge all skeletons of a clip together; they are read twice, for scores and for blame.

    Raises InputError for weights that are no pose prior.
    """
    return judged(lambda: _chunks(skeletons), weights, "audit.prior")


def judged(chunks: Callable[[], Iterable[Array]], weights: str, setting: str) -> Plausibility:
    """The same of joints (N, J, 3), some at a time, however often they are asked for. setting: what names the weights."""
    from models.plausible import p_values, usual_latents

    prior = load_pose_prior(weights, setting)
    scores = [prior.score(xyz_m) for xyz_m in chunks()]
    nats = np.concatenate([np.zeros(0), *(some.nats for some in scores)])
    latent = np.concatenate([np.zeros((0, len(DEFAULT_TOPOLOGY), 3), np.float32), *(some.latent for some in scores)])
    usual = usual_latents(latent)
    p, blamed, first = p_values(usual.surprise(latent)), np.full(len(nats), -1), 0
    for xyz_m in chunks():
        some = np.flatnonzero(p[first : first + len(xyz_m)] < SUSPECT)
        blamed[first + some] = prior.blamed(xyz_m[some], usual)
        first += len(xyz_m)
    return Plausibility(nats, p, blamed)


def _chunks(skeletons: Iterable[Skeletons3D]) -> Iterator[Array]:
    """Joints (N, J, 3) of many instants together."""
    stream = (xyz_m for instant in skeletons for xyz_m in instant.xyz_m)
    while chunk := list(islice(stream, CHUNK)):
        yield np.stack(chunk)
