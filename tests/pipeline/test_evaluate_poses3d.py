from pathlib import Path

import numpy as np
import pytest

from models.skeleton import COCO17
from pipeline.errors import InputError
from pipeline.evaluate_poses3d import evaluate_poses3d
from pipeline.people3d import People3D, joint_name, read_people
from pipeline.pose_rows import skeletons3d_rows
from pipeline.tables import SKELETONS3D, TRUTH_JOINTS, write_rows
from pipeline.trc import Trajectories, write_trc
from pipeline.types import Skeletons3D
from pipeline.walkers import time_ns, walk

INSTANTS = 40
TIMES = np.array([time_ns(f) for f in range(INSTANTS)])


def _two() -> np.ndarray:
    """(F, 2, J, 3): two people who walk side by side, 2 m apart."""
    return np.stack([walk((x, 0.0), (0.0, 0.5), INSTANTS) for x in (-1.0, 1.0)], axis=1)


def _people(xyz_m: np.ndarray, person: np.ndarray | None = None, t_ns: np.ndarray = TIMES) -> People3D:
    """Recording of xyz_m (F, P, J, 3); person (F, P): who each is, default 0, 1, ..."""
    who = np.tile(np.arange(xyz_m.shape[1]), (len(xyz_m), 1)) if person is None else person
    return People3D(COCO17.joints, t_ns, tuple(who), tuple(xyz_m)).only(COCO17.joints)


def _half_swapped() -> np.ndarray:
    person = np.tile([0, 1], (INSTANTS, 1))
    person[INSTANTS // 2 :] = [1, 0]
    return person


def test_the_truth_itself_is_perfect() -> None:
    truth = _people(_two())
    report = evaluate_poses3d(truth, truth)
    assert (report.precision, report.recall, report.pcp, report.idf1, report.id_switches) == (1, 1, 1, 1, 0)
    assert report.mpjpe_mm == 0.0 and report.pa_mpjpe_mm == pytest.approx(0.0, abs=1e-6)
    assert [row["identity"] for row in report.per_person] == [0, 1]


def test_an_offset_of_10_mm_is_an_mpjpe_of_10_that_alignment_takes_away() -> None:
    report = evaluate_poses3d(_people(_two() + (0.006, 0.0, -0.008)), _people(_two()))
    assert report.mpjpe_mm == pytest.approx(10.0)
    assert report.pa_mpjpe_mm == pytest.approx(0.0, abs=1e-6)
    assert {row["joint"]: pytest.approx(row["mpjpe_mm"]) for row in report.per_joint} == dict.fromkeys(COCO17.joints, 10.0)


def test_two_people_swapped_at_half_time_switch_once_each_and_halve_idf1() -> None:
    report = evaluate_poses3d(_people(_two(), _half_swapped()), _people(_two()))
    assert report.idf1 == report.idp == report.idr == 0.5
    assert [row["switches"] for row in report.per_person] == [1, 1] and report.id_switches == 2
    assert report.mpjpe_mm == 0.0 and report.recall == 1.0  # where they are is known all along


def test_a_ghost_costs_precision_and_a_miss_costs_recall() -> None:
    ghost, missed = 8, 10
    truth, found = _two(), np.full((INSTANTS, 3, 17, 3), np.nan)
    found[:, :2] = truth
    found[:missed, 1] = np.nan
    found[:ghost, 2] = truth[:ghost, 0] + (0.0, 3.0, 0.0)
    report = evaluate_poses3d(_people(found), _people(truth))
    matched, predicted, true = 2 * INSTANTS - missed, 2 * INSTANTS - missed + ghost, 2 * INSTANTS
    assert (report.people_matched, report.people_predicted, report.people_true) == (matched, predicted, true)
    assert report.precision == pytest.approx(matched / predicted)
    assert report.recall == report.pcp == pytest.approx(matched / true)
    assert report.idf1 == pytest.approx(2 * matched / (predicted + true))
    assert report.id_switches == 0
    assert [row["found"] for row in report.per_person] == [INSTANTS, INSTANTS - missed]


def test_a_track_broken_in_two_names_is_one_switch() -> None:
    person = np.tile([0, 1], (INSTANTS, 1))
    person[30:, 1] = 7
    report = evaluate_poses3d(_people(_two(), person), _people(_two()))
    assert report.idf1 == pytest.approx((INSTANTS + 30) / (2 * INSTANTS))
    assert [row["switches"] for row in report.per_person] == [0, 1]
    assert [row["identity"] for row in report.per_person] == [0, 1]


def test_people_further_than_the_match_distance_are_nobody() -> None:
    off = _people(_two() + (0.0, 0.3, 0.0))
    assert evaluate_poses3d(off, _people(_two()), match_m=0.31).recall == 1.0
    far = evaluate_poses3d(off, _people(_two()), match_m=0.29)
    assert (far.people_matched, far.recall, far.idf1) == (0, 0.0, 0.0)
    assert far.to_dict()["mpjpe_mm"] is None


def test_a_wrong_joint_is_wrong_in_its_row_and_its_limbs_alone() -> None:
    wrist = COCO17.index("left_wrist")
    found = _two()
    found[:, :, wrist, 2] += 0.4
    report = evaluate_poses3d(_people(found), _people(_two()))
    rows = {row["joint"]: row["mpjpe_mm"] for row in report.per_joint}
    assert rows.pop("left_wrist") == pytest.approx(400.0) and set(rows.values()) == {0.0}
    wrong = {row["limb"] for row in report.per_limb if row["pcp"] < 1}
    assert wrong == {"left_elbow - left_wrist"}
    assert report.pcp == pytest.approx(11 / 12)


def test_frames_meet_by_time_whatever_their_rate_and_order_of_joints() -> None:
    twice = np.arange(0, 2 * INSTANTS) * (TIMES[1] // 2) + 1_000_000  # 60 fps and 1 ms late
    people = np.repeat(_two(), 2, axis=0)
    pred = People3D(COCO17.joints[::-1], twice, (np.array([3, 5]),) * len(twice), tuple(people[:, :, ::-1]))
    report = evaluate_poses3d(pred, _people(_two()))
    assert (report.instants, report.instants_of_truth_missed, report.recall, report.mpjpe_mm) == (INSTANTS, 0, 1.0, 0.0)
    half = evaluate_poses3d(_people(_two()[::2], t_ns=TIMES[::2]), _people(_two()))
    assert (half.instants_of_truth_missed, half.recall, half.precision) == (INSTANTS // 2, 0.5, 1.0)


def test_what_cannot_be_compared_is_said() -> None:
    truth = _people(_two())
    with pytest.raises(InputError, match="predicted 100.000 to 101.300 s, true 0.000 to 1.300 s"):
        evaluate_poses3d(_people(_two(), t_ns=TIMES + 100_000_000_000), truth)
    other = People3D(("tail",), TIMES, (np.array([0]),) * INSTANTS, (np.zeros((1, 1, 3)),) * INSTANTS)
    with pytest.raises(InputError, match="found tail predicted"):
        evaluate_poses3d(other, truth)


def _skeletons(xyz_m: np.ndarray, t_ns: int) -> Skeletons3D:
    ones = np.ones(xyz_m.shape[:2])
    return Skeletons3D(t_ns, np.arange(len(xyz_m)), xyz_m, ones, ones, ones.astype(np.int64))


def _write_all(folder: Path) -> dict[str, Path]:
    """The two people as our table, as truth and as one .trc each, 5 ms late."""
    two = _two()
    skeletons = (_skeletons(xyz_m, int(t_ns)) for t_ns, xyz_m in zip(TIMES, two, strict=True))
    write_rows(folder / "skeletons.parquet", skeletons3d_rows(skeletons), SKELETONS3D)
    rows = [
        {"t_ns": int(t), "instant": f, "person": p, "joint": j, "x_m": x, "y_m": y, "z_m": z}
        for f, t in enumerate(TIMES) for p in range(2) for j, (x, y, z) in enumerate(two[f, p])
    ]  # fmt: skip
    write_rows(folder / "joints.parquet", rows, TRUTH_JOINTS)
    (folder / "trc").mkdir()
    markers = tuple(f"{n[0].upper()}{n.split('_')[1].title()}" if "_" in n else n.title() for n in COCO17.joints)
    for p in range(2):
        write_trc(Trajectories(markers, TIMES + 5_000_000, two[:, p], 30.0), folder / "trc" / f"walk-person{p + 4}.trc")
    return {"skeletons": folder / "skeletons.parquet", "joints": folder / "joints.parquet", "trc": folder / "trc"}


def test_tables_truth_and_trajectories_hold_the_same_people(tmp_path: Path) -> None:
    files = _write_all(tmp_path)
    truth = read_people(files["joints"])
    for name, path in files.items():
        report = evaluate_poses3d(read_people(path), truth)
        assert (report.recall, report.idf1, len(report.joints)) == (1.0, 1.0, 17), name
        assert report.mpjpe_mm == pytest.approx(0.0, abs=1e-9), name
    assert [row["identity"] for row in report.per_person] == [4, 5]
    assert read_people(files["trc"], fps=10.0).t_ns[10] == 1_005_000_000


def test_markers_of_other_tools_are_named_as_coco_does() -> None:
    assert [joint_name(n) for n in ("RShoulder", "LBigToe", "Nose", "left_wrist", "R_Hip", "Right Knee")] == [
        "right_shoulder", "left_big_toe", "nose", "left_wrist", "right_hip", "right_knee",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "says"),
    [("none.parquet", "none.parquet"), ("x.bvh", r"expected \.parquet, \.trc.*\.bvh"), ("none", "not found")],
)
def test_files_that_hold_no_people_are_refused_by_name(tmp_path: Path, name: str, says: str) -> None:
    if name == "x.bvh":
        (tmp_path / name).write_text("HIERARCHY")
    with pytest.raises(InputError, match=says):
        read_people(tmp_path / name)


def test_people_of_two_clips_are_not_mixed(tmp_path: Path) -> None:
    folder = _write_all(tmp_path)["trc"]
    (folder / "walk-person4.trc").rename(folder / "run-person4.trc")
    with pytest.raises(InputError, match="one clip.*found run, walk"):
        read_people(folder)
