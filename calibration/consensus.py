"""Relative poses of camera pairs by vote over all shared board views, and the tree that joins them to a rig."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from calibration.errors import CalibrationError
from calibration.planar import Candidate
from calibration.transforms import Rigid

Array = NDArray[np.float64]

# Two estimates of one relative pose agree to about this much: single-view planar poses are good to 1-3 degrees and 1-3 % of
# the distance to the board.
AGREE_RAD = np.deg2rad(3.0)
AGREE_FRACTION = 0.03
# Views per pair that vote; more cost time quadratically and change nothing.
MAX_VOTERS = 60


@dataclass(frozen=True, eq=False)
class Edge:
    """Two cameras (rig indices and names), first_from_second, the number of shared views and the votes it got (<= views)."""

    first: int
    second: int
    names: tuple[str, str]
    first_from_second: Rigid
    shared_views: int
    votes: float


def pair_edges(candidates: list[list[list[Candidate]]], names: Sequence[str]) -> tuple[Edge, ...]:
    """One edge for every pair of cameras with a shared view; candidates as of `planar.all_candidates`."""
    edges = []
    for first in range(len(names)):
        for second in range(first + 1, len(names)):
            frames = [f for f, (a, b) in enumerate(zip(candidates[first], candidates[second], strict=True)) if a and b]
            if frames:
                ours = [candidates[first][f] for f in frames]
                theirs = [candidates[second][f] for f in frames]
                pose, votes = relative_pose(ours, theirs)
                edges.append(Edge(first, second, (names[first], names[second]), pose, len(frames), votes))
    return tuple(edges)


def relative_pose(first: list[list[Candidate]], second: list[list[Candidate]]) -> tuple[Rigid, float]:
    """first_from_second and its votes, from both planar poses of each shared view (F lists each).

    All four combinations of a view stand for election, but a view has one vote and gives it to its nearest combination.
    The right combination repeats over views while mirrored ones scatter as the board turns.
    """
    R, t, view, trust, depth_m = _proposals(first, second)
    distance = _distances(R, t, depth_m)
    views = int(view[-1]) + 1
    kernel = np.exp(-0.5 * distance**2) * trust
    votes = np.zeros((len(R), views))
    for index in range(views):
        votes[:, index] = kernel[:, view == index].max(1)
    medoid = int(np.argmax(votes.sum(1) + 1e-3 * trust))
    return _mean_near(R, t, view, distance[medoid]), float(votes[medoid].sum())


def _proposals(
    first: list[list[Candidate]], second: list[list[Candidate]]
) -> tuple[Array, Array, NDArray[np.intp], Array, float]:
    """Rotations (n, 3, 3), translations (n, 3), view and trust (n,) of all combinations, and the median board distance."""
    keep = np.unique(np.linspace(0, len(first) - 1, min(len(first), MAX_VOTERS)).round().astype(int))
    R, t, view, trust, depths = [], [], [], [], []
    for place, index in enumerate(keep):
        # A candidate that fits twice as badly as its view's best is believed half as much.
        best = [max(min(c.rms_px for c in side[index]), 0.1) for side in (first, second)]
        for a in first[index]:
            for b in second[index]:
                pose = a.cam_from_board @ b.cam_from_board.inverse()
                R.append(pose.R)
                t.append(pose.t)
                view.append(place)
                trust.append(best[0] / max(a.rms_px, best[0]) * best[1] / max(b.rms_px, best[1]))
                depths.append(a.cam_from_board.t[2])
    return np.stack(R), np.stack(t), np.array(view), np.array(trust), float(np.median(depths))


def _distances(R: Array, t: Array, depth_m: float) -> Array:
    """Pairwise disagreement (n, n) in units of what two good estimates differ by."""
    flat = R.reshape(len(R), 9)
    angle = np.arccos(np.clip(0.5 * (flat @ flat.T - 1.0), -1.0, 1.0))
    apart_m = np.linalg.norm(t[:, None] - t[None], axis=-1)
    return np.hypot(angle / AGREE_RAD, apart_m / (AGREE_FRACTION * depth_m))


def _mean_near(R: Array, t: Array, view: NDArray[np.intp], distance: Array) -> Rigid:
    """Mean of each view's combination nearest to the elected one, of those within three units; medians for translation."""
    chosen = [np.flatnonzero(view == index)[np.argmin(distance[view == index])] for index in range(int(view[-1]) + 1)]
    near = [index for index in chosen if distance[index] <= 3.0]
    return Rigid(Rotation.from_matrix(R[near]).mean().as_matrix(), np.median(t[near], axis=0))


def components(count: int, edges: Sequence[Edge]) -> list[list[int]]:
    """Groups of camera indices joined by edges, in order of their first camera."""
    group = list(range(count))
    for edge in edges:
        low, high = sorted((group[edge.first], group[edge.second]))
        group = [low if g == high else g for g in group]
    return [[index for index in range(count) if group[index] == g] for g in sorted(set(group))]


def film_next(observations: Array, groups: list[list[int]]) -> tuple[int, int]:
    """The pair of cameras from different groups that sees the board at the nearest instants: a board moves little between.

    observations (C, F, M, 2). Ties go to the pair with more views.
    """
    seen = [np.flatnonzero(np.isfinite(views[..., 0]).any(1)) for views in observations]
    ranked = []
    for index, group in enumerate(groups):
        for first in group:
            for second in (camera for other in groups[index + 1 :] for camera in other):
                gap = np.abs(seen[first][:, None] - seen[second][None]).min()
                ranked.append((int(gap), -len(seen[first]) - len(seen[second]), first, second))
    _, _, first, second = min(ranked)
    return first, second


def spanning_poses(count: int, edges: Sequence[Edge]) -> tuple[Rigid, ...]:
    """cam_from_world (C) along the tree with most votes (Prim 1957); the world is the frame of camera 0."""
    poses: dict[int, Rigid] = {0: Rigid.identity()}
    while len(poses) < count:
        reach = [edge for edge in edges if (edge.first in poses) != (edge.second in poses)]
        if not reach:
            raise CalibrationError("spanning_poses: the cameras are not connected")
        edge = max(reach, key=lambda e: e.votes)
        if edge.first in poses:
            poses[edge.second] = edge.first_from_second.inverse() @ poses[edge.first]
        else:
            poses[edge.first] = edge.first_from_second @ poses[edge.second]
    return tuple(poses[index] for index in range(count))
