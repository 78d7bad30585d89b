"""Reconstruct: from people in every view to skeletons in space with an identity over time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.rig import Rig
from calibration.triangulate import Points3D, triangulate_robust
from calibration.uncertainty import point_covariance
from pipeline.association import Views, Whole, pack, with_mirrored
from pipeline.bumps import Instant, Thinned, bump_figures, clip_bumps
from pipeline.clip_rig import clip_rig
from pipeline.config import ReconstructConfig
from pipeline.forwards import Forwards
from pipeline.pose_prior import prior_figures, told_of_prior
from pipeline.pose_rows import skeletons3d_rows, stream_poses2d
from pipeline.progress import progress
from pipeline.refinement import refined
from pipeline.repair import gathered, repaired
from pipeline.rows_file import rows_file
from pipeline.store import Ref, Store
from pipeline.subframe import NEGLIGIBLE_S, at_the_instant, late_s, lateness_of, velocities_m_s
from pipeline.tables import SKELETONS3D, instants_of
from pipeline.tracking import Limits, Tracker
from pipeline.tracks import with_tracks
from pipeline.types import DEFAULT_TOPOLOGY, Array, Artefact, Skeletons3D

VERSION = "8"

JOINTS = len(DEFAULT_TOPOLOGY)
# Instants handled at once: enough to fill numpy's loops, few enough that memory does not grow with the recording.
CHUNK = 32


def reconstruct(rig: Rig, instants: Iterable[Instant], config: ReconstructConfig) -> Iterator[Skeletons3D]:
    """Skeletons in world metres for every instant, in the order given; people seen by fewer than two views are left out.

    instants: (t_ns, poses of each camera in rig order) in time order. error_px is the mean reprojection error over the views
    used, score their mean detection score, covariance_m2 comes from the noise of the detections and from the rig's covariance
    together. Identities count from 0 and are kept through gaps of up to max_gap_ms.
    """
    match_px, threshold_px = thresholds_px(rig, config)
    limits = Limits(match_px, threshold_px, config.max_step_m, config.max_gap_ms * 1e6, config.min_joints)
    tracker = Tracker(rig, limits)
    stream = iter(instants)
    while chunk := list(islice(stream, CHUNK)):
        yield from _skeletons(rig, chunk, config, tracker)


def _skeletons(rig: Rig, chunk: Sequence[Instant], config: ReconstructConfig, tracker: Tracker) -> list[Skeletons3D]:
    """Skeletons of some instants."""
    views = with_mirrored(pack([poses for _, poses in chunk], JOINTS))
    threshold_px = tracker.limits.pair_px
    whose, names = zip(*tracker.follow([t_ns for t_ns, _ in chunk], views), strict=True)
    instant = np.repeat(np.arange(len(chunk)), [len(w) for w in whose])
    timing = Timing(np.array([t_ns for t_ns, _ in chunk]) / 1e9, _late_s(chunk), instant, np.concatenate(names))
    points, used, score = _points(rig, views, timing, np.concatenate(whose), threshold_px)
    xyz_m = np.where((points.n_views >= config.min_views)[:, None], points.xyz_m, np.nan).reshape(-1, JOINTS, 3)
    known = np.isfinite(xyz_m).all(-1)
    total = np.where(used, score, 0.0).sum(0)
    mean_score = np.where(known, (total / np.maximum(points.n_views, 1)).reshape(known.shape), 0.0)
    error_px = np.where(known, points.error_px.reshape(known.shape), np.nan)
    n_views = np.where(known, points.n_views.reshape(known.shape), 0)
    covariance_m2 = _covariance_m2(rig, xyz_m, error_px, n_views, used)
    who, enough = np.concatenate(names), known.sum(1) >= config.min_joints
    made = []
    for f, (t_ns, _) in enumerate(chunk):
        mine = (instant == f) & enough
        figures = (values[mine] for values in (xyz_m, mean_score, error_px, n_views, covariance_m2))
        made.append(Skeletons3D(t_ns, who[mine], *figures))
    return made


@dataclass(frozen=True, eq=False)
class Timing:
    """t_s (F,) of instants, how much later each camera's frame was taken (F, C), and the instant (G,) and identity (G,) of each
    of G people."""

    t_s: Array
    late_s: Array
    instant: Whole
    who: Whole


def _late_s(chunk: Sequence[Instant]) -> Array:
    return np.array([[0.0 if pose is None else pose.late_s for pose in views] for _, views in chunk])


def _points(
    rig: Rig, views: Views, timing: Timing, whose: Whole, threshold_px: float
) -> tuple[Points3D, NDArray[np.bool_], Array]:
    """The joints (G J) that whose joints (G, C, J) make, the views (C, G J) used for them, and their scores there: first as
    they are, then again with the joints of other limbs and people that fit better, moved to where they were at the instant."""
    xy_px, score = gathered(views, timing.instant, whose)
    points = _robust(rig, xy_px, score, threshold_px)
    used = _used(points, score)
    xyz_m = points.xyz_m.reshape(*score.shape[1:], 3)
    mended = repaired(rig, views, timing.instant, whose, xyz_m, used, threshold_px)
    if (mended != whose).any():
        xy_px, score = gathered(views, timing.instant, mended)
    late = late_s(rig, timing.late_s, timing.instant, xy_px)
    if moving := bool(np.abs(late).max(initial=0.0) > NEGLIGIBLE_S):
        velocity = velocities_m_s(timing.t_s, timing.instant, timing.who, xyz_m)
        xy_px = at_the_instant(rig, xy_px, late, xyz_m, velocity)
    if moving or (mended != whose).any():
        points = _robust(rig, xy_px, score, threshold_px)
        used = _used(points, score)
    return points, used.reshape(len(rig), -1), score.reshape(len(rig), -1)


def _used(points: Points3D, score: Array) -> NDArray[np.bool_]:
    """(C, G, J) which views made which joints."""
    return np.zeros(score.shape, dtype=bool) if points.used is None else points.used.reshape(score.shape)


def _robust(rig: Rig, xy_px: Array, score: Array, threshold_px: float) -> Points3D:
    return triangulate_robust(rig, xy_px.reshape(len(rig), -1, 2), score.reshape(len(rig), -1), threshold_px)


def _covariance_m2(rig: Rig, xyz_m: Array, error_px: Array, n_views: Whole, used: NDArray[np.bool_]) -> Array:
    """(G, J, 3, 3) of joints (G, J, 3) by the views that made them; NaN for a joint that is not known."""
    out = np.full((*xyz_m.shape, 3), np.nan)
    known = np.isfinite(xyz_m).all(-1)
    if known.any():
        noise_px = _noise_px(error_px[known], n_views[known])
        out[known] = point_covariance(rig, xyz_m[known], noise_px, used[:, known.ravel()])
    return out


def _noise_px(error_px: Array, n_views: Whole) -> float:
    """1 sigma of one coordinate of a detection, by what the joints' mean errors (N,) in px leave of it.

    The error of a view is a Rayleigh variable, whose mean is sigma sqrt(pi / 2), and a point fitted to C views takes up 3 of
    their 2 C coordinates.
    """
    left = np.sqrt((2.0 * n_views - 3.0) / (2.0 * n_views))
    return float(error_px.sum() / (np.sqrt(np.pi / 2.0) * left).sum())


def thresholds_px(rig: Rig, config: ReconstructConfig) -> tuple[float, float]:
    """match and threshold in px: a detector works at one image size, so its errors grow with the images of the cameras."""
    longer_px = float(max(max(camera.size_wh) for camera in rig.cameras))
    return config.match_share * longer_px, config.threshold_share * longer_px


def run(store: Store, ref: Ref, config: ReconstructConfig) -> Artefact:
    """Reconstruct one clip; SKELETONS3D rows, written as they come."""
    slot = store.slot("reconstruct", VERSION, config, ref, given=told_of_prior(config.prior))
    if done := slot.done():
        return done
    seen = {artefact.summary["camera"]: artefact for artefact in ref.all("detect")}
    rig, times = clip_rig(ref, seen), instants_of(ref.only("ingest").path)
    tally, thinned = Tally(), Thinned()

    def write(path: Path) -> tuple[int, dict[str, Any]]:
        late = lateness_of(ref.only("ingest").path)
        skeletons = reconstruct(rig, taken_when(instants_seen(times, list(seen.values())), late), config)
        if config.prior:
            skeletons = refined(rig, skeletons, config.prior, thresholds_px(rig, config)[1])
        with rows_file(path, SKELETONS3D) as file, progress(f"reconstruct {ref.clip}", len(times), "instants") as advance:
            for instant in with_tracks(skeletons, config):
                file.write(skeletons3d_rows([instant]))
                tally.add(instant)
                thinned.add(instant)
                advance(1)
        min_shift_px = config.bump_share * max(max(camera.size_wh) for camera in rig.cameras)
        bumps = clip_bumps(rig, instants_seen(times, list(seen.values())), thinned.instants, min_shift_px)
        return tally.rows, tally.figures(rig) | bump_figures(bumps) | prior_figures(config.prior)

    return slot.commit(write)


class Tally:
    """Figures for the result table, counted as instants come: people by identity, instants without anybody, mean error and
    views over all joints."""

    def __init__(self) -> None:
        self.people: set[int] = set()
        self.instants = self.empty = self.rows = self.joints = self.views = 0
        self.error_px = 0.0

    def add(self, instant: Skeletons3D) -> None:
        """Count an instant."""
        known = instant.n_views > 0
        self.people |= set(instant.person.tolist())
        self.instants, self.empty = self.instants + 1, self.empty + (not known.any())
        self.rows, self.joints = self.rows + len(instant), self.joints + int(known.sum())
        self.views += int(instant.n_views.sum())
        self.error_px += float(instant.error_px[known].sum())

    def figures(self, rig: Rig) -> dict[str, Any]:
        """What the stage's summary says."""
        figures: dict[str, Any] = {
            "people": len(self.people), "instants": self.instants, "instants_without_people": self.empty,
        }  # fmt: skip
        if self.joints:
            figures["mean_error_px"] = round(self.error_px / self.joints, 2)
            figures["mean_views"] = round(self.views / self.joints, 2)
        if len(rig) < 2:
            figures["note"] = f"only {', '.join(rig.names)} filmed this clip; joints in space need two cameras"
        return figures


def instants_seen(times: Sequence[int], artefacts: Sequence[Artefact]) -> Iterator[Instant]:
    """Poses of every instant, read as they are needed; poses at no instant are left out."""
    streams = [Forwards(stream_poses2d(artefact.path, JOINTS)) for artefact in artefacts]
    for t_ns in times:
        yield t_ns, [stream.at(t_ns) for stream in streams]


def taken_when(instants: Iterable[Instant], late_s: Mapping[str, Mapping[int, float]]) -> Iterator[Instant]:
    """The same poses that know how much later than its instant each was taken, by camera and t_ns."""
    for t_ns, views in instants:
        yield t_ns, [pose and replace(pose, late_s=late_s.get(pose.camera, {}).get(t_ns, 0.0)) for pose in views]
