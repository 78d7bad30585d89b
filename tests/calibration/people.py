"""A person-like cloud of joints that walks in a ring of cameras, and how a camera that was moved sees it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from calibration.camera import Camera
from calibration.rig import Rig
from calibration.transforms import Rigid

JOINTS = 17


def walking(n_frames: int, seed: int = 0, fps: float = 30.0) -> NDArray:
    """(F, 17, 3) m: joints about a body that goes along a smooth path, turns, and whose limbs swing."""
    rng = np.random.default_rng(seed)
    template = rng.normal(0, 1, (JOINTS, 3)) * [0.18, 0.12, 0.45]
    t = np.arange(n_frames) / fps
    phase = rng.uniform(0, 2 * np.pi, (JOINTS, 3))
    body = template + 0.08 * np.sin(2 * np.pi * 1.2 * t[:, None, None] + phase)
    turn = rng.uniform(0, 6) + rng.uniform(-0.6, 0.6) * t
    c, s = np.cos(turn), np.sin(turn)
    zero, one = np.zeros_like(t), np.ones_like(t)
    R = np.stack([np.stack([c, -s, zero], -1), np.stack([s, c, zero], -1), np.stack([zero, zero, one], -1)], 1)
    a, b = rng.uniform(0, 6, 2)
    path = np.stack([0.7 * np.sin(0.5 * t + a), 0.7 * np.sin(0.37 * t + b), 0.95 + zero], -1)
    return np.einsum("fij,fnj->fni", R, body) + path[:, None]


def filmed(
    rig: Rig,
    people_m: NDArray,
    poses: Mapping[str, list[Rigid]] | None = None,
    noise_px: float = 3.0,
    outlier: float = 0.1,
    missing: float = 0.1,
    memory: float = 0.0,
    seed: int = 0,
) -> NDArray:
    """xy_px (C, F, N, 2) of people_m (F, N, 3), the cameras named in `poses` standing there at each frame.

    Gaussian noise per coordinate, of which a share `memory` of the last frame's stays; a share of gross outliers 15 to 150 px
    off, a share of joints missing, and every tenth of that share a whole view.
    """
    rng = np.random.default_rng(seed)
    xy_px = np.stack([_seen(camera, people_m, (poses or {}).get(camera.name)) for camera in rig.cameras])
    noise = rng.normal(0, noise_px, xy_px.shape)
    for frame in range(1, noise.shape[1] if memory else 0):
        noise[:, frame] = memory * noise[:, frame - 1] + np.sqrt(1 - memory**2) * noise[:, frame]
    xy_px = xy_px + noise
    wrong = rng.random(xy_px.shape[:3]) < outlier
    xy_px[wrong] += rng.uniform(15, 150, (wrong.sum(), 2)) * rng.choice([-1, 1], (wrong.sum(), 2))
    xy_px[rng.random(xy_px.shape[:3]) < missing] = np.nan
    xy_px[rng.random(xy_px.shape[:2]) < 0.1 * missing] = np.nan
    return xy_px


def _seen(camera: Camera, people_m: NDArray, poses: list[Rigid] | None) -> NDArray:
    if poses is None:
        return camera.project(people_m.reshape(-1, 3)).reshape(*people_m.shape[:2], 2)
    return np.stack([camera.with_pose(pose).project(points) for pose, points in zip(poses, people_m, strict=True)])


def knock(camera: Camera, shift_px: float, seed: int = 0) -> Rigid:
    """The pose of a camera after a knock that turns and moves it at random, so that points around 0.9 m above the middle of
    the floor shift by shift_px in its image (median)."""
    rng = np.random.default_rng(seed)
    turn, move = rng.normal(0, 1, (2, 3))
    around_m = rng.normal(0, [0.4, 0.4, 0.45], (200, 3)) + [0, 0, 0.95]
    share = 1e-3  # rad, and 2 m per rad: a tripod that is pushed
    for _ in range(5):
        pose = Rigid.from_rvec(share * turn, 2.0 * share * move) @ camera.cam_from_world
        shifted = np.linalg.norm(camera.with_pose(pose).project(around_m) - camera.project(around_m), axis=1)
        share *= shift_px / float(np.median(shifted))
    return Rigid.from_rvec(share * turn, 2.0 * share * move) @ camera.cam_from_world


def knocked_at(camera: Camera, frames: int, bumps: Mapping[int, Rigid]) -> list[Rigid]:
    """The camera's pose at every frame: from each frame of `bumps` on it stands there."""
    poses, pose = [], camera.cam_from_world
    for frame in range(frames):
        pose = bumps.get(frame, pose)
        poses.append(pose)
    return poses
