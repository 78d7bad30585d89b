"""Cameras bumped while people were filmed: told from the joints that the views share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from calibration.bump import Bump, find_bumps
from calibration.rig import Rig
from pipeline.types import DEFAULT_TOPOLOGY, Array, Poses2D, Skeletons3D

# One instant: its time, and who each camera of the rig saw then (None: nobody).
Instant = tuple[int, Sequence[Poses2D | None]]

# A bumped camera shows people elsewhere: they are looked for within this share of the images' longer side, five times the
# distance at which people match. Further away they are taken for somebody else.
REACH_SHARE = 0.15
# What they are known by is their shape: joints differ from it by at most this share once the mean offset is taken away.
SHAPE_SHARE = 0.02
LEAST_JOINTS = 5
# People looked at in one instant, and instants of a recording: a thinned hour tells a bump to within a second.
MOST_PEOPLE, MOST_INSTANTS = 3, 4000
DIGITS = 2  # of the figures in a summary


class Thinned:
    """Instants with people as they come, every one while they are few and ever fewer, evenly, so that MOST_INSTANTS to twice as
    many are kept however long a recording is."""

    def __init__(self) -> None:
        self.instants: list[Skeletons3D] = []
        self._every, self._seen = 1, 0

    def add(self, instant: Skeletons3D) -> None:
        """Take an instant, or leave it out."""
        if not (instant.n_views > 0).any():
            return
        if self._seen % self._every == 0:
            self.instants.append(instant)
        self._seen += 1
        if len(self.instants) >= 2 * MOST_INSTANTS:
            self.instants, self._every = self.instants[::2], 2 * self._every


def clip_bumps(
    rig: Rig, instants: Iterable[Instant], skeletons: Iterable[Skeletons3D], min_shift_px: float
) -> tuple[Bump, ...]:
    """Bumps of one clip, in time order. rig in the clip's pixels; skeletons of some of the instants."""
    if len(rig) < 2:
        return ()
    t_ns, xy_px = shared_joints(rig, instants, skeletons)
    return find_bumps(rig, t_ns, xy_px, min_shift_px=min_shift_px) if len(t_ns) else ()


def shared_joints(rig: Rig, instants: Iterable[Instant], skeletons: Iterable[Skeletons3D]) -> tuple[Array, Array]:
    """t_ns (F,) and distorted px (C, F, N, 2) of the joints of people as every view shows them, NaN unseen.

    Not only views that agree: people are also followed to where a bumped camera shows them. Skeletons that no instant has the
    time of are not used.
    """
    of_time = {found.t_ns: found for found in skeletons if len(found)}
    people = max((min(len(found), MOST_PEOPLE) for found in of_time.values()), default=0)
    joints = len(DEFAULT_TOPOLOGY)
    times, rows = [], []
    for t_ns, views in instants:
        if t_ns in of_time:
            xy_px = np.full((len(rig), people, joints, 2), np.nan)
            for c, pose in enumerate(views):
                if pose is not None and len(pose):
                    _follow(rig, c, pose, of_time[t_ns], xy_px[c])
            times.append(t_ns)
            rows.append(xy_px.reshape(len(rig), -1, 2))
    if not rows:
        return np.zeros(0, dtype=np.int64), np.zeros((len(rig), 0, 0, 2))
    return np.array(times, dtype=np.int64), np.stack(rows, axis=1)


def _follow(rig: Rig, c: int, pose: Poses2D, found: Skeletons3D, into: Array) -> None:
    """Write into (P, J, 2) the joints of whoever in a camera's view has the shape of each skeleton and stands nearest."""
    camera = rig.cameras[c]
    longer_px = max(camera.size_wh)
    chosen = np.argsort(-found.n_views.sum(1), kind="stable")[: len(into)]
    expected = np.stack([camera.project(found.xyz_m[p]) for p in chosen])  # (P, J, 2)
    seen = np.where((pose.score > 0)[..., None], pose.xy_px, np.nan)
    both = np.stack([seen, seen[:, list(DEFAULT_TOPOLOGY.mirror)]])  # (2, Q, J, 2): as detected, left and right exchanged
    away = both[:, None] - expected[None, :, None]  # (2, P, Q, J, 2)
    known = np.isfinite(away[..., 0]) & np.isfinite(away[..., 1])
    enough = known.sum(-1) >= LEAST_JOINTS
    away = np.where(known[..., None] & enough[..., None, None], away, np.nan)
    offset = _median(away, axis=-2)
    shape_px = _median(np.linalg.norm(away - offset[..., None, :], axis=-1), axis=-1)  # (2, P, Q)
    turned = shape_px.argmin(0)
    shape_px = shape_px.min(0)
    offset_px = np.take_along_axis(np.linalg.norm(offset, axis=-1), turned[None], 0)[0]
    fits = (shape_px <= SHAPE_SHARE * longer_px) & (offset_px <= REACH_SHARE * longer_px)
    for p, q in zip(*linear_sum_assignment(np.where(fits, offset_px, 1e9)), strict=True):
        if fits[p, q]:
            into[p] = both[turned[p, q], q]


def _median(values: Array, axis: int) -> Array:
    """Median of the known; infinite where nothing is. numpy's own takes 7 to 60 times as long on so few values."""
    known = (~np.isnan(values)).sum(axis, keepdims=True)
    ordered = np.sort(values, axis=axis)  # what is not known goes last
    low, high = (np.take_along_axis(ordered, np.maximum(place, 0), axis) for place in ((known - 1) // 2, known // 2))
    return np.asarray(np.where(known > 0, 0.5 * (low + high), np.inf).squeeze(axis))


def bump_figures(bumps: Sequence[Bump]) -> dict[str, Any]:
    """What a stage's summary says of them: `bumps`, a row each, and a `warning` in words when there are any."""
    rows = [
        {
            "camera": " or ".join(bump.suspects),
            "time_s": round(bump.t_ns / 1e9, 3),
            "shift_px": round(bump.size.shift_px, DIGITS),
            "rotation_mrad": round(bump.size.rotation_mrad, DIGITS),
            "significance": round(bump.significance, DIGITS),
        }
        for bump in bumps
    ]
    told = "; ".join(
        f"{row['camera']} was bumped at {row['time_s']} s (its image shifted by {row['shift_px']} px, the camera turned by "
        f"{row['rotation_mrad']} mrad)"
        for row in rows
    )
    warning = f"{told}: what it filmed since does not fit the rig; `posemill recalibrate` solves that camera anew"
    return {"bumps": rows} | ({"warning": warning} if rows else {})
