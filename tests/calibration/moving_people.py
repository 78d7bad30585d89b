"""People who move through a rig, filmed by cameras whose clocks are off."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from calibration.clock_tracks import Tracks, image_tracks
from calibration.clocks import Clocks
from calibration.rig import Rig

Array = NDArray[np.float64]
Motion = Callable[[Array], Array]  # session times (F,) s -> joints (F, P, J, 3) m

# A standing person, roughly: COCO-17 in metres, facing -y.
STANDING_M = np.array([
    [0, -0.1, 1.65], [0.03, -0.09, 1.7], [-0.03, -0.09, 1.7], [0.08, 0, 1.66], [-0.08, 0, 1.66], [0.2, 0, 1.42],
    [-0.2, 0, 1.42], [0.25, 0, 1.12], [-0.25, 0, 1.12], [0.26, -0.05, 0.86], [-0.26, -0.05, 0.86], [0.1, 0, 0.92],
    [-0.1, 0, 0.92], [0.1, 0, 0.5], [-0.1, 0, 0.5], [0.1, 0, 0.08], [-0.1, 0, 0.08],
])  # fmt: skip


def wanderers(people: int, seed: int) -> Motion:
    """People who wander on sums of slow sines while their limbs swing, smooth at every time."""
    rng = np.random.default_rng(seed)
    path_hz, path_rad = rng.uniform(0.03, 0.25, (people, 2, 3)), rng.uniform(0, 6.3, (people, 2, 3))
    swing_hz, swing_rad = rng.uniform(0.4, 1.3, (people, 17, 3)), rng.uniform(0, 6.3, (people, 17, 3))
    swing_m = rng.uniform(0.01, 0.12, (people, 17, 1)) * np.array([1.0, 1.0, 0.5])
    home_m = rng.uniform(-0.7, 0.7, (people, 2))

    def motion(t_s: Array) -> Array:
        t = t_s[:, None, None, None]
        floor_m = home_m + 0.35 * np.sin(2 * np.pi * path_hz * t + path_rad).sum(-1)  # (F, P, 2)
        joints_m = STANDING_M + swing_m * np.sin(2 * np.pi * swing_hz * t + swing_rad)
        joints_m[..., :2] += floor_m[:, :, None]
        return joints_m

    return motion


def filmed(
    rig: Rig, motion: Motion, clocks: Clocks, seconds: float, fps: float = 30.0, noise_px: float = 2.0, seed: int = 0
) -> list[Tracks]:
    """What each camera's detector would say at its own times 0..seconds: noisy, a tenth of the joints missing, people in any
    order, rows read one after the other where a camera has a rolling shutter."""
    rng = np.random.default_rng(seed)
    own_s = np.arange(round(seconds * fps)) / fps
    return [_seen(rig, c, motion, clocks, own_s, noise_px, rng) for c in range(len(rig))]


def _seen(rig: Rig, c: int, motion: Motion, clocks: Clocks, own_s: Array, noise_px: float, rng: np.random.Generator) -> Tracks:
    camera = rig.cameras[c]

    def projected(at_s: Array) -> Array:
        joints_m = motion(clocks.session_s(c, at_s))
        return camera.project(joints_m.reshape(-1, 3)).reshape(*joints_m.shape[:-1], 2)

    xy_px = projected(own_s)
    if camera.readout_s:
        speed = (projected(own_s + 1e-3) - xy_px) / 1e-3
        row_s = ((xy_px[..., 1] - (camera.size_wh[1] - 1) / 2) / camera.size_wh[1] * camera.readout_s)[..., None]
        xy_px = xy_px + speed * row_s
    xy_px += rng.normal(0, noise_px, xy_px.shape)
    xy_px[rng.random(xy_px.shape[:-1]) < 0.1] = np.nan
    return image_tracks(camera, own_s, [people[rng.permutation(len(people))] for people in xy_px])
