from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from models.skeleton import COCO17
from pipeline.bvh import write_bvh
from pipeline.errors import InputError
from pipeline.trc import Trajectories
from pipeline.walkers import STANDING_M, time_ns

INSTANTS = 60
TIMES = np.array([time_ns(f) for f in range(INSTANTS)])
MOVES = {  # what turns about what, parents first: pivot, and the joints behind it
    "left_hip": ("left_knee", "left_ankle"), "left_knee": ("left_ankle",), "right_hip": ("right_knee", "right_ankle"),
    "right_knee": ("right_ankle",), "left_shoulder": ("left_elbow", "left_wrist"), "left_elbow": ("left_wrist",),
    "right_shoulder": ("right_elbow", "right_wrist"), "right_elbow": ("right_wrist",),
    "neck": ("nose", "left_eye", "right_eye", "left_ear", "right_ear"),
    "hips": tuple(j for j in COCO17.joints if not j.endswith(("hip", "knee", "ankle"))),
}  # fmt: skip


def _rigid_dancer(seed: int = 0) -> np.ndarray:
    """(F, 17, 3) m: bones and head of one length, every joint turning as it likes, the body turning and travelling."""
    rng = np.random.default_rng(seed)
    body = np.repeat(STANDING_M[None], INSTANTS, axis=0)
    for pivot, behind in MOVES.items():
        turn = _wander(rng, 1.2)
        sides = {"hips": ("left_hip", "right_hip"), "neck": ("left_shoulder", "right_shoulder")}.get(pivot, (pivot,))
        centre = body[:, [COCO17.index(side) for side in sides]].mean(1, keepdims=True)
        columns = [COCO17.index(joint) for joint in behind]
        body[:, columns] = np.einsum("fij,fpj->fpi", turn, body[:, columns] - centre) + centre
    body = np.einsum("fij,fpj->fpi", _wander(rng, 3.0), body)
    return body + np.linspace(0, 3, INSTANTS)[:, None, None] * np.array([1.0, 0.3, 0.1])


def _wander(rng: np.random.Generator, most_rad: float) -> np.ndarray:
    ends = rng.uniform(-most_rad / np.sqrt(3), most_rad / np.sqrt(3), (2, 3))
    share = 0.5 - 0.5 * np.cos(np.linspace(0, 2 * np.pi, INSTANTS))
    return Rotation.from_rotvec(ends[0] + share[:, None] * (ends[1] - ends[0])).as_matrix()


def _replay(path: Path) -> tuple[dict[str, np.ndarray], float]:
    """Joint positions (F, 3) in world metres by forward kinematics of the file's text alone, and its frame time in s."""
    head, motion = path.read_text().split("MOTION\n")
    lines = motion.splitlines()
    frames = np.array([[float(v) for v in line.split()] for line in lines[2:]])
    assert len(frames) == int(lines[0].split()[1])
    stack: list[tuple[np.ndarray, np.ndarray]] = [(np.zeros((len(frames), 3)), np.repeat(np.eye(3)[None], len(frames), 0))]
    found, names, at = {}, [], 0
    for words in (line.split() for line in head.splitlines()):
        if words[0] in ("ROOT", "JOINT", "End"):
            names.append(words[1])
        elif words[0] == "OFFSET":
            place, turn = stack[-1]
            stack.append((place + turn @ np.array(words[1:], dtype=float), turn))
        elif words[0] == "CHANNELS":
            place, turn = stack.pop()
            for channel in words[2:]:
                axis, value = channel[0], frames[:, at]
                if channel.endswith("position"):
                    place = place + value[:, None] * np.eye(3)["XYZ".index(axis)]
                else:
                    turn = turn @ Rotation.from_euler(axis, value[:, None], degrees=True).as_matrix()
                at += 1
            stack.append((place, turn))
            found[names[-1]] = place[:, [2, 0, 1]] / 100  # y-up cm to z-up m
        elif words[0] == "}":
            stack.pop()
    assert at == frames.shape[1] and len(stack) == 1
    return found, float(lines[1].split()[2])


def _track(xyz_m: np.ndarray) -> Trajectories:
    return Trajectories(COCO17.joints, TIMES, xyz_m, 30.0)


@pytest.mark.parametrize("seed", range(5))
def test_replaying_gives_back_the_joints_of_a_rigid_skeleton(tmp_path: Path, seed: int) -> None:
    truth = _rigid_dancer(seed)
    assert write_bvh(_track(truth), tmp_path / "x.bvh") == ""
    found, frame_s = _replay(tmp_path / "x.bvh")
    assert frame_s == pytest.approx(1 / 30)
    replayed = np.stack([found[joint] for joint in COCO17.joints], axis=1)
    assert np.linalg.norm(replayed - truth, axis=-1).max() < 1e-3


def test_turns_have_no_jumps(tmp_path: Path) -> None:
    spin = Rotation.from_rotvec(np.radians(np.linspace(0, 900, INSTANTS))[:, None] * [0, 0, 1]).as_matrix()
    truth = np.einsum("fij,pj->fpi", spin, STANDING_M)
    write_bvh(_track(truth), tmp_path / "x.bvh")
    motion = (tmp_path / "x.bvh").read_text().split("Frame Time:")[1].splitlines()[1:]
    turns = np.array([[float(v) for v in line.split()][3:6] for line in motion])
    assert np.abs(np.diff(turns, axis=0)).max() < 20.0
    assert np.ptp(turns, axis=0).max() == pytest.approx(900.0, abs=0.1)


def test_gaps_are_interpolated_and_told(tmp_path: Path) -> None:
    truth = STANDING_M + np.linspace(0, 1, INSTANTS)[:, None, None] * np.array([1.0, 0, 0])
    cut = truth.copy()
    cut[10:20] = np.nan  # nobody there
    cut[-5:, COCO17.index("left_wrist")] = np.nan
    assert write_bvh(_track(cut), tmp_path / "x.bvh") == "15 of 60 frames had gaps, interpolated or held"
    found, _ = _replay(tmp_path / "x.bvh")
    middle = np.stack([found[joint] for joint in COCO17.joints], axis=1)[:-5]
    assert np.linalg.norm(middle - truth[:-5], axis=-1).max() < 1e-3


def test_a_joint_never_seen_takes_its_mirrors_length(tmp_path: Path) -> None:
    truth = _rigid_dancer()
    truth[:, COCO17.index("left_wrist")] = np.nan
    assert write_bvh(_track(truth), tmp_path / "x.bvh") == "left_wrist never seen, at rest"
    found, _ = _replay(tmp_path / "x.bvh")
    length = np.linalg.norm(found["left_wrist"] - found["left_elbow"], axis=-1)
    expected = np.linalg.norm(STANDING_M[COCO17.index("right_wrist")] - STANDING_M[COCO17.index("right_elbow")])
    np.testing.assert_allclose(length, expected, atol=1e-4)


def test_a_body_without_hips_is_left_out_and_told(tmp_path: Path) -> None:
    truth = _rigid_dancer()
    truth[:, COCO17.index("left_hip")] = np.nan
    assert "left_hip never seen" in write_bvh(_track(truth), tmp_path / "x.bvh")
    assert not (tmp_path / "x.bvh").exists()


def test_markers_of_another_layout_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found no nose"):
        write_bvh(Trajectories(("left_eye",), TIMES, np.zeros((INSTANTS, 1, 3)), 30.0), tmp_path / "x.bvh")
