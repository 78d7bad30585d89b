"""Four people of the virtual studio who walk through each other, and what noisy detectors in its cameras make of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from calibration.rig import Rig
from models.body import load_body
from pipeline.studio_people import make_actor
from pipeline.studio_scene import film_track, studio_rig
from pipeline.types import Poses2D
from pipeline.walkers import FPS, see

Array = NDArray[np.float64]
PEOPLE = 4
# Circles of 0.8 m radius about these points cross in the middle.
AROUND_M = ((0.35, 0.3), (-0.35, 0.3), (-0.35, -0.3), (0.35, -0.3))
NOISE_PX, MISSING, SWAPPED = 3.0, 0.10, 0.05
LIMBS = ((7, 8), (9, 10), (13, 14), (15, 16))  # elbows, wrists, knees, ankles


def studio_cameras(count: int, size_wh: tuple[int, int] = (640, 480)) -> Rig:
    """The virtual studio's cameras on their arc, without the stereo pair."""
    rig = studio_rig(np.random.default_rng(0), size_wh, count)
    return rig.subset([f"cam{c + 1}" for c in range(count)])


def walkers(instants: int) -> Array:
    """(4, F, J, 3) COCO-17 joints in metres."""
    rng, people = np.random.default_rng(0), []
    for p, around_m in enumerate(AROUND_M):
        actor = make_actor(load_body(), rng)
        track = film_track(actor, "walk", instants, FPS, np.array(around_m), p * 0.9, cycle_s=1.05 + 0.06 * p)
        transforms = [actor.body.bone_transforms(actor.shape, pose) for pose in track.pose]
        joints_m = np.stack([actor.body.posed_joints(actor.shape, each) for each in transforms])
        turn = Rotation.from_euler("z", track.yaw_rad[:, None]).as_matrix()
        placed = np.einsum("fab,fjb->fja", turn, joints_m) + np.pad(track.floor_m, ((0, 0), (0, 1)))[:, None]
        people.append(placed - [0, 0, placed[..., 2].min() - 0.08])
    return np.stack(people)


def detected(rig: Rig, people_m: Array, seed: int = 0) -> list[list[Poses2D | None]]:
    """The true joints with noise in every view, some missing, some limbs exchanged left for right."""
    rng = np.random.default_rng(seed + 1)
    return [[spoiled(pose, rng) for pose in views if pose is not None] for views in see(rig, people_m, NOISE_PX, seed)]


def spoiled(pose: Poses2D, rng: np.random.Generator) -> Poses2D:
    """Joints left out, and pairs of limbs exchanged: each pair of each person by the share SWAPPED."""
    xy_px = pose.xy_px.copy()
    for left, right in LIMBS:
        wrong = rng.random(len(pose)) < SWAPPED
        xy_px[wrong, left], xy_px[wrong, right] = xy_px[wrong, right].copy(), xy_px[wrong, left].copy()
    missing = rng.random(pose.score.shape) < MISSING
    xy_px[missing] = np.nan
    return replace(pose, xy_px=xy_px, score=np.where(missing, 0.0, pose.score))
