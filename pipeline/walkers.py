"""Known truth without a film: a ring of cameras and people who walk among them, as `posemill bench` and tests need it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.camera import Camera
from calibration.rig import Rig
from calibration.transforms import look_at
from pipeline.types import Poses2D

NS = 1_000_000_000
FPS = 30

# An adult standing upright in COCO-17 order, facing -y, left is +x; metres.
STANDING_M = np.array(
    [
        [0.00, -0.12, 1.62], [0.03, -0.10, 1.66], [-0.03, -0.10, 1.66], [0.07, -0.01, 1.63], [-0.07, -0.01, 1.63],
        [0.18, 0.00, 1.42], [-0.18, 0.00, 1.42], [0.26, 0.02, 1.13], [-0.26, 0.02, 1.13], [0.28, -0.10, 0.90],
        [-0.28, -0.10, 0.90], [0.11, 0.00, 0.92], [-0.11, 0.00, 0.92], [0.12, -0.02, 0.50], [-0.12, -0.02, 0.50],
        [0.12, 0.02, 0.08], [-0.12, 0.02, 0.08],
    ]
)  # fmt: skip


def ring(cameras: int = 4, radius_m: float = 4.0, height_m: float = 1.6, size_wh: tuple[int, int] = (960, 720)) -> Rig:
    """Cameras cam1, cam2, ... on a circle that look at its middle."""
    K = np.array([[700.0, 0, size_wh[0] / 2], [0, 700, size_wh[1] / 2], [0, 0, 1]])
    angles = np.linspace(0, 2 * np.pi, cameras, endpoint=False) + 0.3
    return Rig(
        tuple(
            Camera(
                f"cam{c + 1}", size_wh, K, np.array([-0.1, 0.02, 0, 0, 0]), "brown",
                look_at([radius_m * np.cos(a), radius_m * np.sin(a), height_m], [0, 0, 0.9]),
            )
            for c, a in enumerate(angles)
        )
    )  # fmt: skip


def walk(start_m: tuple[float, float], velocity_m: tuple[float, float], instants: int, turn_rad: float = 0.0) -> NDArray:
    """(F, J, 3) a person who walks: limbs swing, the body moves and faces turn_rad."""
    t = np.arange(instants) / FPS
    body = np.repeat(STANDING_M[None], instants, axis=0)
    swing = 0.15 * np.sin(2 * np.pi * 1.5 * t)
    for joint, share in ((15, 1.0), (16, -1.0), (9, -0.8), (10, 0.8), (7, -0.4), (8, 0.4), (13, 0.5), (14, -0.5)):
        body[:, joint, 1] += share * swing
    c, s = np.cos(turn_rad), np.sin(turn_rad)
    body = body @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1.0]])
    body[..., :2] += np.array(start_m) + t[:, None, None] * np.array(velocity_m)
    return body


def see(rig: Rig, people_m: NDArray, noise_px: float = 0.0, seed: int = 0) -> list[list[Poses2D | None]]:
    """What every camera sees of people_m (P, F, J, 3): per instant one Poses2D per camera, people shuffled within it."""
    rng = np.random.default_rng(seed)
    instants = []
    for f in range(people_m.shape[1]):
        views: list[Poses2D | None] = []
        for camera in rig.cameras:
            xy_px = camera.project(people_m[:, f].reshape(-1, 3)).reshape(len(people_m), -1, 2)
            xy_px = (xy_px + rng.normal(0, noise_px, xy_px.shape))[rng.permutation(len(people_m))]
            views.append(Poses2D(camera.name, time_ns(f), xy_px, np.full(xy_px.shape[:2], 0.9), np.zeros((len(xy_px), 1))))
        instants.append(views)
    return instants


def time_ns(instant: int) -> int:
    """When an instant is, in ns."""
    return instant * NS // FPS
