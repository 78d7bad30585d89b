"""What a pose prior learns from: motions by kind, of people of many shapes, seen with a detector's noise.

Kinds are the studio's gaits and exercises, poses drawn within joint limits, and DeepMimic's clips where pybullet is installed.
Those of HELD_OUT are never learned from: they are what the prior is measured on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from models.body import SEGMENTS, load_body
from models.motion import MOTIONS, clip_pose, clips, jittered, random_pose
from models.puppet import Puppet, random_puppet
from models.skeleton import COCO17

Array = NDArray[np.float64]

HELD_OUT = ("dance_b", "jump", "kick", "punch", "run")
# Share of the poses of a pool: drawn within joint limits, the studio's motions, clips.
SHARES = {"random": 0.4, "studio": 0.2, "clips": 0.4}
JITTER_RAD = 0.15
# Standard deviations: of a joint from good cameras and from bad ones, and of the angle between z and the true vertical.
LEAST_NOISE_M, MOST_NOISE_M, TILT_RAD = 0.003, 0.02, 0.05
UNEVEN = 0.4  # of the logarithm: some joints are found better than others
_ARMS = {side: [SEGMENTS.index(f"{side}_{part}") for part in ("upper_arm", "forearm")] for side in ("left", "right")}
_UPPER = [SEGMENTS.index(name) for name in ("chest", "neck", "head")] + _ARMS["left"] + _ARMS["right"]

# What is taken from another pose, relative to which segment, and how often.
MIXED = ((_UPPER, "pelvis", 0.5), (_ARMS["left"], "chest", 0.25), (_ARMS["right"], "chest", 0.25))


def clip_kinds(held_out: bool) -> list[str]:
    """Names of the clips that are learned from, or of those kept out."""
    return [name for name in clips() if (name in HELD_OUT) == held_out]


def pose_pool(rng: np.random.Generator, count: int) -> Array:
    """Poses (N, S, 3, 3) of every kind that is learned from, jittered; without clips the other kinds take their share."""
    learned = clip_kinds(held_out=False)
    frames = [clip_pose(frame) for name in learned for frame in clips()[name]]
    shares = np.array([SHARES["random"], SHARES["studio"], SHARES["clips"] if learned else 0.0])
    drawn = rng.choice(3, count, p=shares / shares.sum())
    return np.stack([_drawn(int(kind), frames, rng) for kind in drawn])


def _drawn(kind: int, frames: Sequence[Array], rng: np.random.Generator) -> Array:
    if kind == 0:
        return random_pose(rng)
    if kind == 1:
        motion = tuple(MOTIONS.values())[int(rng.integers(len(MOTIONS)))]
        return jittered(motion(rng.uniform(0, 2 * np.pi)), rng, JITTER_RAD)
    return jittered(frames[int(rng.integers(len(frames)))], rng, JITTER_RAD)


@dataclass(frozen=True, eq=False)
class Crowd:
    """Skeletons without end: any pose of a pool (M, S, 3, 3) on any puppet (joint offsets (K, J, S, 3))."""

    poses: Array
    offsets_m: Array

    @staticmethod
    def of(poses: Array, puppets: Sequence[Puppet]) -> Crowd:
        """The crowd of these people in these poses."""
        return Crowd(poses, np.stack([puppet.offsets_m for puppet in puppets]))

    def skeletons(self, rng: np.random.Generator, count: int) -> Array:
        """(N, J, 3) in metres, z up, root at the pelvis, any heading, half of them mirrored, with noise."""
        who = rng.integers(len(self.offsets_m), size=count)
        poses = self._mixed(rng, count)
        xyz_m = np.einsum("nsab,njsb->nja", poses, self.offsets_m[who], optimize=True)
        flip = rng.random(count) < 0.5
        xyz_m[flip] = mirrored(xyz_m[flip])
        tilt, heading = rng.normal(0, TILT_RAD, (count, 3)), rng.uniform(-np.pi, np.pi, (count, 1))
        turn = (Rotation.from_rotvec(tilt) * Rotation.from_euler("z", heading)).as_matrix()
        xyz_m = np.einsum("nab,njb->nja", turn, xyz_m)
        noise_m = np.exp(rng.uniform(np.log(LEAST_NOISE_M), np.log(MOST_NOISE_M), (count, 1, 1)))
        noise_m = noise_m * np.exp(rng.normal(0, UNEVEN, (count, xyz_m.shape[1], 1)))
        return xyz_m + noise_m * rng.normal(size=xyz_m.shape)

    def _mixed(self, rng: np.random.Generator, count: int) -> Array:
        """Poses (N, S, 3, 3), some with the upper body or an arm of other ones."""
        poses = self._any(rng, count)
        for segments, parent, share in MIXED:
            other, changed = self._any(rng, count), np.flatnonzero(rng.random(count) < share)
            joint = SEGMENTS.index(parent)
            turn = np.einsum("nab,ncb->nac", poses[changed, joint], other[changed, joint])
            rows = changed[:, None]
            poses[rows, segments] = turn[:, None] @ other[rows, segments]
        return poses

    def _any(self, rng: np.random.Generator, count: int) -> Array:
        return self.poses[rng.integers(len(self.poses), size=count)]


def make_crowd(people: int, poses: int, seed: int) -> Crowd:
    """So many random people and poses, all from the seed. Raises ImportError where anny is not installed."""
    rng, body = np.random.default_rng(seed), load_body()
    puppets = [random_puppet(body, rng) for _ in range(people)]
    return Crowd.of(pose_pool(rng, poses), puppets)


def mirrored(xyz_m: Array) -> Array:
    """Skeletons (N, J, 3) seen in a mirror, left and right named anew: people again."""
    return xyz_m[:, list(COCO17.mirror)] * np.array([-1.0, 1.0, 1.0])


def clip_skeletons(puppet: Puppet, kind: str) -> tuple[Array, Array]:
    """t_s (F,) and noiseless joints (F, J, 3) of one clip; the pelvis moves as in the clip."""
    frames = clips()[kind]
    xyz_m = puppet.joints(np.stack([clip_pose(frame) for frame in frames]))
    # DeepMimic's root: x forward, y up, z right; ours: left x, front -y, up z.
    root_m = np.stack([-frames[:, 3], -frames[:, 1], frames[:, 2]], axis=-1)
    return np.cumsum(frames[:, 0]) - frames[0, 0], xyz_m + root_m[:, None]
