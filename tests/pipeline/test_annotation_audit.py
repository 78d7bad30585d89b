"""Doubtful labels: what is made wrong on purpose comes first, on virtual pictures and on COCO's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from models.body import load_body
from models.motion import random_pose
from models.puppet import make_puppet
from models.skeleton import COCO17
from pipeline.annotation_audit import CHAINS, doubtful_labels, exchanged_sides, long_limbs
from pipeline.errors import InputError

ANKLES = [COCO17.index("left_ankle"), COCO17.index("right_ankle")]


def pictures(count: int = 200) -> np.ndarray:
    """(N, J, 2): people seen from anywhere at some distance, with 1 % label noise."""
    pytest.importorskip("anny")
    body = load_body()
    puppet = make_puppet(body, body.shape())
    rng = np.random.default_rng(0)
    xyz_m = puppet.joints(np.stack([random_pose(rng) for _ in range(count)]))
    yaw, scale_px = rng.uniform(-np.pi, np.pi, count), rng.uniform(50, 300, count)
    across = np.cos(yaw)[:, None] * xyz_m[..., 0] + np.sin(yaw)[:, None] * xyz_m[..., 1]
    xy = np.stack([across, -xyz_m[..., 2]], -1) + rng.normal(0, 0.01, (count, 17, 2))
    return xy * scale_px[:, None, None]


def test_a_joint_that_is_far_off_is_the_one_with_all_its_limbs_too_long() -> None:
    xy_px = pictures()
    size_px = np.ptp(xy_px, axis=1).max(-1)
    for joint in (COCO17.index("left_wrist"), COCO17.index("right_knee")):
        moved = xy_px.copy()
        moved[7, joint] += [0.5 * size_px[7], -0.2 * size_px[7]]
        excess = long_limbs(moved)
        assert int(np.nanargmax(excess[7])) == joint
        assert np.nanmax(excess[7]) > np.nanquantile(np.nanmax(np.where(np.isfinite(excess), excess, -9), 1), 0.98)


def test_exchanged_ankles_fit_better_the_other_way_round() -> None:
    xy_px = pictures()
    apart = np.linalg.norm(xy_px[:, 15] - xy_px[:, 16], axis=-1) / np.ptp(xy_px, axis=1).max(-1)
    row = int(apart.argmax())
    before = exchanged_sides(xy_px)[row]
    xy_px[row, ANKLES] = xy_px[row, ANKLES[::-1]]
    after = exchanged_sides(xy_px)[row]
    shins = CHAINS.index(("knee", "ankle"))
    assert before[shins] < 0 < after[shins]
    assert int(after.argmax()) == shins


def test_unlabelled_people_are_not_judged() -> None:
    xy_px = pictures(20)
    xy_px[3] = np.nan
    assert np.isnan(long_limbs(xy_px)[3]).all()
    assert np.isnan(exchanged_sides(xy_px)[3]).all()


def test_what_is_made_wrong_in_coco_is_listed_first(shared_data: Path, tmp_path: Path) -> None:
    source, folder = shared_data / "coco_mini", tmp_path / "coco"
    folder.mkdir()
    (folder / "images").symlink_to(source / "images")
    told = json.loads((source / "annotations.json").read_text())
    standing = max(told["annotations"], key=lambda a: (a["num_keypoints"], a["bbox"][3]))
    points = np.array(standing["keypoints"], float).reshape(-1, 3)
    points[9, :2] += [0.8 * standing["bbox"][2], -0.4 * standing["bbox"][3]]
    standing["keypoints"] = points.ravel().tolist()
    (folder / "annotations.json").write_text(json.dumps(told))
    file = next(image["file_name"] for image in told["images"] if image["id"] == standing["image_id"])
    doubts = doubtful_labels(folder)
    assert file in {doubt.file for doubt in doubts[:5]}
    assert next(doubt for doubt in doubts if doubt.file == file).joint == "left_wrist"


def test_too_few_people_say_nothing_of_what_is_usual(shared_data: Path, tmp_path: Path) -> None:
    told = json.loads((shared_data / "coco_mini" / "annotations.json").read_text())
    labelled = {a["image_id"] for a in told["annotations"] if a["num_keypoints"] > 10}
    told["images"] = [image for image in told["images"] if image["id"] in labelled][:2]
    told["annotations"] = [a for a in told["annotations"] if a["image_id"] in {i["id"] for i in told["images"]}]
    (tmp_path / "images").mkdir()
    for image in told["images"]:
        shutil.copy(shared_data / "coco_mini" / "images" / image["file_name"], tmp_path / "images")
    (tmp_path / "annotations.json").write_text(json.dumps(told))
    with pytest.raises(InputError, match="expected at least 10 people with 3 labelled limbs, found"):
        doubtful_labels(tmp_path)
