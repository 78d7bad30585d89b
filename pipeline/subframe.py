"""Joints as every camera would have shown them at the instant itself: frames are taken a little earlier or later, and rows of a
rolling shutter one after the other, while people move."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from calibration.rig import Rig
from calibration.rolling_shutter import row_delay_s
from pipeline.association import Whole
from pipeline.tables import stream_rows
from pipeline.types import Array

# Lateness that moves nobody by anything that a detector could tell: 1 mm at 5 m/s.
NEGLIGIBLE_S = 2e-4
# Velocities are slopes over so many instants to either side.
AROUND = 2


def late_s(rig: Rig, frames_late_s: Array, instant: Whole, xy_px: Array) -> Array:
    """(C, G, J) how much later than their instants joints xy_px (C, G, J, 2) were seen: by frames_late_s (F, C), at the middle
    of a frame, and by the row of a rolling shutter; 0 where nothing is seen. instant (G,) into F."""
    late = np.repeat(frames_late_s[instant].T[..., None], xy_px.shape[2], axis=2)
    for c, camera in enumerate(rig.cameras):
        if camera.readout_s:
            late[c] += row_delay_s(xy_px[c, ..., 1], camera.size_wh[1], camera.readout_s)
    return np.where(np.isfinite(late), late, 0.0)


def velocities_m_s(t_s: Array, instant: Whole, who: Whole, xyz_m: Array) -> Array:
    """(G, J, 3) slopes of the joints (G, J, 3) of people who (G,) at instants (G,) into t_s (F,), through their neighbours in
    time; 0 where there are none."""
    velocity = np.zeros_like(xyz_m)
    for person in np.unique(who):
        rows = np.flatnonzero(who == person)
        near = np.abs(instant[rows][:, None] - instant[rows]) <= AROUND
        weight = (near[..., None] & np.isfinite(xyz_m[rows]).all(-1)).astype(float)  # (G, G', J)
        total = np.maximum(weight.sum(1), 1e-9)
        t, x = t_s[instant[rows]], np.nan_to_num(xyz_m[rows])
        mean_t = np.einsum("gkj,k->gj", weight, t) / total
        off_t = weight * (t[None, :, None] - mean_t[:, None])
        spread = np.einsum("gkj,gkj->gj", off_t, t[None, :, None] - mean_t[:, None])
        slope = np.einsum("gkj,kja->gja", off_t, x) / np.maximum(spread, 1e-12)[..., None]
        velocity[rows] = np.where((spread > 0)[..., None], slope, 0.0)
    return velocity


def at_the_instant(rig: Rig, xy_px: Array, late: Array, xyz_m: Array, velocity_m_s: Array) -> Array:
    """(C, G, J, 2) joints xy_px moved back by what joints at xyz_m (G, J, 3) moved in each view since the instant; unmoved
    where the joint is not known."""
    moved = np.empty_like(xy_px)
    for c, camera in enumerate(rig.cameras):
        then_m = xyz_m + velocity_m_s * late[c, ..., None]
        step_px = (camera.project(then_m.reshape(-1, 3)) - camera.project(xyz_m.reshape(-1, 3))).reshape(xy_px[c].shape)
        moved[c] = xy_px[c] - np.where(np.isfinite(step_px), step_px, 0.0)
    return moved


def lateness_of(path: Path) -> dict[str, dict[int, float]]:
    """Of a FRAMES file: camera -> t_ns of an instant -> seconds by which the camera's frame is later than it."""
    late: dict[str, dict[int, float]] = {}
    for row in stream_rows(path, ["t_ns", "camera", "frame_t_ns"]):
        if row["frame_t_ns"] is not None and row["frame_t_ns"] != row["t_ns"]:
            late.setdefault(row["camera"], {})[row["t_ns"]] = (row["frame_t_ns"] - row["t_ns"]) / 1e9
    return late
