"""Missing joints of a track: what the pose prior says of them, and what was seen of them before and after, in one posterior.

In the frame of the body, a joint's velocity is an Ornstein-Uhlenbeck process: a standard deviation SPEED_M_S that is forgotten
within FORGOTTEN_S. What that says of a place between sightings is Gaussian regression with a free offset (Rasmussen, Williams
2006, section 2.7); for a moment it is a line through the sightings, and the longer a joint was not seen, the less is known. The
prior's posterior knows no time, but all other joints at the instant. The product of both Gaussians is the posterior of both,
as much wider as they contradict each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.prior_score import Posterior, SkeletonPrior
from models.skeleton import COCO17

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

# From gaps of 0.2 to 1.5 s in clips that the prior learned from, by tests.benchmarks.fit_prior_track: the time is the
# most likely one, the speeds are those at which 95 % ellipsoids cover 95 %.
SPEED_M_S = {
    "nose": 0.19, "eye": 0.17, "ear": 0.19, "shoulder": 0.37, "elbow": 0.7, "wrist": 1.6, "hip": 0.59, "knee": 1.15,
    "ankle": 1.57,
}  # fmt: skip
FORGOTTEN_S = 0.07
# Movements unlike all that speeds were found on are faster: of clips left out one by one 94.0 % were covered, 95 % with this.
FASTER = 1.11
# Sightings on either side of a gap: more than one, for together they are surer than each.
SIGHTINGS = 4
# Joints nearer than this to a missing one tell alike how it moved; farther ones by the square of their distance less.
NEAR_M = 0.1
# Joints that say how a body turned; fewer say how it moved.
LEAST_TURN = 4
DRAWS = 200


@dataclass(frozen=True, eq=False)
class Motion:
    """speed_m_s (J,): standard deviation of a coordinate of a joint's velocity within the body; forgotten_s: for how long."""

    speed_m_s: Array
    forgotten_s: float

    def between(self, joint: int, after_s: Array, noise_m: float) -> tuple[Array, float]:
        """Weights (K,) of sightings at times after_s (K,) from the instant asked for, and the variance of their sum in m2."""
        apart = self._spread(after_s)[:, None] + self._spread(after_s) - self._spread(after_s[:, None] - after_s)
        cov_m2 = self.speed_m_s[joint] ** 2 * apart + noise_m**2 * np.eye(len(after_s))
        weight = np.linalg.solve(cov_m2, np.ones(len(after_s)))
        return weight / weight.sum(), 1.0 / float(weight.sum())

    def _spread(self, after_s: Array) -> Array:
        """Half the variance of how far a joint gets, for a velocity of variance 1: tau^2 (exp(-t / tau) - 1 + t / tau)."""
        share = np.abs(after_s) / self.forgotten_s
        return np.asarray(self.forgotten_s**2 * (np.expm1(-share) + share))


USUAL = Motion(FASTER * np.array([SPEED_M_S[name.split("_")[-1]] for name in COCO17.joints]), FORGOTTEN_S)


def posterior_in_time(
    prior: SkeletonPrior, t_s: Array, xyz_m: Array, noise_m: float = 0.01, rows: Ints | None = None, seed: int = 0
) -> Posterior:
    """Mean (N, J, 3) in m and covariance (N, J, 3, 3) in m2 of one person's missing joints at `rows` (N,) of a track, all by
    default, from the prior and the sightings before and after.

    t_s (F,), xyz_m (F, J, 3): the track, z up, NaN where missing; noise_m: 1 sigma of a coordinate. Joints that were seen stay
    as they are. Raises ValueError for rows with fewer joints than `models.prior.LEAST_SEEN`.
    """
    rows = np.arange(len(xyz_m)) if rows is None else rows
    drawn_m = prior.samples(xyz_m[rows], DRAWS, seed)
    mean_m, covariance_m2 = xyz_m[rows].copy(), np.zeros((len(rows), *xyz_m.shape[1:], 3))
    for n, row in enumerate(rows):
        missing = np.flatnonzero(np.isnan(xyz_m[row]).any(-1))
        if len(missing):
            said = _said(drawn_m[:, n, missing])
            told = [told_by_track(t_s, xyz_m, int(row), int(joint), noise_m) for joint in missing]
            mean_m[n, missing], covariance_m2[n, missing] = _product(*said, told)
    return Posterior(mean_m, covariance_m2)


def told_by_track(
    t_s: Array, xyz_m: Array, row: int, joint: int, noise_m: float, motion: Motion = USUAL
) -> tuple[Array, float] | None:
    """Where a joint is (3,) in m by its sightings before and after `row`, and the variance of a coordinate in m2; None for one
    that was never seen. The sightings are moved as the body moved since, by the joints known at both instants."""
    seen = np.flatnonzero(np.isfinite(xyz_m[:, joint]).all(-1))
    split = int(np.searchsorted(seen, row))
    used = np.concatenate([seen[max(split - SIGHTINGS, 0) : split], seen[split : split + SIGHTINGS]])
    if not len(used):
        return None
    moved_m = np.stack([_moved(xyz_m[k], xyz_m[row], joint) for k in used])
    weight, variance_m2 = motion.between(joint, t_s[used] - t_s[row], noise_m)
    return weight @ moved_m, variance_m2


def _moved(then_m: Array, now_m: Array, joint: int) -> Array:
    """A joint (3,) of a skeleton, moved by the rigid motion of those known in both (Kabsch 1976), near ones above all."""
    both = np.isfinite(then_m).all(-1) & np.isfinite(now_m).all(-1)
    if not both.any():
        return then_m[joint]
    weight = 1.0 / (np.square(then_m[both] - then_m[joint]).sum(-1) + NEAR_M**2)
    weight /= weight.sum()
    from_m, to_m = weight @ then_m[both], weight @ now_m[both]
    turn = _turn(weight[:, None] * (then_m[both] - from_m), now_m[both] - to_m) if both.sum() >= LEAST_TURN else np.eye(3)
    return np.asarray(turn @ (then_m[joint] - from_m) + to_m)


def _turn(then: Array, now: Array) -> Array:
    left, _, right = np.linalg.svd(now.T @ then)
    return np.asarray(left @ np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))]) @ right)


def _said(drawn_m: Array) -> tuple[Array, Array]:
    """Mean (3M,) and covariance (3M, 3M) of draws (D, M, 3)."""
    flat = drawn_m.reshape(len(drawn_m), -1)
    return flat.mean(0), np.cov(flat.T)


def _product(mean_m: Array, cov_m2: Array, told: list[tuple[Array, float] | None]) -> tuple[Array, Array]:
    """Means (M, 3) and covariances (M, 3, 3) of the prior's Gaussian (3M,) times those of the tracks, where there are any."""
    track_m = np.concatenate([one[0] if one else np.zeros(3) for one in told])
    precision = np.diag(np.repeat([1.0 / one[1] if one else 0.0 for one in told], 3))
    # C - C (1 + P C)^-1 P C = (C^-1 + P)^-1, for covariances C that have no inverse, too.
    gain = cov_m2 @ np.linalg.solve(np.eye(len(cov_m2)) + precision @ cov_m2, precision)
    apart_m = track_m - mean_m
    blocks = (cov_m2 - gain @ cov_m2).reshape(len(told), 3, len(told), 3)
    widened = np.array([_disagreement(apart_m[s], cov_m2[s, s], precision[s, s]) for s in _of_joints(len(told))])
    covariance_m2 = blocks[np.arange(len(told)), :, np.arange(len(told))] * widened[:, None, None]
    return (mean_m + gain @ apart_m).reshape(-1, 3), covariance_m2


def _disagreement(apart_m: Array, cov_m2: Array, precision: Array) -> float:
    """By how much two Gaussians are farther apart than they say, at least 1: chi-square per dimension (Birge 1932)."""
    square = apart_m @ np.linalg.solve(np.eye(3) + precision @ cov_m2, precision @ apart_m)
    return max(1.0, float(square) / 3)


def _of_joints(count: int) -> list[slice]:
    return [slice(3 * k, 3 * k + 3) for k in range(count)]
