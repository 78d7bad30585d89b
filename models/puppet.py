"""Skeletons of posed bodies without their skins: joints are linear in the rotations of a body's segments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.body import PHENOTYPES, SEGMENTS, Body, Shape

Array = NDArray[np.float64]

# Least and largest phenotype of the people a prior learns from: adolescents to the old, thin to stout.
LEAST, LARGEST = (0.0, 0.45, 0.2, 0.15, 0.25, 0.2), (1.0, 0.95, 0.9, 0.9, 0.85, 0.9)


@dataclass(frozen=True, eq=False)
class Puppet:
    """offsets_m (J, S, 3): joint j of a pose is the sum over segments of rotation times offset, from the pelvis' bone on."""

    offsets_m: Array

    def joints(self, poses: Array) -> Array:
        """COCO-17 joints (N, J, 3) of poses (N, S, 3, 3): body frame, metres, the pelvis' place left out."""
        return np.einsum("nsab,jsb->nja", poses, self.offsets_m, optimize=True)


def make_puppet(body: Body, shape: Shape) -> Puppet:
    """A body's puppet, found by probing: forward kinematics and skinning are linear in rotations, any matrix will do."""
    still = np.zeros((len(SEGMENTS), 3, 3))
    root_m = body.posed_joints(shape, body.bone_transforms(shape, still))
    offsets_m = np.zeros((len(root_m), len(SEGMENTS), 3))
    for segment in range(len(SEGMENTS)):
        for axis in range(3):
            probe = still.copy()
            probe[segment, 0, axis] = 1.0
            moved_m = body.posed_joints(shape, body.bone_transforms(shape, probe))
            offsets_m[:, segment, axis] = (moved_m - root_m)[:, 0]
    return Puppet(offsets_m)


def random_puppet(body: Body, rng: np.random.Generator) -> Puppet:
    """Somebody of a random phenotype."""
    return make_puppet(body, body.shape(dict(zip(PHENOTYPES, rng.uniform(LEAST, LARGEST), strict=True))))
