"""People's joints in one camera over time: linked from frame to frame, and looked up between frames with their velocities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from calibration.camera import Camera
from calibration.rolling_shutter import row_delay_s

Array = NDArray[np.float64]
Whole = NDArray[np.intp]

# Half the width of the window that a parabola is fitted in: a swinging arm is one within it, noise is averaged over it.
HALF_WINDOW_S = 0.15
# Frames of a camera that are compared with another, at most: with more, errors fall by the root of their number.
FRAMES = 1500
# Frames that a person may be unseen and still be the same one; somebody else in the slot comes later than any window reaches.
GAP = 3
# A person moves less than this share of their own height between two frames.
MAX_STEP = 0.25
MIN_JOINTS = 5


@dataclass(frozen=True, eq=False)
class Tracks:
    """Joints of one camera: own times s_s (F,), xy (F, T, J, 2) normalised image coordinates of up to T people at a time (NaN
    unseen), delay_s (F, T, J) by which a rolling shutter read each joint later than the middle of its frame."""

    camera: Camera
    s_s: Array
    xy: Array
    delay_s: Array

    @cached_property
    def sampled(self) -> tuple[Whole, Array]:
        """Numbers (K,) of at most FRAMES frames, evenly spread, and smoothed positions (K, T, J, 2) at them."""
        frames = np.unique(np.linspace(0, len(self.s_s) - 1, min(len(self.s_s), FRAMES)).round().astype(np.intp))
        shape = (len(frames), *self.xy.shape[1:3])
        k, slot, joint = (index.ravel() for index in np.indices(shape))
        return frames, looked_up(self, self.s_s[frames[k]], slot, joint)[0].reshape(*shape, 2)

    @property
    def focal_px(self) -> float:
        """Pixels per unit of the normalised image."""
        return float((self.camera.K[0, 0] + self.camera.K[1, 1]) / 2)


def image_tracks(camera: Camera, s_s: Sequence[float] | Array, people_px: Sequence[Array]) -> Tracks:
    """People (P, J, 2) px of F frames at own times s_s (F,), ascending, as tracks; whoever is not linked begins a new one.
    People of whom hardly a joint is seen are left out."""
    people_px = [people[np.isfinite(people).all(-1).sum(-1) >= MIN_JOINTS] for people in people_px]
    slots = _linked(people_px)
    shape = (len(people_px), max((int(s.max(initial=-1)) for s in slots), default=-1) + 1, *_joints(people_px))
    xy_px = np.full((*shape, 2), np.nan)
    for f, (people, slot) in enumerate(zip(people_px, slots, strict=True)):
        xy_px[f, slot] = people
    delay_s = np.zeros(shape)
    if camera.readout_s:
        delay_s = np.nan_to_num(row_delay_s(xy_px[..., 1], camera.size_wh[1], camera.readout_s))
    return Tracks(camera, np.asarray(s_s, dtype=np.float64), camera.undistort(xy_px).reshape(xy_px.shape), delay_s)


def _joints(people_px: Sequence[Array]) -> tuple[int]:
    return (next((people.shape[1] for people in people_px if people.ndim == 3), 0),)


def _linked(people_px: Sequence[Array]) -> list[Whole]:
    """A slot for every person of every frame: the same one while they can be followed."""
    last: dict[int, tuple[int, Array]] = {}  # slot: when and where somebody was last seen in it
    slots = []
    for f, people in enumerate(people_px):
        mine = np.full(len(people), -1, dtype=np.intp)
        open_slots = [slot for slot, (when, _) in last.items() if f - when <= GAP]
        for slot, p in _nearest([last[slot][1] for slot in open_slots], people):
            mine[p] = open_slots[slot]
        for p in np.flatnonzero(mine < 0).tolist():
            mine[p] = _free_slot(last, f, mine)
        last.update({int(slot): (f, person) for slot, person in zip(mine, people, strict=True)})
        slots.append(mine)
    return slots


def _nearest(before: Sequence[Array], now: Array) -> list[tuple[int, int]]:
    """Pairs (before, now) of the same people, by the mean distance of their joints."""
    if not before or not len(now):
        return []
    apart = np.linalg.norm(np.stack(before)[:, None] - now[None], axis=-1)  # (B, P, J)
    common = np.isfinite(apart).sum(-1)
    mean_px = np.where(common >= MIN_JOINTS, np.nansum(apart, -1) / np.maximum(common, 1), np.inf)
    height_px = np.nanmax(now[..., 1], 1, initial=-np.inf) - np.nanmin(now[..., 1], 1, initial=np.inf)
    share = np.minimum(mean_px / np.maximum(height_px, 1.0), 1e6)
    return [(b, p) for b, p in zip(*linear_sum_assignment(share), strict=True) if share[b, p] <= MAX_STEP]


def _free_slot(last: dict[int, tuple[int, Array]], frame: int, taken: Whole) -> int:
    """The first slot that was empty for so long that no window reaches into what was in it."""
    rest = 4 * GAP + 8
    return next(s for s in range(len(last) + len(taken) + 1) if s not in taken and (s not in last or frame - last[s][0] > rest))


def looked_up(tracks: Tracks, at_s: Array, slot: Whole, joint: Whole) -> tuple[Array, Array]:
    """Positions (N, 2) and velocities (N, 2) per second of joints at own times at_s (N,) of that camera; NaN where too little
    is known around them.

    By a parabola through the window (weights of Epanechnikov): its position and slope have independent errors. Those of a line
    between two frames have not, and a clock found from them leans towards the middle between frames.
    """
    frames, there = _window(tracks, at_s)
    t = tracks.s_s[frames] - at_s[:, None]  # (N, W)
    xy = tracks.xy[frames, slot[:, None], joint[:, None]]  # (N, W, 2)
    weight = np.maximum(1.0 - (t / HALF_WINDOW_S) ** 2, 0.0) * (there & np.isfinite(xy).all(-1))
    enough = ((weight > 0) & (t <= 0)).sum(1).clip(max=2) + ((weight > 0) & (t > 0)).sum(1).clip(max=2) == 4
    scaled = t / HALF_WINDOW_S
    powers = weight[None] * scaled ** np.arange(5)[:, None, None]  # (5, N, W)
    moments = powers.sum(-1)
    normal = np.stack([moments[i : i + 3] for i in range(3)]).transpose(2, 0, 1)
    normal[~enough] = np.eye(3)
    right = powers[:3].transpose(1, 0, 2) @ np.where(weight[..., None] > 0, xy, 0.0)
    fitted = np.linalg.solve(normal + 1e-9 * np.eye(3), right)
    fitted[~enough] = np.nan
    return np.asarray(fitted[:, 0]), np.asarray(fitted[:, 1] / HALF_WINDOW_S)


def _window(tracks: Tracks, at_s: Array) -> tuple[Whole, NDArray[np.bool_]]:
    """(N, W) numbers of the frames around times, and which of them exist."""
    frame_s = float(np.median(np.diff(tracks.s_s)))
    half = int(np.ceil(HALF_WINDOW_S / frame_s)) + 1
    frames = np.searchsorted(tracks.s_s, at_s)[:, None] + np.arange(-half, half + 1)
    return np.clip(frames, 0, len(tracks.s_s) - 1), (frames >= 0) & (frames < len(tracks.s_s))
