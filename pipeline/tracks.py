"""People's tracks over time, smoothed: beside the joints of every instant stand those that the whole track makes likely.

Gaps are filled by a Kalman smoother (`pipeline.gaps`), the filter that the user chose runs over what is then whole
(`pipeline.smoothing`), and limbs are held to the person's lengths (`pipeline.limbs`). With a pose prior, joints that no views
gave are where their posterior has them (`pipeline.missing_joints`). A recording streams through in windows
that overlap by more than any filter remembers, so memory does not grow with its length.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.config import ReconstructConfig
from pipeline.gaps import densities, smoothed
from pipeline.limbs import body_limbs, held_to_lengths, limb_lengths_m, median_known
from pipeline.missing_joints import posteriors
from pipeline.pose_prior import load_pose_prior
from pipeline.smoothing import butterworth, one_euro, robust_spline, stretches
from pipeline.types import Array, Skeletons3D

# Instants smoothed at once, and those on either side that are smoothed again with their neighbours: 30 and 3 s of 30 fps.
BLOCK, MARGIN = 900, 90
# Uncertainty of a joint that came without any, 1 sigma.
UNKNOWN_M = 0.02


def with_tracks(instants: Iterable[Skeletons3D], config: ReconstructConfig) -> Iterator[Skeletons3D]:
    """The same skeletons with `smooth_m` and `smooth_sigma_m`, in the same order.

    A person who is missing for up to fill_ms is put back at those instants, with views 0 and only the smoothed joints. With
    config.prior, joints without views of somebody who is seen are smoothed joints, too, and covariance_m2 is their posterior's.
    Raises InputError for weights that are no pose prior.
    """
    if config.smooth == "none":
        yield from instants
        return
    people, window, done = People(config), [], 0
    for instant in instants:
        window.append(instant)
        if len(window) == BLOCK + 2 * MARGIN:
            yield from people.smooth(window)[done : BLOCK + MARGIN]
            window, done = window[BLOCK:], MARGIN
    yield from people.smooth(window)[done:]


@dataclass(frozen=True, eq=False)
class Track:
    """A person between the first and the last of F instants seen: rows of the window, t_s (F,), joints (F, J, 3), covariances
    (F, J, 3, 3)."""

    rows: slice
    t_s: Array
    xyz_m: Array
    covariance_m2: Array


@dataclass(frozen=True, eq=False)
class Smoothed:
    """A track's smoothed joints (F, J, 3) in m, 1 sigma (F, J) of a coordinate, and covariances (F, J, 3, 3) where a pose prior
    put a joint, NaN elsewhere; rows of the window."""

    rows: slice
    joints_m: Array
    sigma_m: Array
    posterior_m2: Array


class People:
    """What is known of each person beyond a window: how joints move, and how long limbs are, both from when they came first."""

    def __init__(self, config: ReconstructConfig) -> None:
        self.config, self.limbs = config, body_limbs()
        self.prior = load_pose_prior(config.prior, "reconstruct.prior") if config.prior else None
        self.known: dict[int, tuple[Array, Array]] = {}

    def smooth(self, window: Sequence[Skeletons3D]) -> list[Skeletons3D]:
        """The instants of a window with everybody's smoothed joints."""
        everybody = sorted({int(who) for instant in window for who in instant.person})
        tracks = {who: self._smooth(who, tracked(window, who)) for who in everybody}
        return [self._at(f, instant, tracks) for f, instant in enumerate(window)]

    def _smooth(self, who: int, track: Track) -> Smoothed:
        """NaN where a gap is too long to fill."""
        if who not in self.known:
            density = densities(track.t_s, track.xyz_m, track.covariance_m2)
            mean_m, _ = smoothed(track.t_s, track.xyz_m, track.covariance_m2, density)
            self.known[who] = density, median_known(limb_lengths_m(mean_m, self.limbs))
        density, lengths_m = self.known[who]
        mean_m, covariance_m2 = smoothed(track.t_s, track.xyz_m, track.covariance_m2, density)
        told = bridged(np.asarray(np.isfinite(track.xyz_m).all(-1)), track.t_s, self.config.fill_ms / 1e3)
        mean_m = np.where(told[..., None], mean_m, np.nan)
        sigma_m = np.where(told, np.sqrt(np.trace(covariance_m2, axis1=-2, axis2=-1) / 3), np.nan)
        joints_m, posterior_m2 = self._filtered(track, mean_m, sigma_m), np.full_like(covariance_m2, np.nan)
        if self.prior is not None:
            where, at_m, posterior_m2 = posteriors(self.prior, track.t_s, track.xyz_m, track.covariance_m2)
            joints_m = np.where(where[..., None], at_m, joints_m)
            covariance_m2 = np.where(where[..., None, None], posterior_m2, covariance_m2)
            sigma_m = np.where(where, np.sqrt(np.trace(covariance_m2, axis1=-2, axis2=-1) / 3), sigma_m)
        if self.config.limb_sigma_m > 0:
            joints_m = held_to_lengths(joints_m, covariance_m2, lengths_m, self.limbs, self.config.limb_sigma_m)
        return Smoothed(track.rows, joints_m, sigma_m, posterior_m2)

    def _filtered(self, track: Track, mean_m: Array, sigma_m: Array) -> Array:
        """The joints as measured, gaps filled with mean_m (F, J, 3), after the filter of the configuration."""
        if self.config.smooth == "kalman":
            return mean_m
        whole_m = np.where(np.isfinite(track.xyz_m), track.xyz_m, mean_m)
        if self.config.smooth == "one_euro":
            return one_euro(whole_m, track.t_s)
        if self.config.smooth == "spline":
            spread_m = np.sqrt(np.trace(track.covariance_m2, axis1=-2, axis2=-1) / 3)
            return robust_spline(whole_m, track.t_s, np.where(np.isfinite(spread_m), spread_m, sigma_m))
        seconds = np.median(np.diff(track.t_s)) if len(track.t_s) > 1 else 1.0
        return butterworth(whole_m, 1 / seconds, self.config.cutoff_hz)

    @staticmethod
    def _at(f: int, instant: Skeletons3D, tracks: dict[int, Smoothed]) -> Skeletons3D:
        here = {who: track for who, track in tracks.items() if track.rows.start <= f < track.rows.stop}
        joints_m = {who: track.joints_m[f - track.rows.start] for who, track in here.items()}
        present = set(instant.person.tolist())
        absent = [who for who in here if who not in present and np.isfinite(joints_m[who]).any()]
        whole = with_absent(instant, absent)
        if not len(whole):
            return whole
        people = [here[who] for who in whole.person.tolist()]
        smooth_m, sigma_m, posterior_m2 = (
            np.stack([values[f - track.rows.start] for track, values in zip(people, some, strict=True)])
            for some in zip(*((track.joints_m, track.sigma_m, track.posterior_m2) for track in people), strict=True)
        )
        given_m2 = whole.covariance_m2
        if given_m2 is not None:
            given_m2 = np.where(np.isfinite(posterior_m2), posterior_m2, given_m2)
        return replace(whole, covariance_m2=given_m2, smooth_m=smooth_m, smooth_sigma_m=sigma_m)


def tracked(window: Sequence[Skeletons3D], who: int) -> Track:
    """One person's track through a window of instants."""
    rows = [(f, int(np.flatnonzero(s.person == who)[0])) for f, s in enumerate(window) if (s.person == who).any()]
    start, stop = rows[0][0], rows[-1][0] + 1
    joints = window[start].xyz_m.shape[1]
    xyz_m, covariance_m2 = np.full((stop - start, joints, 3), np.nan), np.full((stop - start, joints, 3, 3), np.nan)
    for f, p in rows:
        xyz_m[f - start], given = window[f].xyz_m[p], window[f].covariance_m2
        covariance_m2[f - start] = UNKNOWN_M**2 * np.eye(3) if given is None else given[p]
    t_s = np.array([instant.t_ns for instant in window[start:stop]], dtype=np.float64) / 1e9
    return Track(slice(start, stop), t_s, xyz_m, covariance_m2)


def bridged(known: NDArray[np.bool_], t_s: Array, most_s: float) -> NDArray[np.bool_]:
    """(F, J) where joints are known (F, J), or in a gap between two instants at most most_s apart."""
    out = known.copy()
    for joint in range(known.shape[1]):
        for gap in stretches(~known[:, joint]):
            if gap.start > 0 and gap.stop < len(t_s):
                out[gap, joint] = t_s[gap.stop] - t_s[gap.start - 1] <= most_s
    return out


def with_absent(instant: Skeletons3D, absent: Sequence[int]) -> Skeletons3D:
    """The instant with a row for each person of whom it shows nothing, all in the order of identities."""
    if not absent:
        return instant
    shape = (len(absent), instant.xyz_m.shape[1])
    nothing = np.full((*shape, 3), np.nan), np.zeros(shape), np.full(shape, np.nan), np.zeros(shape, dtype=np.int64)
    unknown = None if instant.covariance_m2 is None else np.full((*shape, 3, 3), np.nan)
    rows = Skeletons3D(instant.t_ns, np.array(absent), *nothing, unknown)
    person = np.concatenate([instant.person, rows.person])
    names = ("xyz_m", "score", "error_px", "n_views")
    joined = {name: np.concatenate([getattr(instant, name), getattr(rows, name)]) for name in names}
    covariance_m2 = None if unknown is None else np.concatenate([instant.covariance_m2, unknown])
    return Skeletons3D(instant.t_ns, person, **joined, covariance_m2=covariance_m2).take(np.argsort(person))
