from pathlib import Path

import numpy as np
import pytest

from calibration.formats import save_rig
from calibration.rig import Rig
from calibration.transforms import Rigid
from pipeline.demo import compare_cameras, compare_people, match_people, people_error, true_joints, world_motion
from pipeline.pose_rows import skeletons3d_rows
from pipeline.store import Ref
from pipeline.studio_scene import studio_rig
from pipeline.tables import AUDIT, SKELETONS3D, TRUTH_JOINTS, write_rows
from pipeline.types import Artefact, Skeletons3D

RNG = np.random.default_rng(0)
PERSON = RNG.normal(0, 0.3, (17, 3)) + (0, 0, 1)
TWO = np.stack([PERSON, PERSON + (1.5, 0, 0)])
MOTION = Rigid.from_rvec(np.array([0.1, -0.2, 0.9]), np.array([0.5, 1.0, -0.3]))


def _instant(xyz_m: np.ndarray, t_ns: int = 0) -> Skeletons3D:
    people, joints = xyz_m.shape[:2]
    ones = np.ones((people, joints))
    return Skeletons3D(t_ns, np.arange(people), xyz_m, ones, ones, ones.astype(np.int64) * 4)


def test_people_are_matched_whatever_their_order() -> None:
    pairs = match_people(TWO[::-1], TWO)
    assert len(pairs) == 2
    for pred, true in pairs:
        np.testing.assert_array_equal(pred, true)


def test_a_skeleton_far_from_everybody_is_nobody() -> None:
    assert match_people(TWO[:1] + 2.0, TWO) == []
    assert match_people(np.full((1, 17, 3), np.nan), TWO) == []
    assert match_people(np.zeros((0, 17, 3)), TWO) == []


def test_errors_are_measured_in_the_world_of_the_truth() -> None:
    moved = MOTION.inverse().apply(TWO + (0.02, 0, 0))
    ghost = MOTION.inverse().apply(TWO[:1] + 3.0)
    error = people_error("x", [_instant(np.concatenate([moved, ghost]), 5)], {0: TWO, 10_000_000: TWO}, MOTION)
    assert (error.people, error.found, error.ghosts, error.joints) == (4, 2, 1, 1.0)
    assert error.mpjpe_mm == pytest.approx(20.0)
    assert error.pa_mpjpe_mm == pytest.approx(0.0, abs=1e-6)


def test_nobody_found_is_no_figure() -> None:
    error = people_error("x", [], {0: TWO}, MOTION)
    assert (error.people, error.found, error.ghosts) == (2, 0, 0)
    assert np.isnan(error.mpjpe_mm)


def test_the_motion_between_two_worlds_is_found_from_the_cameras() -> None:
    rig = studio_rig(np.random.default_rng(1), (640, 480))
    moved = Rig(tuple(camera.with_pose(camera.cam_from_world @ MOTION) for camera in rig.cameras))
    found = world_motion(moved, rig)
    np.testing.assert_allclose(found.matrix, MOTION.matrix, atol=1e-9)


def test_true_joints_are_read_by_instant_person_and_joint() -> None:
    rows = [
        {"t_ns": t, "person": p, "joint": j, "x_m": t, "y_m": p, "z_m": j} for t in (0, 7) for p in range(2) for j in range(17)
    ]
    joints = true_joints(rows[::-1])
    assert sorted(joints) == [0, 7]
    assert joints[7].shape == (2, 17, 3)
    np.testing.assert_array_equal(joints[7][1, 4], (7, 1, 4))


def test_a_run_is_compared_with_its_truth_before_and_after_the_audit(tmp_path: Path) -> None:
    rig = studio_rig(np.random.default_rng(1), (640, 480))
    solved = Rig(tuple(camera.with_pose(camera.cam_from_world @ MOTION) for camera in rig.cameras))
    for folder, cameras in (("truth", rig), ("rig", solved)):
        (tmp_path / folder).mkdir()
        save_rig(cameras, tmp_path / folder / "rig.yaml")
    joints = [
        {"t_ns": 0, "instant": 0, "person": p, "joint": j, "x_m": x, "y_m": y, "z_m": z}
        for p, person in enumerate(TWO)
        for j, (x, y, z) in enumerate(person)
    ]
    write_rows(tmp_path / "truth" / "joints.parquet", joints, TRUTH_JOINTS)
    ours = MOTION.inverse().apply(TWO + np.array([[[0.01, 0, 0]], [[0.03, 0, 0]]]))
    write_rows(tmp_path / "skeletons.parquet", skeletons3d_rows([_instant(ours)]), SKELETONS3D)
    verdict = dict.fromkeys(AUDIT.names) | {"t_ns": 0, "gates": [], "reasons": []}
    write_rows(tmp_path / "audit.parquet", [verdict | {"person": p, "accepted": p == 0} for p in range(2)], AUDIT)
    places = (("calibrate", "rig"), ("reconstruct", "skeletons.parquet"), ("audit", "audit.parquet"))
    made = [(Ref(), Artefact(kind, tmp_path / name, "0", 1)) for kind, name in places]
    found = {row["skeletons"]: row for row in compare_people(tmp_path / "truth", iter(made))}
    assert list(found) == ["reconstructed", "accepted"]
    assert [found["reconstructed"][name] for name in ("people", "found", "ghosts")] == [2, 2, 0]
    assert [found["accepted"][name] for name in ("people", "found", "ghosts")] == [2, 1, 0]
    assert found["reconstructed"]["mpjpe_mm"] == pytest.approx(20.0) and found["accepted"]["mpjpe_mm"] == pytest.approx(10.0)
    assert all(error["centre_mm"] == pytest.approx(0.0, abs=1e-6) for error in compare_cameras(tmp_path / "truth", iter(made)))
