"""Detections of other tools, read as COCO-17, and what they give in 3D against another tool's result."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from calibration.formats import load_rig
from calibration.triangulate import Points3D, triangulate, triangulate_robust
from models.skeleton import COCO17
from pipeline.detections import LAYOUTS, read_detections, read_openpose, read_openpose_raw
from pipeline.errors import InputError
from pipeline.trc import Trajectories, read_trc

# A standing person: COCO-17 pixel positions, then neck, head, hips' middle and feet.
STANDING = {
    "nose": (100, 40), "left_eye": (104, 36), "right_eye": (96, 36), "left_ear": (110, 38), "right_ear": (90, 38),
    "left_shoulder": (125, 80), "right_shoulder": (75, 80), "left_elbow": (135, 130), "right_elbow": (65, 130),
    "left_wrist": (138, 180), "right_wrist": (62, 180), "left_hip": (115, 190), "right_hip": (85, 190),
    "left_knee": (116, 270), "right_knee": (84, 270), "left_ankle": (117, 350), "right_ankle": (83, 350),
    "neck": (100, 75), "head": (100, 15), "mid_hip": (100, 190), "left_big_toe": (122, 362), "left_small_toe": (126, 360),
    "left_heel": (115, 358), "right_big_toe": (78, 362), "right_small_toe": (74, 360), "right_heel": (85, 358),
}  # fmt: skip


def openpose_person(layout: str, score: float = 0.8) -> list[float]:
    return [float(v) for joint in LAYOUTS[layout] for v in (*STANDING[joint], score)]


def write_openpose(folder: Path, frames: dict[str, list[list[float]]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, people in frames.items():
        content = {"version": 1.3, "people": [{"person_id": [-1], "pose_keypoints_2d": p} for p in people]}
        (folder / name).write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_coco_joints_and_is_recognised(tmp_path: Path, layout: str) -> None:
    folder = write_openpose(tmp_path / "cam", {"clip_000000000003_keypoints.json": [openpose_person(layout)] * 2})
    found = read_detections(folder)
    assert found.layout == layout and list(found.frames) == [3] and found.last_index == 3
    xy_px, score = found.at(3)
    assert xy_px.shape == (2, 17, 2) and (score == 0.8).all()
    np.testing.assert_array_equal(xy_px[0], [STANDING[joint] for joint in COCO17.joints])


def test_a_joint_that_was_not_found_is_nan_with_score_zero(tmp_path: Path) -> None:
    person = np.array(openpose_person("BODY_25B")).reshape(25, 3)
    person[9] = 0.0
    person[10] = [np.nan, 5.0, 0.9]
    person[11, 2] = 7.0  # some exporters write scores above one
    folder = write_openpose(tmp_path, {"a.00000.json": [person.ravel().tolist()]})
    xy_px, score = read_detections(folder).at(0)
    assert np.isnan(xy_px[0, [9, 10]]).all() and score[0, [9, 10, 11]].tolist() == [0.0, 0.0, 1.0]
    assert np.isfinite(np.delete(xy_px[0], [9, 10], axis=0)).all()


def test_frames_without_people_and_frames_without_files_are_empty(tmp_path: Path) -> None:
    found = read_detections(write_openpose(tmp_path, {"a.0.json": [], "a.2.json": [openpose_person("BODY_25")]}))
    assert [len(found.at(index)[0]) for index in range(4)] == [0, 0, 1, 0]
    assert found.at(0)[0].shape == (0, 17, 2) and found.at(9)[1].shape == (0, 17)


def test_a_folder_that_shows_nobody_is_read_as_nobody(tmp_path: Path) -> None:
    found = read_detections(write_openpose(tmp_path, {"a.0.json": [], "a.1.json": []}))
    assert [len(found.at(index)[0]) for index in range(2)] == [0, 0]


def test_twenty_five_keypoints_that_show_neither_layout_must_be_named(tmp_path: Path) -> None:
    person = np.array(openpose_person("BODY_25B")).reshape(25, 3)
    person[[15, 16]] = 0.0
    folder = write_openpose(tmp_path, {"a.0.json": [person.ravel().tolist()]})
    with pytest.raises(InputError, match="BODY_25 or BODY_25B"):
        read_detections(folder)
    assert read_detections(folder, "BODY_25B").layout == "BODY_25B"
    with pytest.raises(InputError, match="'BODY_26'; known are BODY_25, BODY_25B"):
        read_openpose(folder, "BODY_26")
    with pytest.raises(InputError, match="COCO_18 has 18 keypoints, found 25"):
        read_openpose(folder, "COCO_18")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.0.json", "{", "not a JSON file"),
        ("a.0.json", "[]", "list `people`, found an empty list"),
        ("a.0.json", '{"people": [{"pose": []}]}', "person 0: expected the key pose_keypoints_2d"),
        ("a.0.json", '{"people": [{"pose_keypoints_2d": [1, 2]}]}', "triplets, found 2 numbers"),
        ("a.0.json", '{"people": [{"pose_keypoints_2d": ["x", 2, 1]}]}', "must be numbers"),
        ("a.0.json", '{"people": [{"pose_keypoints_2d": [1, 2, 1]}]}', "found 1"),
        ("clip.json", '{"people": []}', "frame number in the file's name"),
        ("readme.txt", "x", "none among 1 entries"),
    ],
)
def test_a_broken_folder_is_refused_by_file(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=says) as caught:
        read_detections(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_two_files_of_one_frame_and_a_path_that_is_not_there_are_refused(tmp_path: Path) -> None:
    write_openpose(tmp_path, {"cam1.7.json": [], "cam2.7.json": []})
    with pytest.raises(InputError, match="second file for frame 7"):
        read_detections(tmp_path)
    with pytest.raises(InputError, match="there is nothing here"):
        read_detections(tmp_path / "absent")


def coco_entry(image_id: int | str, x_px: float = 0.0) -> dict[str, object]:
    keypoints = [float(v) for joint in COCO17.joints for v in (STANDING[joint][0] + x_px, STANDING[joint][1], 0.5)]
    return {"image_id": image_id, "category_id": 1, "keypoints": keypoints, "score": 0.9}


def test_coco_results_are_grouped_by_frame(tmp_path: Path) -> None:
    entries = [coco_entry(4), coco_entry("frame_000002.jpg", 10.0), coco_entry(4, 200.0)]
    for content in (entries, {"annotations": entries}):
        (tmp_path / "results.json").write_text(json.dumps(content))
        found = read_detections(tmp_path / "results.json")
        assert {index: len(people[0]) for index, people in found.frames.items()} == {2: 1, 4: 2}
        assert found.at(4)[0][1, 0].tolist() == [300.0, 40.0] and (found.at(4)[1] == 0.5).all()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([], "expected a COCO-results list .*found an empty list"),
        ({"images": []}, "found an object with the keys images"),
        ([{"image_id": 1}], "entry 0: expected the keys image_id and keypoints"),
        ([{"image_id": 1, "keypoints": [0] * 42}], r"entry 0: expected 17 keypoints \(51 numbers\), found 14"),
        ([{"image_id": "first", "keypoints": [0] * 51}], "entry 0: image_id"),
        ([{"image_id": "x" * 100_000, "keypoints": [0] * 51}], r"found 'x{99}$"),
        ([{"image_id": "1" * 5000, "keypoints": [0] * 51}], "entry 0: image_id"),
    ],
)
def test_broken_coco_results_are_refused_by_entry(tmp_path: Path, content: object, says: str) -> None:
    (tmp_path / "results.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=says):
        read_detections(tmp_path / "results.json")


# --- a real recording, with the result that Pose2Sim published for it ---

# Names that the .trc gives to the joints of BODY_25B.
MARKERS = {
    "Nose": "nose", "Neck": "neck", "Head": "head",
    **{f"{side}{joint.replace('_', '').title()}": f"{name}_{joint}"
       for side, name in (("L", "left"), ("R", "right"))
       for joint in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle", "heel")},
    "LBigToe": "left_big_toe", "RBigToe": "right_big_toe", "LSmallToe": "left_small_toe", "RSmallToe": "right_small_toe",
}  # fmt: skip


def reference(shared_data: Path) -> Trajectories:
    return read_trc(shared_data / "pose2sim_4cam/single_static/pose-3d/S00_P00_T00_StaticTrial_0-12.trc")


def keypoints_of_the_trc(shared_data: Path, folder: str, markers: tuple[str, ...]) -> np.ndarray:
    """(C, F, M, 3) of the one person that every camera's JSON holds."""
    cameras = []
    for number in range(1, 5):
        raw = read_openpose_raw(shared_data / "pose2sim_4cam/single_static" / folder / f"cam0{number}_json")
        picks = [LAYOUTS["BODY_25B"].index(MARKERS[marker]) for marker in markers]
        cameras.append(np.stack([raw[index][0, picks] for index in sorted(raw)]))
    return np.stack(cameras)


def difference_mm(points: Points3D, truth: Trajectories) -> np.ndarray:
    return np.linalg.norm(points.xyz_m - truth.xyz_m.reshape(-1, 3), axis=1) * 1000.0


@pytest.mark.parametrize("folder", ["pose", "pose-associated"])
def test_triangulated_joints_agree_with_the_published_trc(shared_data: Path, folder: str) -> None:
    truth = reference(shared_data)
    rig = load_rig(shared_data / "pose2sim_4cam/calib/Calib_qualisys.toml")
    keypoints = keypoints_of_the_trc(shared_data, folder, truth.markers).reshape(4, -1, 3)
    weight = np.where(keypoints[..., 2] >= 0.3, keypoints[..., 2], 0.0)  # its likelihood_threshold_triangulation
    points = triangulate(rig, keypoints[..., :2], weight)
    kept = points.error_px < 15.0  # its reproj_error_threshold_triangulation: above, it leaves cameras out
    assert kept.sum() == 240 and len(kept) == 252
    assert difference_mm(points, truth)[kept].max() < 1.0
    assert np.median(difference_mm(points, truth)[kept]) < 0.1


def test_robust_triangulation_leaves_out_the_camera_that_the_trc_leaves_out(shared_data: Path) -> None:
    truth = reference(shared_data)
    rig = load_rig(shared_data / "pose2sim_4cam/calib/Calib_qualisys.toml")
    keypoints = keypoints_of_the_trc(shared_data, "pose", truth.markers).reshape(4, -1, 3)
    points = triangulate_robust(rig, keypoints[..., :2], keypoints[..., 2])
    # 95 % within 5 mm is asked for; here every joint is, also the head, where both tools leave the third camera out.
    assert difference_mm(points, truth).max() < 1.0
    assert (points.n_views == 3).sum() == 12


def test_the_recordings_keypoints_are_body_25b(shared_data: Path) -> None:
    folder = shared_data / "pose2sim_4cam/single_static/pose/cam01_json"
    found = read_detections(folder)
    raw = read_openpose_raw(folder)
    assert found.layout == "BODY_25B" and len(found.frames) == 12
    xy_px, score = found.at(0)
    np.testing.assert_array_equal(np.nan_to_num(xy_px), raw[0][:, :17, :2])
    assert (score[0, 1:5] == 0).all() and np.isnan(xy_px[0, 1:5]).all()  # no eyes, no ears in these files
    assert (score[0, 5:] > 0).all()
