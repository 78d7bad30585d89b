"""What a prior learns from: puppets move as their bodies do, crowds follow their seed."""

from __future__ import annotations

import numpy as np
import pytest

from models.body import SEGMENTS, load_body
from models.motion import random_pose
from models.prior_masks import MOST_MISSING, any_seen, few_missing
from models.prior_motion import LEAST_NOISE_M, MOST_NOISE_M, Crowd, mirrored, pose_pool
from models.puppet import Puppet, make_puppet
from models.skeleton import COCO17

STRAIGHT = np.tile(np.eye(3), (1, len(SEGMENTS), 1, 1))


def crowd() -> Crowd:
    rng = np.random.default_rng(0)
    offsets_m = rng.normal(0, 0.2, (3, len(COCO17), len(SEGMENTS), 3))
    return Crowd.of(pose_pool(rng, 20), [Puppet(o) for o in offsets_m])


def test_a_puppets_joints_are_those_of_its_body():
    pytest.importorskip("anny")
    body, rng = load_body(), np.random.default_rng(4)
    shape = body.shape({"height": 0.7, "weight": 0.8})
    poses = np.stack([random_pose(rng) for _ in range(3)])
    ours_m = make_puppet(body, shape).joints(poses)
    for pose, joints_m in zip(poses, ours_m, strict=True):
        theirs_m = body.posed_joints(shape, body.bone_transforms(shape, pose))
        assert np.abs((joints_m - joints_m[0]) - (theirs_m - theirs_m[0])).max() < 1e-6


def test_a_crowd_follows_its_seed_and_shows_a_detectors_noise():
    people = crowd()
    a, b = (people.skeletons(np.random.default_rng(7), 400) for _ in range(2))
    assert np.array_equal(a, b)
    assert a.shape == (400, len(COCO17), 3)
    still = Crowd(STRAIGHT, people.offsets_m[:1]).skeletons(np.random.default_rng(1), 2000)
    true_m = Puppet(people.offsets_m[0]).joints(STRAIGHT)[0]
    seen_m = np.linalg.norm(still[:, [5, 6]] - still[:, [7, 8]], axis=-1)
    wanted_m = np.linalg.norm(true_m[[5, 6]] - true_m[[7, 8]], axis=-1)
    off_m = np.minimum(np.abs(seen_m - wanted_m).max(1), np.abs(seen_m - wanted_m[::-1]).max(1))  # as drawn, or mirrored
    assert LEAST_NOISE_M < off_m.mean() < 2 * MOST_NOISE_M


def test_a_mirror_keeps_lengths_and_swaps_sides():
    xyz_m = np.random.default_rng(0).normal(size=(5, len(COCO17), 3))
    seen = mirrored(xyz_m)
    left, right = COCO17.index("left_wrist"), COCO17.index("right_wrist")
    assert np.allclose(seen[:, left], xyz_m[:, right] * [-1, 1, 1])
    assert np.array_equal(mirrored(seen), xyz_m)


@pytest.mark.parametrize(("draw", "least"), [(few_missing, len(COCO17) - MOST_MISSING), (any_seen, 2)])
def test_masks_leave_something_to_see_and_something_to_ask(draw, least):
    seen = draw(np.random.default_rng(0), 3000).sum(-1)
    assert int(seen.min()) == least
    assert int(seen.max()) == len(COCO17) - 1
