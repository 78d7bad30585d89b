"""Who is who over time: people are expected where they were going, and claim whom each view shows there.

Association with the previous instant (4D association: Zhang et al. 2020, CVPR), but in space: a person's joints, moved on by
her velocity, are projected into every view, and each view's people are assigned to those who are expected there. Only people
whom nobody claims are associated anew. A person seen in too few views to be sure of claims nobody: she is associated anew at
each instant and keeps her identity by where she stands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from calibration import symmetric
from calibration.rig import Rig
from calibration.triangulate import PARALLEL
from models.skeleton import Topology
from pipeline.association import COMMON_JOINTS, MIRROR_COST, Views, Whole, associate, mean_error
from pipeline.types import DEFAULT_TOPOLOGY, Array

# A person whom this many views show claims her people; rigs of two cameras have no more.
SURE_VIEWS = 3
# Share of the newest step in a person's velocity: one step of noisy joints is no good guide to the next.
NEWEST = 0.5
UPPER = np.triu_indices(3)


@dataclass(frozen=True)
class Limits:
    """match_px, pair_px: as `associate`. A person moves at most max_step_m beyond where she is expected, keeps her identity
    through gaps of max_gap_ns, and is new only with min_joints in space."""

    match_px: float
    pair_px: float
    max_step_m: float
    max_gap_ns: float
    min_joints: int


@dataclass(frozen=True, eq=False)
class Rays:
    """People in F instants without their lenses. ideal (F, C, P, J, 2): pixels on the plane at focal length, NaN for missing;
    planes (F, C, P, J, 9): upper triangle of I - d d' and (I - d d') c of each ray c + s d, 0 for missing."""

    ideal_px: Array
    planes: Array


@dataclass(frozen=True, eq=False)
class Tracks:
    """T people: identities who (T,) ascending, t_ns (T,) when seen last, joints xyz_m (T, J, 3) then, and the velocity (T, 3)
    of their bodies in m/s."""

    who: Whole
    t_ns: Whole
    xyz_m: Array
    velocity_m: Array

    @staticmethod
    def nobody(joints: int) -> Tracks:
        """No people yet."""
        return Tracks(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, joints, 3)), np.zeros((0, 3)))

    def take(self, rows: Whole) -> Tracks:
        """Some of them."""
        return Tracks(self.who[rows], self.t_ns[rows], self.xyz_m[rows], self.velocity_m[rows])

    def expected_m(self, t_ns: int) -> Array:
        """(T, J, 3) where the joints will be if the bodies move on."""
        return self.xyz_m + (self.velocity_m * ((t_ns - self.t_ns) * 1e-9)[:, None])[:, None]

    def seen(self, t_ns: int, who: Whole, xyz_m: Array) -> Tracks:
        """With people who (G,) at joints (G, J, 3) now, new ones among them; joints not known move with the body."""
        rows = np.searchsorted(self.who, who)
        old = np.isin(who, self.who)
        before, new = self.take(rows[old]), who[~old]
        now_m, seconds = xyz_m[old], (t_ns - before.t_ns) * 1e-9
        step_m = median_m(now_m - before.xyz_m)
        newest = np.where(np.isfinite(step_m), step_m / np.maximum(seconds, 1e-3)[:, None], before.velocity_m)
        velocity_m = (1 - NEWEST) * before.velocity_m + NEWEST * newest
        moved_m = np.where(np.isfinite(now_m), now_m, before.expected_m(t_ns))
        rest = self.take(np.flatnonzero(~np.isin(self.who, who)))
        joined = np.r_[rest.who, before.who, new]
        order = np.argsort(joined)
        return Tracks(
            joined[order],
            np.r_[rest.t_ns, np.full(len(who), t_ns)][order],
            np.concatenate([rest.xyz_m, moved_m, xyz_m[~old]])[order],
            np.concatenate([rest.velocity_m, velocity_m, np.zeros((len(new), 3))])[order],
        )


def median_m(step_m: Array) -> Array:
    """(T, 3) medians over the joints of (T, J, 3) that are known; NaN without any."""
    if not len(step_m):
        return np.zeros((0, 3))
    ascending, known = np.sort(step_m, axis=1), np.isfinite(step_m).all(-1).sum(1)  # NaN last
    rows, middle = np.arange(len(step_m)), np.maximum(known, 1)
    return np.asarray((ascending[rows, (middle - 1) // 2] + ascending[rows, middle // 2]) / 2)


class Tracker:
    """Groups of people in views, with identities that last; instants must be given in the order of time."""

    def __init__(self, rig: Rig, limits: Limits, topology: Topology = DEFAULT_TOPOLOGY) -> None:
        self.rig, self.limits, self.topology = rig, limits, topology
        self.tracks = Tracks.nobody(len(topology))
        self.next = 0
        self.R = np.stack([camera.cam_from_world.R for camera in rig.cameras])
        self.t = np.stack([camera.cam_from_world.t for camera in rig.cameras])
        self.focal_px = np.array([[camera.K[0, 0], camera.K[1, 1]] for camera in rig.cameras])
        self.sure = min(SURE_VIEWS, len(rig))

    def rays(self, views: Views) -> Rays:
        """The rays of people as packed; of many instants at once, for this is where the lenses cost time."""
        people, mirror = views.score.shape[2] // 2, list(self.topology.mirror)
        ideal, planes = [], []
        for c, camera in enumerate(self.rig.cameras):
            xy_px = views.xy_px[:, c, :people]
            x, y = camera.undistort(xy_px.reshape(-1, 2)).T.reshape(2, *xy_px.shape[:-1])
            toward = np.stack([x, y, np.ones_like(x)], -1) @ self.R[c] / np.sqrt(x * x + y * y + 1.0)[..., None]
            off = np.eye(3)[UPPER] - toward[..., UPPER[0]] * toward[..., UPPER[1]]
            off_centre = camera.centre_m - toward * (toward @ camera.centre_m)[..., None]
            ideal.append(np.stack([x, y], -1) * self.focal_px[c])
            planes.append(np.nan_to_num(np.concatenate([off, off_centre], -1)))
        both = [np.stack(part, axis=1) for part in (ideal, planes)]  # (F, C, P, J, ...)
        return Rays(*(np.concatenate([part, part[..., mirror, :]], axis=2) for part in both))

    def follow(self, times: list[int], views: Views) -> list[tuple[Whole, Whole]]:
        """Per instant whose joints make which person, (G, C, J) in 0..2P with -1 for none, and identities (G,), ascending.

        views: people and their mirror images, 2P in all.
        """
        cameras, people, joints = views.score.shape[1:]
        if not people:
            return [(np.zeros((0, cameras, joints), dtype=np.int64), np.zeros(0, dtype=np.int64)) for _ in times]
        rays = self.rays(views)
        return [
            self._instant(t_ns, Views(views.xy_px[f], views.score[f]), Rays(rays.ideal_px[f], rays.planes[f]))
            for f, t_ns in enumerate(times)
        ]

    def _instant(self, t_ns: int, views: Views, rays: Rays) -> tuple[Whole, Whole]:
        self.tracks = self.tracks.take(np.flatnonzero(t_ns - self.tracks.t_ns <= self.limits.max_gap_ns))
        who, whose, xyz_m = self._claimed(t_ns, rays)
        if len(rest := self._unclaimed(views, whose.max(2, initial=-1))):
            rest = np.repeat(rest[..., None], whose.shape[2], axis=2)
            rest_m = solved(rays, rest)
            who = np.r_[who, self._named(t_ns, who, rest_m)]
            whose, xyz_m = np.r_[whose, rest], np.concatenate([xyz_m, rest_m])
        kept = np.argsort(who)[(who < 0).sum() :]
        self.tracks = self.tracks.seen(t_ns, who[kept], xyz_m[kept])
        return whose[kept], who[kept]

    def _claimed(self, t_ns: int, rays: Rays) -> tuple[Whole, Whole, Array]:
        """Identities (G,), whose joints (G, C, J) and joints (G, J, 3) of people who surely are where they were expected."""
        expected_px = self._project(self.tracks.expected_m(t_ns))
        groups = assigned(self._gain(expected_px[:, :, None], rays.ideal_px[:, None]))
        whose = self._right_way_round(expected_px, rays.ideal_px, groups)
        xyz_m = solved(rays, whose)
        gain = self._gain(self._project(xyz_m), joints_of(rays.ideal_px, whose))
        whose = np.where((gain.T > 0)[..., None], whose, -1)
        sure = (whose >= 0).any(2).sum(1) >= self.sure
        return self.tracks.who[sure], whose[sure], xyz_m[sure]

    def _project(self, xyz_m: Array) -> Array:
        """(C, G, J, 2) where joints (G, J, 3) are in the views without their lenses; NaN behind a camera."""
        cam_m = xyz_m.reshape(-1, 3) @ self.R.swapaxes(1, 2) + self.t[:, None]  # (C, G J, 3)
        depth_m = np.where(cam_m[..., 2:] > 1e-9, cam_m[..., 2:], np.nan)
        return (cam_m[..., :2] / depth_m * self.focal_px[:, None]).reshape(len(self.R), *xyz_m.shape[:2], 2)

    def _gain(self, expected_px: Array, seen_px: Array) -> Array:
        """How well joints (..., J, 2) seen agree with those expected: up to 1, 0 and less for nothing."""
        off_px = distance_px(seen_px, expected_px)
        return 1.0 - mean_error(off_px, np.isfinite(off_px), self.limits.match_px) / self.limits.match_px

    def _right_way_round(self, expected_px: Array, ideal_px: Array, groups: Whole) -> Whole:
        """(G, C, J) whose joints make groups (G, C): left and right of a limb exchanged where that fits (C, G, J, 2) better.

        Which side is which most views say, not the past: people whose limbs were exchanged once would stay so.
        """
        mirror, half = list(self.topology.mirror), ideal_px.shape[1] // 2
        whose = np.repeat(groups[..., None], len(mirror), axis=2)
        exchanged = np.where(whose >= 0, (whose + half) % (2 * half), -1)
        cost_px = [distance_px(joints_of(ideal_px, w), expected_px) for w in (whose, exchanged)]
        as_is, other = (cost + cost[..., mirror] for cost in (np.where(c == c, c, 0.0) for c in cost_px))
        gained_px = (as_is - other).swapaxes(0, 1)
        wrong = gained_px > self.limits.pair_px
        most = 2 * wrong.sum(1) > ((gained_px != 0) & (whose >= 0)).sum(1)
        wrong = np.where(most[:, None], gained_px < -self.limits.pair_px, wrong)
        return np.where(wrong, exchanged, whose)

    def _unclaimed(self, views: Views, groups: Whole) -> Whole:
        """Groups (G, C) of the people whom the groups given leave over."""
        left = (views.score > 0).sum(-1) >= COMMON_JOINTS  # (C, 2P)
        people = left.shape[1] // 2
        camera = np.nonzero(groups >= 0)[1]
        person = groups[groups >= 0] % people
        left[camera, person] = left[camera, person + people] = False
        if left.any(1).sum() < 2:
            return np.zeros((0, len(self.rig)), dtype=np.int64)
        free = Views(
            np.where(left[..., None, None], views.xy_px, np.nan)[None], np.where(left[..., None], views.score, 0.0)[None]
        )
        return associate(self.rig, free, self.limits.match_px, self.limits.pair_px, self.topology)[0]

    def _named(self, t_ns: int, taken: Whole, xyz_m: Array) -> Whole:
        """(G,) identities of joints (G, J, 3): of whoever was expected nearest, or new ones; -1 with too few joints."""
        who = np.full(len(xyz_m), -1, dtype=np.int64)
        free = self.tracks.take(np.flatnonzero(~np.isin(self.tracks.who, taken)))
        if len(free.who):
            away_m = np.stack([distance_m(expected_m, xyz_m) for expected_m in free.expected_m(t_ns)])
            rows, columns = linear_sum_assignment(np.where(away_m <= self.limits.max_step_m, away_m, 1e3))
            near = away_m[rows, columns] <= self.limits.max_step_m
            who[columns[near]] = free.who[rows[near]]
        new = np.flatnonzero((who < 0) & (np.isfinite(xyz_m).all(-1).sum(-1) >= self.limits.min_joints))
        who[new] = np.arange(self.next, self.next + len(new))
        self.next += len(new)
        return who


def joints_of(seen: Array, whose: Whole) -> Array:
    """(C, G, J, ...) of values (C, 2P, J, ...) at one instant, by whose joints (G, C, J) they are; any value for -1."""
    cameras, joints = np.arange(whose.shape[1])[:, None, None], np.arange(whose.shape[2])
    return np.asarray(seen[cameras, whose.swapaxes(0, 1), joints])


def solved(rays: Rays, whose: Whole) -> Array:
    """(G, J, 3) the points nearest in metres to the rays of joints (G, C, J), NaN where fewer than two meet."""
    planes = np.where((whose >= 0).swapaxes(0, 1)[..., None], joints_of(rays.planes, whose), 0.0).sum(0)  # (G, J, 9)
    A, b = planes[..., :6].reshape(-1, 6).T, planes[..., 6:].reshape(-1, 3).T
    return symmetric.times(symmetric.inverse(A, PARALLEL), b).T.reshape(*planes.shape[:2], 3)


def distance_px(a: Array, b: Array) -> Array:
    """(...) between points (..., 2): much faster than a norm over an axis of two."""
    x, y = a[..., 0] - b[..., 0], a[..., 1] - b[..., 1]
    return np.asarray(np.sqrt(x * x + y * y))


def assigned(gain: Array) -> Whole:
    """(G, C) the person of each view who belongs to each of G people, by gains (C, G, 2P); -1 for none.

    P and more stand for people whose left and right are exchanged in that view; when these weigh more, it is the other views.
    """
    people = gain.shape[2] // 2
    if not gain.size:
        return np.full(gain.shape[1::-1], -1, dtype=np.int64)
    turned = gain[..., people:] - MIRROR_COST > gain[..., :people]
    either = np.maximum(np.where(turned, gain[..., people:] - MIRROR_COST, gain[..., :people]), 0.0)
    person = either.argmax(2)  # the best assignment, where nobody is wanted twice
    wants = either.max(2) > 0
    same = (person[:, :, None] == person[:, None]) & wants[:, None] & wants[:, :, None]
    for c in np.flatnonzero(same.sum((1, 2)) > wants.sum(1)):
        rows, columns = linear_sum_assignment(either[c], maximize=True)
        without = np.setdiff1d(np.arange(len(either[c])), rows)
        person[c, rows], either[c, without] = columns, 0.0
    at = (np.arange(len(gain))[:, None], np.arange(gain.shape[1]), person)
    weight, turned = either[at], turned[at]
    exchanged = np.where(turned, -weight, weight).sum(0) < 0
    return np.where(weight > 0, (person + people * (turned ^ exchanged)), -1).T


def distance_m(expected_m: Array, now_m: Array) -> Array:
    """(P,) how far skeletons (P, J, 3) are from one (J, 3): the median over common joints, which a few wrong ones do not
    move; infinitely far where they share none."""
    away = np.linalg.norm(now_m - expected_m, axis=-1)
    shared = np.isfinite(away).any(1)
    distance = np.full(len(now_m), np.inf)
    distance[shared] = np.nanmedian(away[shared], axis=1)
    return distance
