from __future__ import annotations

import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.board import Board, find_corners, parse_board
from calibration.camera import Camera
from calibration.errors import CalibrationError
from calibration.extrinsics import calibrate_rig
from calibration.quality import compare_rigs
from calibration.rig import Rig
from calibration.synthetic import BoardTruth, moving_board, project_board, ring_rig
from calibration.transforms import Rigid, rotation_angle_rad

BOARD = Board("charuco", 9, 6, 0.06, 0.045, "DICT_4X4_50")
SIZES = [(1920, 1080)] * 4
PAIRS = [("cam1", "cam2"), ("cam2", "cam3"), ("cam3", "cam4")]


def _problem(
    frames: int = 40, outlier: float = 0.02, pairs: list[tuple[str, ...]] | None = None, seed: int = 0
) -> tuple[Rig, BoardTruth]:
    rig = ring_rig(4, arc_deg=100, seed=seed)
    poses = moving_board(rig, BOARD, frames, facing=pairs, seed=seed)
    truth = project_board(rig, BOARD, poses, 0.3, outlier, seed=seed)
    for frame in range(frames if pairs else 0):
        group = (pairs or [])[frame % len(pairs or [])]
        for index, name in enumerate(rig.names):
            if name not in group:
                truth.observations[index, frame] = np.nan
    return rig, truth


def _largest(rig: Rig, truth: Rig) -> tuple[float, float]:
    errors = compare_rigs(rig, truth)
    return max(e.rotation_deg for e in errors), max(e.centre_mm for e in errors)


@pytest.mark.parametrize("outlier", [0.0, 0.02, 0.2, 0.4])
def test_known_lenses_give_the_rig_whatever_the_outliers(outlier: float) -> None:
    rig, truth = _problem(outlier=outlier)
    solved, report = calibrate_rig(truth.observations, BOARD, SIZES, intrinsics=rig.cameras)
    rotation_deg, centre_mm = _largest(solved, rig)
    # About 5 sigma of what the covariance states for 40 frames at 0.3 px (0.006 deg, 0.5 mm).
    assert rotation_deg < 0.03
    assert centre_mm < 2.0
    assert report.sigma_px == pytest.approx(0.3, rel=0.05)
    assert not report.failed


def test_unknown_lenses_are_solved_from_the_same_views() -> None:
    rig, truth = _problem(frames=80)
    solved, report = calibrate_rig(truth.observations, BOARD, SIZES)
    rotation_deg, centre_mm = _largest(solved, rig)
    sigma_mm = max(report.centre_sigma_mm)
    assert centre_mm < max(4 * sigma_mm, 5.0)
    assert rotation_deg < 0.3
    assert len(report.lenses) == 4
    assert all(abs(a.K[0, 0] / b.K[0, 0] - 1) < 0.005 for a, b in zip(solved.cameras, rig.cameras, strict=True))


def test_lenses_are_centred_unless_the_corners_say_otherwise() -> None:
    rig, truth = _problem(frames=60)
    centred, _ = calibrate_rig(truth.observations, BOARD, SIZES)
    assert all((camera.dist[2:4] == 0).all() for camera in centred.cameras)
    bent = Rig(tuple(replace(c, dist=c.dist + [0, 0, 3e-3, -2e-3, 0]) for c in rig.cameras))
    seen = project_board(bent, BOARD, truth.world_from_board, 0.3)
    solved, report = calibrate_rig(seen.observations, BOARD, SIZES)
    assert solved.lens_covariance is not None and not report.failed
    for camera, block in zip(solved.cameras, solved.lens_covariance, strict=True):
        sigma = np.sqrt(np.diag(block)[6:8])  # fx, fy, cx, cy, k1, k2, p1, p2
        assert np.abs(camera.dist[2:4] - [3e-3, -2e-3]).max() < max(5 * sigma.max(), 1e-3)
        assert np.abs(camera.dist[2:4]).max() > 1e-3


def test_the_covariance_of_solved_lenses_covers_their_errors() -> None:
    rig, truth = _problem(frames=60)
    solved, _ = calibrate_rig(truth.observations, BOARD, SIZES)
    assert solved.lens_covariance is not None
    for camera, block, known in zip(solved.cameras, solved.lens_covariance, rig.cameras, strict=True):
        error_px = (camera.K - known.K)[[0, 1, 0, 1], [0, 1, 2, 2]]
        assert (np.abs(error_px) < 5 * np.sqrt(np.diag(block)[:4])).all()


def test_lenses_known_roughly_lead_to_the_same_rig() -> None:
    rig, truth = _problem(frames=40)
    alone, _ = calibrate_rig(truth.observations, BOARD, SIZES)
    rough = [replace(c, K=c.K * [[1.02, 1, 1], [1, 0.99, 1], [1, 1, 1]], dist=np.zeros(5)) for c in rig.cameras]
    helped, report = calibrate_rig(truth.observations, BOARD, SIZES, start=rough)
    assert not report.lenses
    for a, b in zip(alone.cameras, helped.cameras, strict=True):
        assert np.abs(a.cam_from_world.matrix - b.cam_from_world.matrix).max() < 2e-4
        assert a.K[0, 0] == pytest.approx(b.K[0, 0], abs=0.1)


def test_a_chain_of_adjacent_pairs_is_enough() -> None:
    rig, truth = _problem(frames=90, pairs=PAIRS)
    solved, report = calibrate_rig(truth.observations, BOARD, SIZES, intrinsics=rig.cameras)
    rotation_deg, centre_mm = _largest(solved, rig)
    assert rotation_deg < 0.12
    assert centre_mm < 4.3
    assert {edge.names for edge in report.edges} == set(PAIRS)


def test_groups_that_share_no_view_are_told_with_the_pair_to_film() -> None:
    rig, truth = _problem(frames=20, pairs=[("cam1", "cam2"), ("cam3", "cam4")])
    with pytest.raises(CalibrationError) as caught:
        calibrate_rig(truth.observations, BOARD, SIZES, intrinsics=rig.cameras)
    message = str(caught.value)
    assert "{cam1, cam2} and {cam3, cam4}" in message
    assert "film the board where cam1 and cam3" in message


def test_a_stereo_pair_is_a_rig_of_two() -> None:
    rig, truth = _problem(frames=20)
    pair = (("cam2", "cam3"),)
    solved, report = calibrate_rig(
        truth.observations[1:3], BOARD, SIZES[:2], names=("cam2", "cam3"), intrinsics=rig.cameras[1:3], stereo_pairs=pair
    )
    assert solved.stereo_pairs == pair
    ours = solved["cam2"].cam_from_world @ solved["cam3"].cam_from_world.inverse()
    true = rig["cam2"].cam_from_world @ rig["cam3"].cam_from_world.inverse()
    # cam2 is the gauge, so the stated uncertainty of cam3 is that of the pair; 4 sigma.
    assert 1e3 * rotation_angle_rad(ours.R, true.R) < 4 * report.rotation_sigma_mrad[1] < 2.0
    assert 1e3 * np.linalg.norm(ours.inverse().t - true.inverse().t) < 4 * report.centre_sigma_mm[1] < 8.0


def test_the_order_of_cameras_and_frames_changes_nothing() -> None:
    rig, truth = _problem(frames=25)
    cameras, frames = np.array([2, 0, 3, 1]), np.random.default_rng(0).permutation(25)
    straight, _ = calibrate_rig(truth.observations, BOARD, SIZES, rig.names, rig.cameras)
    names = [rig.names[index] for index in cameras]
    mixed, _ = calibrate_rig(
        truth.observations[cameras][:, frames], BOARD, SIZES, names, [rig.cameras[index] for index in cameras]
    )
    for name in rig.names:
        np.testing.assert_allclose(straight[name].cam_from_world.matrix, mixed[name].cam_from_world.matrix, atol=1e-6)


def test_the_default_world_is_upright_and_centred_on_what_the_cameras_look_at() -> None:
    rig, truth = _problem(frames=15)
    solved, _ = calibrate_rig(truth.observations, BOARD, SIZES, intrinsics=rig.cameras)
    # All cameras of the truth look at (0, 0, 0.9), so that is the origin; their mean -y axis leans by their common pitch.
    for ours, true in zip(solved.cameras, rig.cameras, strict=True):
        distance = np.linalg.norm(ours.centre_m)
        assert distance == pytest.approx(np.linalg.norm(true.centre_m - [0, 0, 0.9]), abs=0.005)
        assert ours.cam_from_world.R[1, 2] < -0.9


def test_a_board_on_the_floor_is_the_world() -> None:
    rig = ring_rig(4, arc_deg=100, height_m=2.5)
    floor = Rigid.from_rvec([np.pi, 0, 0], [0.0, 0.2, 0.0])  # sheet up: z into the floor
    poses = (floor, *moving_board(rig, BOARD, 20))
    truth = project_board(rig, BOARD, poses, 0.3)
    assert np.isfinite(truth.observations[:, 0]).all()
    solved, report = calibrate_rig(truth.observations, BOARD, SIZES, intrinsics=rig.cameras, world="board:0")
    pose = report.world_from_board[0]
    assert pose is not None
    np.testing.assert_allclose(pose.apply(BOARD.corners_m)[:, 2], 0, atol=1e-9)
    for ours, true in zip(solved.cameras, rig.cameras, strict=True):
        assert ours.centre_m[2] == pytest.approx(true.centre_m[2], abs=0.01)
    with pytest.raises(CalibrationError, match="board:<frame>"):
        calibrate_rig(truth.observations, BOARD, SIZES, intrinsics=rig.cameras, world="floor")
    with pytest.raises(CalibrationError, match="frame 99"):
        calibrate_rig(truth.observations, BOARD, SIZES, intrinsics=rig.cameras, world="board:99")


def test_no_board_anywhere_is_refused() -> None:
    with pytest.raises(CalibrationError, match="no camera sees the board in any of 9 instants"):
        calibrate_rig(np.full((4, 9, 40, 2), np.nan), BOARD, SIZES)


def test_a_camera_without_a_board_is_named() -> None:
    rig, truth = _problem(frames=10)
    truth.observations[2] = np.nan
    with pytest.raises(CalibrationError, match="camera cam3: not a single board"):
        calibrate_rig(truth.observations, BOARD, SIZES, intrinsics=rig.cameras)


def test_one_shared_view_fails_its_gate_and_one_view_cannot_give_a_lens() -> None:
    rig, truth = _problem(frames=1)
    _, report = calibrate_rig(truth.observations, BOARD, SIZES, intrinsics=rig.cameras)
    assert {gate.name for gate in report.failed} >= {"views of cam1"}
    with pytest.raises(CalibrationError, match="cam1: found the board in 1 view"):
        calibrate_rig(truth.observations, BOARD, SIZES)


def test_infinite_and_half_missing_corners_count_as_unseen() -> None:
    rig, truth = _problem(frames=20)
    spoiled = truth.observations.copy()
    spoiled[0, 3, :5, 0] = np.inf
    spoiled[1, 4, :5, 1] = np.nan
    solved, _ = calibrate_rig(spoiled, BOARD, SIZES, intrinsics=rig.cameras)
    assert _largest(solved, rig)[1] < 2.0


def test_shapes_and_sizes_that_disagree_are_refused() -> None:
    rig, truth = _problem(frames=4)
    with pytest.raises(CalibrationError, match="M=40"):
        calibrate_rig(truth.observations[:, :, :39], BOARD, SIZES)
    with pytest.raises(CalibrationError, match="two or more cameras"):
        calibrate_rig(truth.observations, BOARD, SIZES[:3])
    with pytest.raises(CalibrationError, match="camera cam1: its images are 1280x720"):
        calibrate_rig(truth.observations, BOARD, [(1280, 720)] * 4, intrinsics=rig.cameras)


def test_the_shared_problem_is_solved_below_the_known_figures(shared_data: Path) -> None:
    folder = shared_data.parent / "bench"
    if not (folder / "problems.py").is_file():
        pytest.skip(f"{folder / 'problems.py'} is not there")
    sys.path.insert(0, str(folder))
    try:
        import problems
    finally:
        sys.path.remove(str(folder))
    problem = problems.charuco_problem(n_cams=4, n_frames=100, noise=0.3, outlier=0.02, seed=0)
    cameras = [Camera(f"cam{i + 1}", c["size"], c["K"], c["dist"]) for i, c in enumerate(problem["cams"])]
    known, report = calibrate_rig(problem["p"], BOARD, SIZES, intrinsics=cameras)
    solved, _ = calibrate_rig(problem["p"], BOARD, SIZES)
    for label, rig in (("known lenses", known), ("lenses solved", solved)):
        poses = [(c, c.cam_from_world) for c in rig.cameras]
        table = [{"K": c.K, "dist": c.dist, "rvec": pose.rvec, "t": 1e3 * pose.t} for c, pose in poses]
        figures = problems.eval_rig(table, problem["cams"], problem["p"], problem["Xw"], problem["outlier"])
        print(f"{label}: {figures['rot_deg_mean']:.4f} deg, {figures['centre_mm_mean']:.2f} mm (known: 0.029 deg, 1.0 mm)")
        if label == "known lenses":
            assert figures["rot_deg_mean"] < 0.015
            assert figures["centre_mm_mean"] < 0.8
    assert figures["rot_deg_mean"] < 0.06
    assert figures["centre_mm_mean"] < 3.0
    assert report.bundle.converged and report.bundle.steps <= 15  # what it costs


def _webcams(folder: Path) -> Rig:
    table = tomllib.loads((folder / "camera_array.toml").read_text())["cameras"]
    cameras = []
    for key, row in table.items():
        pose = Rigid(np.array(row["rotation"]), row["translation"])
        cameras.append(Camera(f"cam{key}", tuple(row["size"]), row["matrix"], row["distortions"], "brown", pose))
    return Rig(tuple(cameras))


def _every_third(path: Path, board: Board) -> np.ndarray:
    video, corners = cv2.VideoCapture(str(path)), []
    while video.grab():
        if len(corners) % 3 == 0:
            found = find_corners(board, cv2.cvtColor(video.retrieve()[1], cv2.COLOR_BGR2RGB))
        else:
            found = np.full((len(board.corners_m), 2), np.nan)
        corners.append(found)
    return np.stack(corners)


def test_four_webcams_agree_with_another_tool_within_one_degree_and_15_mm(shared_data: Path) -> None:
    folder = shared_data / "webcams_charuco"
    board = parse_board("charuco:4x5:0.054:0.0405:DICT_4X4_1000:inverted")
    known = _webcams(folder)
    observations = np.stack([_every_third(folder / f"cam_{index}.mp4", board) for index in range(4)])
    rig, report = calibrate_rig(observations, board, [(1280, 720)] * 4, names=known.names, intrinsics=known.cameras)
    for error in compare_rigs(rig, known):
        print(f"{error.name}: {error.rotation_deg:.2f} deg, {error.centre_mm:.1f} mm")
        assert error.rotation_deg < 1.0
        assert error.centre_mm < 15.0
    assert not report.failed
