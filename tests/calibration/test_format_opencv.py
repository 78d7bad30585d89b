"""FileStorage files of OpenCV's own tools are read as they mean it, and OpenCV reads ours."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.errors import CalibrationError
from calibration.formats import load_rig, save_rig
from calibration.transforms import Rigid
from tests.calibration.rigs import projections, rig_of_lens

K = np.array([[800.25, 0.0, 319.5], [0.0, 801.125, 239.5], [0.0, 0.0, 1.0]])
RIGHT_FROM_LEFT = Rigid.from_rvec([0.02, -0.1, 0.005], [-0.12, 0.001, 0.003])


def stored(path: Path, nodes: dict[str, object]) -> Path:
    """A file that OpenCV itself wrote."""
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    for key, value in nodes.items():
        if isinstance(value, list):
            storage.startWriteStruct(key, cv2.FileNode_SEQ)
            for each in value:
                storage.write("", each)
            storage.endWriteStruct()
        else:
            storage.write(key, value)
    storage.release()
    return path


def stereo_nodes(**changes: object) -> dict[str, object]:
    R, T = RIGHT_FROM_LEFT.R, RIGHT_FROM_LEFT.t[:, None]
    nodes = {"M1": K, "D1": np.full((1, 5), 0.01), "M2": K + 0, "D2": np.full((1, 5), 0.02), "R": R, "T": T, "E": R, "F": R}
    nodes |= {"image_width": 640, "image_height": 480}
    return {key: value for key, value in (nodes | changes).items() if value is not None}


@pytest.mark.parametrize("ending", [".yml", ".xml"])
def test_a_stereo_file_of_opencv_has_left_at_the_origin_and_right_where_r_and_t_say(tmp_path: Path, ending: str) -> None:
    rig = load_rig(stored(tmp_path / f"stereo{ending}", stereo_nodes()))
    assert (rig.names, rig.stereo_pairs, rig["left"].size_wh) == (("left", "right"), (("left", "right"),), (640, 480))
    xyz_m = np.random.default_rng(0).uniform((-1, -1, 3), (1, 1, 5), (20, 3))
    seen = cv2.projectPoints(xyz_m, RIGHT_FROM_LEFT.rvec, RIGHT_FROM_LEFT.t, K, np.full(5, 0.02))[0].reshape(-1, 2)
    np.testing.assert_allclose(rig["right"].project(xyz_m), seen, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(rig["left"].cam_from_world.matrix, np.eye(4))


def test_a_stereo_file_without_sizes_says_what_to_add(tmp_path: Path) -> None:
    path = stored(tmp_path / "stereo.yml", stereo_nodes(image_width=None))
    with pytest.raises(CalibrationError, match=r"stereo\.yml: camera left: image_width, image_height: missing; add them"):
        load_rig(path)


@pytest.mark.parametrize("size", [[640, 480], np.array([[640], [480]], np.int32)])
def test_a_size_is_read_from_one_node_too(tmp_path: Path, size: object) -> None:
    path = stored(tmp_path / "stereo.yml", stereo_nodes(image_width=None, image_height=None, image_size=size))
    assert load_rig(path)["right"].size_wh == (640, 480)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"R": np.diag([1.0, 1.0, -1.0])}, "camera right: R: not a rotation"),
        ({"R": np.full((3, 3), np.nan)}, "camera right: R: NaN"),
        ({"T": np.zeros((2, 1))}, "camera right: T: expected 3 numbers, found 2"),
        ({"D2": np.zeros((1, 6))}, "camera right: D2: found 6 coefficients"),
        ({"D2": np.full((1, 14), 0.1)}, "camera right: D2: thin-prism"),
        ({"M1": np.eye(2)}, r"camera left: M1: expected shape \(3, 3\), found \(2, 2\)"),
        ({"M1": K.T}, "camera left: K: .*transposed"),
        ({"D1": None}, "camera left: D1: missing"),
        ({"image_width": 640.5}, "camera left: size: expected whole pixels"),
        ({"fisheye_model": 2}, "fisheye_model: expected true or false, found 2"),
    ],
)
def test_a_broken_stereo_file_is_refused_by_camera_and_node(tmp_path: Path, change: dict[str, object], says: str) -> None:
    for ending in (".yml", ".xml"):
        path = stored(tmp_path / f"stereo{ending}", stereo_nodes(**change))
        with pytest.raises(CalibrationError, match=rf"stereo\{ending}: (.*: )?{says}"):
            load_rig(path)


@pytest.mark.parametrize(
    ("coefficients", "fisheye", "lens", "kept"),
    [(4, 0, "brown", 5), (5, 0, "brown", 5), (8, 0, "rational", 8), (4, 1, "fisheye", 4)],
)
def test_coefficients_and_the_fisheye_node_tell_the_lens(
    tmp_path: Path, coefficients: int, fisheye: int, lens: str, kept: int
) -> None:
    D = np.arange(1, coefficients + 1)[None] * 1e-3
    rig = load_rig(stored(tmp_path / "stereo.yml", stereo_nodes(D1=D, D2=D, fisheye_model=fisheye)))
    assert (rig["left"].lens, rig["left"].dist.size) == (lens, kept)
    np.testing.assert_array_equal(rig["left"].dist[:coefficients], D[0])


def test_zeros_that_fill_up_a_rational_lens_are_dropped(tmp_path: Path) -> None:
    D = np.r_[np.arange(1, 9) * 1e-3, np.zeros(6)][None]
    assert load_rig(stored(tmp_path / "stereo.yml", stereo_nodes(D1=D, D2=D)))["left"].lens == "rational"


def test_one_camera_of_opencv_is_read_as_opencv_reads_it(shared_data: Path) -> None:
    path = shared_data / "opencv_stereo_chess" / "left_intrinsics.yml"
    camera = load_rig(path).cameras[0]
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
    np.testing.assert_array_equal(camera.K, storage.getNode("camera_matrix").mat())
    np.testing.assert_array_equal(camera.dist, storage.getNode("distortion_coefficients").mat().ravel())
    assert (camera.name, camera.size_wh, camera.lens) == ("left_intrinsics", (640, 480), "brown")


def test_a_camera_info_of_ros_is_read_without_tags(tmp_path: Path) -> None:
    text = "image_width: 640\nimage_height: 480\ncamera_name: head\ndistortion_model: equidistant\n"
    text += "camera_matrix: {rows: 3, cols: 3, data: [800.0, 0, 320, 0, 801.0, 240, 0, 0, 1]}\n"
    text += "distortion_coefficients: {rows: 1, cols: 4, data: [0.1, 0.01, 1e-3, 0]}\n"
    (tmp_path / "info.yaml").write_text(text)
    camera = load_rig(tmp_path / "info.yaml")["head"]
    assert (camera.lens, camera.dist.tolist()) == ("fisheye", [0.1, 0.01, 1e-3, 0.0])


@pytest.mark.parametrize("ending", [".yml", ".xml"])
def test_opencv_reads_our_rig_bit_for_bit(tmp_path: Path, ending: str) -> None:
    rig = rig_of_lens("rational").subset(["left", "right"])
    save_rig(rig, tmp_path / f"rig{ending}", "opencv")
    storage = cv2.FileStorage(str(tmp_path / f"rig{ending}"), cv2.FILE_STORAGE_READ)
    assert [storage.getNode("names").at(i).string() for i in range(2)] == ["left", "right"]
    for camera, n in zip(rig.cameras, "12", strict=True):
        for key, value in (
            (f"K_{camera.name}", camera.K),
            (f"M{n}", camera.K),
            (f"Rot_{camera.name}", camera.cam_from_world.R),
        ):
            np.testing.assert_array_equal(storage.getNode(key).mat(), value)
        np.testing.assert_array_equal(storage.getNode(f"D{n}").mat().ravel(), camera.dist)
        np.testing.assert_array_equal(storage.getNode(f"T_{camera.name}").mat().ravel(), camera.cam_from_world.t)
    right_from_left = rig["right"].cam_from_world @ rig["left"].cam_from_world.inverse()
    np.testing.assert_array_equal(storage.getNode("R").mat(), right_from_left.R)


def test_the_stereo_nodes_of_our_pair_make_the_same_pair(tmp_path: Path) -> None:
    rig = rig_of_lens("fisheye").subset(["left", "right"])
    save_rig(rig, tmp_path / "rig.yml", "opencv")
    text = (tmp_path / "rig.yml").read_text()
    (tmp_path / "pair.yml").write_text(text.replace("names:", "renamed:"))  # what is left are the stereo nodes
    pair = load_rig(tmp_path / "pair.yml")
    moved = type(rig)(tuple(c.with_pose(c.cam_from_world @ rig["left"].cam_from_world.inverse()) for c in rig.cameras))
    np.testing.assert_allclose(projections(pair), projections(moved), rtol=0, atol=1e-9)


def test_six_digits_of_easymocap_are_taken_from_the_rodrigues_vector(tmp_path: Path) -> None:
    pose = Rigid.from_rvec([0.5, -1.2, 0.3], [0.1, 0.2, 3.0])
    text = '%YAML:1.0\r\n---\r\nnames:\r\n  - "01"\r\n'
    nodes = {"K_01": K, "dist_01": np.zeros((1, 5)), "R_01": pose.rvec[:, None], "Rot_01": pose.R, "T_01": pose.t[:, None]}
    for key, value in nodes.items():
        data = ", ".join(f"{number:.6f}" for number in value.reshape(-1))
        text += f"{key}: !!opencv-matrix\r\n  rows: {len(value)}\r\n  cols: {value.shape[1]}\r\n  dt: d\r\n  data: [{data}]\r\n"
    (tmp_path / "both.yml").write_text(text + "H_01: 480\r\nW_01: 640\r\n")
    camera = load_rig(tmp_path / "both.yml")["01"]
    np.testing.assert_array_equal(camera.cam_from_world.R, Rigid.from_rvec(pose.rvec.round(6), np.zeros(3)).R)
    (tmp_path / "intri.yml").write_text(text.replace("T_01", "X_01"))
    with pytest.raises(CalibrationError, match=r"camera 01: T_01: missing; EasyMocap keeps poses in extri\.yml"):
        load_rig(tmp_path / "intri.yml")


def test_a_name_that_opencv_cannot_hold_is_refused(tmp_path: Path) -> None:
    for name in ("caméra 3", "a.b", "Yes"):
        with pytest.raises(CalibrationError, match=f"camera {name}: OpenCV's keys hold letters"):
            save_rig(rig_of_lens("brown", ("left", "right", name)), tmp_path / "rig.xml")
