from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.shipped import weights_path
from models.skeleton import COCO17
from models.weights import load_tensors, save_tensors
from pipeline.audit import Tally, audit, back_bend_deg, hinge_deg, run
from pipeline.config import AuditConfig
from pipeline.plausibility import Plausibility
from pipeline.pose_prior import prior_figures
from pipeline.pose_rows import skeletons3d_rows
from pipeline.session import Session, save_session
from pipeline.store import Ref, Store
from pipeline.tables import SKELETONS3D, read_rows, write_rows
from pipeline.types import Artefact, Skeletons3D
from pipeline.walkers import STANDING_M

CONFIG = AuditConfig()
KNEE, ANKLE, WRIST = COCO17.index("left_knee"), COCO17.index("left_ankle"), COCO17.index("left_wrist")


def _instant(xyz_m: np.ndarray, t_ns: int = 0, person: int = 0, error_px: float = 2.0) -> Skeletons3D:
    known = np.isfinite(xyz_m).all(-1)[None]
    error, views = np.where(known, error_px, np.nan), np.where(known, 4, 0)
    return Skeletons3D(t_ns, np.array([person]), xyz_m[None], np.ones((1, 17)), error, views)


def _moved(joint: int, xyz_m: tuple[float, float, float]) -> np.ndarray:
    body = STANDING_M.copy()
    body[joint] = xyz_m
    return body


def _turned(body: np.ndarray) -> np.ndarray:
    """The same body facing elsewhere: no gate may depend on that."""
    c, s = np.cos(2.2), np.sin(2.2)
    return body @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1.0]]) + [3.0, -1.0, 0.2]


def test_a_standing_person_passes_every_gate() -> None:
    [verdict] = audit([_instant(STANDING_M)], CONFIG)
    assert verdict.accepted
    assert verdict.reasons == ()
    assert verdict.joints == 17
    assert verdict.error_px == pytest.approx(2.0)


def test_a_large_reprojection_error_is_told_with_both_numbers() -> None:
    [verdict] = audit([_instant(STANDING_M, error_px=22.4)], CONFIG)
    assert verdict.gates == ("error",)
    assert verdict.reasons == ("reprojection error 22.4 px above 15 px",)


@pytest.mark.parametrize(("cameras", "accepted"), [(2, True), (3, False), (6, False)])
def test_two_views_are_enough_only_where_two_cameras_film(cameras: int, accepted: bool) -> None:
    seen = _instant(STANDING_M)
    twice = replace(seen, n_views=np.full((1, 17), 2))
    [verdict] = audit([twice], CONFIG, cameras)
    assert verdict.accepted == accepted
    if not accepted:
        assert verdict.reasons == ("joints seen by 2.0 views on average, 2.5 needed",)


def test_too_few_joints_are_counted() -> None:
    body = STANDING_M.copy()
    body[6:] = np.nan
    [verdict] = audit([_instant(body)], CONFIG)
    assert verdict.gates == ("joints",)
    assert verdict.reasons == ("6 joints, 8 needed",)


def test_a_limb_of_no_human_length_is_named() -> None:
    [verdict] = audit([_instant(_turned(_moved(ANKLE, (0.12, 0.02, -0.5))))], CONFIG)
    assert verdict.gates == ("limb length",)
    assert verdict.reasons == ("left knee to left ankle 1.00 m outside 0.05 to 0.8 m",)


def test_a_limb_is_compared_with_the_same_persons_median() -> None:
    usual = [_instant(STANDING_M, t) for t in range(5)]
    longer = _instant(_moved(WRIST, (0.28, -0.3, 0.9)), 5)
    child = [_instant(0.6 * STANDING_M, t, person=1) for t in range(5)]
    verdicts = list(audit([*usual, longer, *child], CONFIG))
    rejected = [verdict for verdict in verdicts if not verdict.accepted]
    assert [verdict.t_ns for verdict in rejected] == [5]
    assert rejected[0].gates == ("limb deviation",)
    assert rejected[0].reasons == ("left elbow to left wrist 0.39 m is 52% off this person's median 0.26 m (limit 35%)",)
    assert rejected[0].limb_deviation == pytest.approx(
        np.sqrt(0.02**2 + 0.32**2 + 0.23**2) / np.sqrt(0.02**2 + 0.12**2 + 0.23**2) - 1
    )


@pytest.mark.parametrize("bend_deg", [-120.0, -40.0, 10.0, 40.0])
def test_a_knee_is_measured_against_the_front_of_its_thigh(bend_deg: float) -> None:
    angle = np.radians(bend_deg)
    # The body faces -y: a shin that swings to the front moves towards -y.
    thigh_down = _moved(KNEE, (0.11, 0.0, 0.5))
    thigh_down[ANKLE] = thigh_down[KNEE] + 0.42 * np.array([0, -np.sin(angle), -np.cos(angle)])
    assert back_bend_deg(_turned(thigh_down), COCO17)["left knee"] == pytest.approx(bend_deg, abs=0.1)
    [verdict] = audit([_instant(_turned(thigh_down))], CONFIG)
    assert verdict.accepted == (bend_deg <= 25)
    if bend_deg > 25:
        assert verdict.reasons == ("left knee bends backwards by 40 degrees (limit 25)",)


def test_a_sitting_person_passes() -> None:
    body = STANDING_M.copy()
    for side, x in (("left", 0.11), ("right", -0.11)):
        body[COCO17.index(f"{side}_knee")] = [x, -0.42, 0.92]
        body[COCO17.index(f"{side}_ankle")] = [x, -0.42, 0.50]
    assert back_bend_deg(_turned(body), COCO17)["left knee"] == pytest.approx(-90.0, abs=0.1)
    [verdict] = audit([_instant(_turned(body))], CONFIG)
    assert verdict.accepted


def test_a_folded_elbow_is_told_and_a_straight_arm_passes() -> None:
    straight = _moved(WRIST, (0.34, 0.04, 0.84))
    assert hinge_deg(straight, COCO17)["left elbow"] == pytest.approx(180.0, abs=1.0)
    [verdict] = audit([_instant(_turned(_moved(WRIST, (0.18, 0.0, 1.36))))], CONFIG)
    assert verdict.gates == ("angle",)
    assert verdict.reasons[0].startswith("left elbow folded to ")


def test_missing_joints_fail_no_gate_that_needs_them() -> None:
    body = STANDING_M.copy()
    body[[KNEE, WRIST, 12]] = np.nan
    [verdict] = audit([_instant(body)], CONFIG)
    assert verdict.accepted


def test_a_skeleton_of_nothing_is_rejected() -> None:
    [verdict] = audit([_instant(np.full((17, 3), np.nan))], CONFIG)
    assert set(verdict.gates) == {"joints", "views"}


def test_verdicts_are_written_one_per_skeleton_and_summed_up_by_gate(tmp_path: Path) -> None:
    save_session(Session(name="s", cameras=("cam1",)), tmp_path)
    skeletons = [_instant(STANDING_M), _instant(STANDING_M, 1, error_px=30.0), _instant(_moved(ANKLE, (0.12, 0.02, -0.5)), 2)]
    write_rows(tmp_path / "skeletons.parquet", skeletons3d_rows(skeletons), SKELETONS3D)
    made = run(Store(tmp_path), Ref((Artefact("reconstruct", tmp_path / "skeletons.parquet", "abc", 3),), "walk"), CONFIG)
    told = {"accepted": 1, "rejected": 2, "rejected_by": {"error": 1, "limb length": 1, "limb deviation": 1}}
    assert made.summary == told | prior_figures("prior")
    assert [row["accepted"] for row in read_rows(made.path)] == [True, False, False]
    assert Tally().figures() == {"accepted": 0, "rejected": 0, "rejected_by": {}}


def test_other_weights_under_the_same_name_audit_again(tmp_path: Path) -> None:
    save_session(Session(name="s", cameras=("cam1",)), tmp_path)
    write_rows(tmp_path / "skeletons.parquet", skeletons3d_rows([_instant(STANDING_M)]), SKELETONS3D)
    ref = Ref((Artefact("reconstruct", tmp_path / "skeletons.parquet", "abc", 1),), "walk")
    weights = tmp_path / "mine.safetensors"
    tensors, about = load_tensors(weights_path("prior"))
    save_tensors(weights, tensors, about)
    config = AuditConfig(prior=str(weights))
    first = run(Store(tmp_path), ref, config)
    assert not run(Store(tmp_path), ref, config).made
    save_tensors(weights, tensors, {**about, "licence": "another"})
    again = run(Store(tmp_path), ref, config)
    assert again.made and again.digest != first.digest
    assert again.summary["weights_licence"] == "another"


def test_a_pose_that_is_unlike_the_others_is_rejected_with_the_joint_to_blame() -> None:
    told = Plausibility(np.array([3.0, 2.5, np.nan]), np.array([0.4, 2e-5, np.nan]), np.array([-1, WRIST, -1]))
    likely, odd, unknown = audit([_instant(STANDING_M, t) for t in range(3)], CONFIG, plausible=told)
    assert likely.accepted
    assert (likely.nats_per_joint, likely.p_value, likely.blamed) == (3.0, 0.4, None)
    assert odd.gates == ("pose",)
    assert odd.reasons == ("pose unlike the clip's others (p = 2e-05), left wrist most to blame (limit 0.01)",)
    assert unknown.accepted
    assert (unknown.nats_per_joint, unknown.p_value, unknown.blamed) == (None, None, None)
    [_, told_only, _] = audit([_instant(STANDING_M, t) for t in range(3)], AuditConfig(false_alarm=0.0), plausible=told)
    assert told_only.accepted
    assert told_only.blamed == "left_wrist"
