from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.board import Board, find_corners_thorough, parse_board
from calibration.camera import Camera
from calibration.errors import CalibrationError
from calibration.extrinsics import calibrate_rig
from calibration.intrinsics import calibrate_from_images, calibrate_intrinsics
from calibration.transforms import Rigid

CHESS = Board("chessboard", 7, 5, 0.04)
CHARUCO = Board("charuco", 8, 6, 0.04, 0.03, "DICT_4X4_50")
SIZE = (1280, 720)
BROWN = Camera("cam", SIZE, np.array([[900.0, 0, 650], [0, 905, 350], [0, 0, 1]]), np.array([-0.2, 0.05, 0.001, -0.001, 0]))


def _views(camera: Camera, board: Board, count: int, noise_px: float, seed: int = 0, tilt_rad: float = 0.5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    views = []
    for _ in range(count):
        middle = Rigid(np.eye(3), -board.corners_m.mean(0))
        turned = Rigid.from_rvec(rng.uniform(-tilt_rad, tilt_rad, 3), rng.uniform([-0.25, -0.12, 0.5], [0.25, 0.12, 0.9]))
        views.append(camera.project((turned @ middle).apply(board.corners_m)))
    return np.array(views) + rng.normal(0, noise_px, (count, len(board.corners_m), 2))


@pytest.mark.parametrize(("lens", "dist"), [("brown", BROWN.dist), ("fisheye", np.array([0.05, -0.01, 0.002, -0.001]))])
def test_a_lens_is_recovered_within_its_own_uncertainty(lens: str, dist: np.ndarray) -> None:
    truth = Camera("cam", SIZE, BROWN.K, dist, lens)
    camera, report = calibrate_intrinsics(_views(truth, CHESS, 20, 0.2), CHESS, SIZE, lens=lens)
    # 4 sigma of the stated uncertainty, and 0.3 % (fisheye states a lower bound).
    assert abs(camera.K[0, 0] - truth.K[0, 0]) < max(4 * report.fx_sigma_px, 0.003 * truth.K[0, 0])
    assert report.rms_px == pytest.approx(0.2 * np.sqrt(2), rel=0.1)
    assert report.views_used == tuple(range(20))


def test_noise_free_corners_give_the_lens_back() -> None:
    camera, report = calibrate_intrinsics(_views(BROWN, CHESS, 12, 0.0), CHESS, SIZE)
    # cv2.calibrateCamera takes float32 corners: about 1e-4 px.
    np.testing.assert_allclose(camera.K, BROWN.K, atol=0.05)
    assert report.rms_px < 1e-3


def test_misread_charuco_corners_do_not_bend_the_lens() -> None:
    views = _views(BROWN, CHARUCO, 25, 0.2)
    rng = np.random.default_rng(1)
    wrong = rng.random(views.shape[:2]) < 0.03
    views[wrong] += rng.uniform(8, 60, (wrong.sum(), 2))
    camera, report = calibrate_intrinsics(views, CHARUCO, SIZE)
    assert report.rms_px < 0.35
    assert abs(camera.K[0, 0] - BROWN.K[0, 0]) < 4 * report.fx_sigma_px + 0.5


def test_a_spoiled_chessboard_view_is_named() -> None:
    views = _views(BROWN, CHESS, 12, 0.2)
    views[5, 3] += 15
    labels = [f"photo{number}.jpg" for number in range(12)]
    camera, report = calibrate_intrinsics(views, CHESS, SIZE, labels=labels)
    assert report.suspect_views == (5,)
    assert 5 not in report.views_used
    # One corner of 35 off by 15 px in x and y: 15 sqrt(2 / 35) = 3.6 px.
    assert re.fullmatch(r"photo5.jpg dropped: RMS 3\.\d\d px against a median of 0.2\d px", str(report.dropped[0]))
    assert str(report.dropped[0]) in report.notes
    assert abs(camera.K[0, 0] - BROWN.K[0, 0]) < 4 * report.fx_sigma_px


def test_many_views_are_thinned_and_the_rest_marked_unused() -> None:
    _, report = calibrate_intrinsics(_views(BROWN, CHESS, 90, 0.2), CHESS, SIZE)
    assert len(report.views_used) == 60
    assert np.isfinite(report.per_view_px).sum() == 60


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_views_are_refused_by_camera_name(count: int) -> None:
    views = np.full((4, len(CHESS.corners_m), 2), np.nan)
    views[:count] = _views(BROWN, CHESS, 4, 0.2)[:count]
    with pytest.raises(CalibrationError, match=f"camera left: found the board in {count} view"):
        calibrate_intrinsics(views, CHESS, SIZE, name="left")


def test_views_at_one_tilt_are_refused() -> None:
    with pytest.raises(CalibrationError, match="tilted"):
        calibrate_intrinsics(_views(BROWN, CHESS, 8, 0.3, tilt_rad=0.0), CHESS, SIZE)


def test_at_most_a_quarter_of_the_views_is_dropped() -> None:
    views = _views(BROWN, CHESS, 12, 0.2)
    views[[1, 4, 6, 9, 10], 3] += 15
    _, report = calibrate_intrinsics(views, CHESS, SIZE)
    assert len(report.dropped) <= 3
    assert {view.view for view in report.dropped} <= {1, 4, 6, 9, 10}


def test_good_views_are_never_dropped_for_standing_alone() -> None:
    for seed in range(5):
        _, report = calibrate_intrinsics(_views(BROWN, CHESS, 7, 0.3, seed), CHESS, SIZE)
        assert report.dropped == ()


def _turned_about_x(count: int) -> np.ndarray:
    rng, middle = np.random.default_rng(4), Rigid(np.eye(3), -CHESS.corners_m.mean(0))
    poses = [Rigid.from_rvec([angle, 0, 0], [0, 0, 0.9]) @ middle for angle in np.linspace(-0.12, 0.12, count)]
    views = np.array([BROWN.project(pose.apply(CHESS.corners_m)) for pose in poses])
    return views + rng.normal(0, 0.3, views.shape)


def test_a_board_turned_a_little_about_one_axis_only_is_refused() -> None:
    with pytest.raises(CalibrationError, match=r"focal length \(f[xy] .*one axis only.*left, right, top and bottom"):
        calibrate_intrinsics(_turned_about_x(10), CHESS, SIZE)


def test_a_board_that_is_only_moved_is_refused() -> None:
    rng, middle = np.random.default_rng(5), Rigid(np.eye(3), -CHESS.corners_m.mean(0))
    poses = [Rigid(np.eye(3), [x, 0.0, 0.7]) @ middle for x in np.linspace(-0.3, 0.3, 9)]
    views = np.array([BROWN.project(pose.apply(CHESS.corners_m)) for pose in poses])
    with pytest.raises(CalibrationError, match="face one way to within .* film the board tilted"):
        calibrate_intrinsics(views + rng.normal(0, 0.3, views.shape), CHESS, SIZE)


def test_infinite_corners_are_refused_and_missing_ones_are_not() -> None:
    views = _views(BROWN, CHESS, 8, 0.2)
    views[2] = np.nan
    _, report = calibrate_intrinsics(views, CHESS, SIZE)
    assert 2 not in report.views_used
    views[6, 1, 0] = np.inf
    with pytest.raises(CalibrationError, match="camera left: corners of view 6 hold infinity"):
        calibrate_intrinsics(views, CHESS, SIZE, name="left")


def test_views_of_another_resolution_are_refused() -> None:
    views = _views(BROWN, CHESS, 8, 0.2)
    views[3] = 2 * views[3] + (700, 0)
    with pytest.raises(CalibrationError, match="board of view 3 lies at .* outside an image of 1280x720; .*resolution"):
        calibrate_intrinsics(views, CHESS, SIZE)


@pytest.mark.parametrize(("stretch", "noticed"), [(1.0, False), (1.03, True)])
def test_pixels_that_are_not_square_are_noticed(stretch: float, noticed: bool) -> None:
    camera = Camera("cam", SIZE, np.array([[900.0 * stretch, 0, 650], [0, 900, 350], [0, 0, 1]]), BROWN.dist)
    _, report = calibrate_intrinsics(_views(camera, CHESS, 20, 0.2), CHESS, SIZE)
    assert report.aspect == pytest.approx(stretch, abs=4 * report.aspect_sigma)
    assert report.anisotropic is noticed
    assert any("not square" in note for note in report.notes) is noticed


def test_corners_of_another_board_are_refused() -> None:
    with pytest.raises(CalibrationError, match="M=35"):
        calibrate_intrinsics(np.zeros((5, 28, 2)), CHESS, SIZE)


def test_images_of_two_sizes_are_refused() -> None:
    images = [np.zeros((480, 640, 3), np.uint8), np.zeros((720, 1280, 3), np.uint8)]
    with pytest.raises(CalibrationError, match="640x480, 1280x720"):
        calibrate_from_images(images, CHESS)


@pytest.mark.parametrize(
    ("camera", "standard_fx_px", "thorough_views"), [(1, 1671.5, 7), (2, 1675.7, 6), (3, 1678.8, 7), (4, 1690.9, 6)]
)
def test_the_photos_of_four_cameras_give_the_known_focal_lengths(
    shared_data: Path, camera: int, standard_fx_px: float, thorough_views: int
) -> None:
    folder = shared_data / "pose2sim_4cam" / "calib" / "intrinsics" / f"int_cam0{camera}_img"
    images = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in sorted(folder.glob("*.jpg"))]
    labels = [path.name for path in sorted(folder.glob("*.jpg"))]
    solved, report = calibrate_from_images(
        images, parse_board("chessboard:4x7:0.06"), "auto", name=f"cam_0{camera}", labels=labels
    )
    assert report.model.label == "brown, k3 = 0"
    standard, thorough = report.figures
    assert (standard.detector, standard.views) == ("standard", 6)
    # The known figures carry one decimal; the last digit of cam_04 falls on the rounding edge.
    assert standard.fx_px == pytest.approx(standard_fx_px, abs=0.1)
    assert thorough.views == thorough_views
    assert thorough.rms_px < standard.rms_px
    # One of the six photos of cam_04 is misread; named, and fx without it agrees with the other cameras.
    assert [view.label for view in standard.dropped] == (["cam04_07_int.jpg"] if camera == 4 else [])
    # The four lenses are of one make: 1674 to 1682 px in the recording's own calibration.
    assert solved.K[0, 0] == pytest.approx(1678, abs=6)


OPENCV_PHOTOS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14)


@pytest.mark.parametrize("side", ["left", "right"])
def test_photo_02_of_the_opencv_set_is_named_and_read_anew(shared_data: Path, side: str) -> None:
    """OpenCV's 11 px window draws corners of its last row onto the squares' outer corners, up to 6.4 px away."""
    names = [f"{side}{number:02d}.jpg" for number in OPENCV_PHOTOS]
    images = [cv2.imread(str(shared_data / "opencv_stereo_chess" / name), cv2.IMREAD_GRAYSCALE) for name in names]
    _, report = calibrate_from_images(images, parse_board("chessboard:9x6:0.025"), "auto", name=side, labels=names)
    standard, thorough = report.figures
    assert [view.label for view in standard.dropped] == [f"{side}02.jpg"]
    # OpenCV's own result for the left camera: 0.393 px with square pixels and k3 free, 1.18 px in left02.
    assert standard.rms_px == pytest.approx({"left": 0.409, "right": 0.459}[side], abs=0.01)
    assert standard.dropped[0].rms_px > 1.1
    assert (thorough.views, thorough.dropped) == (13, ())
    assert report.rms_px < 0.22
    assert any(note.startswith(f"standard detector: {side}02.jpg dropped: RMS 1.2") for note in report.notes)


def test_the_stereo_pair_of_the_opencv_set_reaches_the_published_rms(shared_data: Path) -> None:
    board, folder = parse_board("chessboard:9x6:0.025"), shared_data / "opencv_stereo_chess"
    names = [[f"{side}{number:02d}.jpg" for number in OPENCV_PHOTOS] for side in ("left", "right")]
    images = [[cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE) for name in side] for side in names]
    lenses = [
        calibrate_from_images(side, board, "auto", name=side_names[0][:-6])[0]
        for side, side_names in zip(images, names, strict=True)
    ]
    corners = np.array([[find_corners_thorough(board, image) for image in side] for side in images])
    rig, report = calibrate_rig(corners, board, [(640, 480)] * 2, ("left", "right"), lenses)
    baseline_mm = 1e3 * float(np.linalg.norm(rig["left"].centre_m - rig["right"].centre_m))
    print(
        f"stereo RMS {report.rms_px:.3f} px, baseline {baseline_mm:.2f} mm, {sum(c.used for c in report.cameras)} corners used"
    )
    assert report.rms_px < 0.3
    # Nothing is bought by leaving corners out.
    assert all(camera.used >= 0.98 * camera.corners for camera in report.cameras)
    assert baseline_mm == pytest.approx(83.6, abs=1.0)
