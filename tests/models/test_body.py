"""Virtual bodies: shapes, skinning, joints, poses. Needs anny; its first build takes about a minute."""

from __future__ import annotations

import numpy as np
import pytest

from models.body import SEGMENTS, Body, load_body, skin
from models.motion import MOTIONS, clip_pose, jittered, random_pose
from models.skeleton import COCO17

pytest.importorskip("anny")

NEUTRAL = np.tile(np.eye(3), (len(SEGMENTS), 1, 1))


@pytest.fixture(scope="session")
def body() -> Body:
    return load_body()


def test_bones_that_do_not_turn_leave_every_vertex_at_rest(body):
    shape = body.shape()
    transforms = body.chain(shape, np.tile(np.eye(3), (len(body.bones), 1, 1)))
    assert np.abs(skin(body.weights, transforms, shape.vertices_m) - shape.vertices_m).max() < 1e-6


def test_our_chain_and_skinning_equal_annys_own_for_a_bent_elbow(body):
    import torch

    shape = body.shape({"gender": 1.0, "height": 0.7})
    local = torch.eye(4).repeat(1, len(body.bones), 1, 1)
    local[0, body.bone("lowerarm01.L"), :3, :3] = torch.tensor([[1, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])
    with torch.no_grad():
        theirs = body.anny(
            pose_parameters=local, phenotype_kwargs={"gender": torch.tensor([1.0]), "height": torch.tensor([0.7])}
        )
    turned = (theirs["bone_poses"][0] @ torch.linalg.inv(theirs["rest_bone_poses"][0])).numpy().astype(float)
    ours = skin(body.weights, body.chain(shape, turned[:, :3, :3]), shape.vertices_m)
    # anny moves the root bone to the origin, ours stays where it was at rest.
    used = np.unique(body.faces)
    assert np.abs(ours - shape.heads_m[0] - theirs["vertices"][0].numpy())[used].max() < 1e-4


def test_joints_at_rest_are_symmetrical_and_the_left_is_at_positive_x(body):
    joints_m = body.joints(body.shape().vertices_m)
    mirrored = joints_m[list(COCO17.mirror)] * [-1, 1, 1]
    assert np.abs(joints_m - mirrored).max() < 1e-3
    left = [j for j, name in enumerate(COCO17.joints) if name.startswith("left")]
    assert (joints_m[left, 0] > 0.02).all()


def test_the_nose_is_in_front_and_above_everything_but_eyes(body):
    joints_m = body.joints(body.shape().vertices_m)
    nose = joints_m[COCO17.index("nose")]
    assert nose[1] < joints_m[3:, 1].min() + 0.05  # the front is -y
    assert nose[2] > joints_m[5:, 2].max()


def test_a_taller_phenotype_is_taller(body):
    used = np.unique(body.faces)
    low, high = (np.ptp(body.shape({"height": h}).vertices_m[used, 2]) for h in (0.3, 0.8))
    assert 1.3 < low < high < 2.2


def test_an_unknown_phenotype_is_named(body):
    with pytest.raises(ValueError, match="gender.*got heigth"):
        body.shape({"heigth": 0.5})


def test_neutral_limbs_hang_straight_down(body):
    shape = body.shape()
    joints_m = body.posed_joints(shape, body.bone_transforms(shape, NEUTRAL))
    for upper, lower in (("shoulder", "elbow"), ("hip", "knee"), ("knee", "ankle")):
        for side in ("left", "right"):
            along = joints_m[COCO17.index(f"{side}_{lower}")] - joints_m[COCO17.index(f"{side}_{upper}")]
            # Joints are anatomical, bones are the rig's: they differ by a few degrees.
            assert along[2] / np.linalg.norm(along) < -np.cos(np.deg2rad(12))


def test_joints_from_their_few_vertices_equal_joints_of_the_whole_skin(body):
    shape, pose = body.shape({"weight": 0.8}), random_pose(np.random.default_rng(3))
    transforms = body.bone_transforms(shape, pose)
    whole = body.joints(skin(body.weights, transforms, shape.vertices_m))
    assert np.abs(whole - body.posed_joints(shape, transforms)).max() < 1e-9


def test_a_pose_of_the_wrong_size_is_refused(body):
    with pytest.raises(ValueError, match=r"expected rotations \(15, 3, 3\), got \(3, 3\)"):
        body.bone_transforms(body.shape(), np.eye(3))


@pytest.mark.parametrize("motion", sorted(MOTIONS))
def test_motions_are_rotations_and_repeat_after_a_cycle(motion):
    for phase in np.linspace(0, 2 * np.pi, 7):
        pose = MOTIONS[motion](phase)
        assert np.abs(pose @ pose.transpose(0, 2, 1) - np.eye(3)).max() < 1e-9
        assert np.abs(MOTIONS[motion](phase + 2 * np.pi) - pose).max() < 1e-9


def test_walking_swings_the_left_leg_forward_at_the_left_heel_strike(body):
    shape = body.shape()
    joints_m = body.posed_joints(shape, body.bone_transforms(shape, MOTIONS["walk"](0.0)))
    left, right = (joints_m[COCO17.index(f"{side}_ankle")] for side in ("left", "right"))
    assert left[1] < right[1] - 0.3  # the front is -y


def test_squatting_lowers_the_hips_towards_the_feet(body):
    shape = body.shape()
    heights_m = []
    for phase in (0, np.pi):
        joints_m = body.posed_joints(shape, body.bone_transforms(shape, MOTIONS["squat"](phase)))
        heights_m.append(joints_m[11:13, 2].mean() - joints_m[15:17, 2].mean())
    assert heights_m[1] < 0.7 * heights_m[0]


def test_a_clip_frame_of_no_rotation_is_the_neutral_pose():
    frame = np.zeros(44)
    frame[[4, 8, 12, 16, 21, 25, 30, 35, 39]] = 1  # w of each quaternion
    assert np.abs(clip_pose(frame) - NEUTRAL).max() < 1e-12


def test_a_clip_knee_bends_the_shin_backwards():
    frame = np.zeros(44)
    frame[[4, 8, 12, 16, 21, 25, 30, 35, 39]] = 1
    frame[34] = -1.0  # DeepMimic's left knee
    shin = clip_pose(frame)[SEGMENTS.index("left_shin")] @ [0, 0, -1.0]
    assert shin[1] > 0.8  # the back is +y


def test_random_poses_follow_their_seed_and_jitter_keeps_them_rotations():
    a, b = (jittered(random_pose(np.random.default_rng(5)), np.random.default_rng(6)) for _ in range(2))
    assert np.array_equal(a, b)
    assert np.abs(np.linalg.det(a) - 1).max() < 1e-9
