"""The calibrate stage on rendered boards with a known rig."""

import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.board import Board, find_corners
from calibration.camera import Camera
from calibration.errors import CalibrationError
from calibration.formats import load_rig, save_rig
from calibration.quality import compare_rigs, failures
from calibration.rig import Rig
from calibration.synthetic import moving_board
from calibration.transforms import Rigid
from pipeline import calibrate, ingest
from pipeline.board_clip import choose_instants
from pipeline.boards import no_board
from pipeline.calibrate import read_rig
from pipeline.calibrated import Calibrated
from pipeline.config import CalibrateConfig, IngestConfig
from pipeline.errors import InputError, StageError
from pipeline.new_session import Request, new_session
from pipeline.rigs import fit, import_rig, posed_like
from pipeline.store import Ref, Store
from pipeline.types import Artefact
from tests.pipeline.board_film import BOARD, SIZE, rendered, small_rig
from tests.pipeline.footage import numbered_video, write_video

CONFIG = CalibrateConfig()


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Rig, tuple[Rigid, ...]]:
    folder, rig = tmp_path_factory.mktemp("board"), small_rig()
    poses = moving_board(rig, BOARD, 14, low_m=(-0.2, -0.2, 0.8), high_m=(0.3, 0.2, 1.1), seed=1)
    for name in rig.names:
        write_video(folder / f"{name}.mp4", [rendered(rig, name, pose) for pose in poses], crf="4")
    return folder, rig, poses


def _session(root: Path, filmed: Path, **options: object) -> Store:
    cameras = tuple(f"cam{n}={filmed / f'cam{n}.mp4'}" for n in (1, 2, 3))
    request = Request(cameras=cameras, clip="board", **{"board_clip": True, "board": BOARD.spec, **options})  # type: ignore[arg-type]
    new_session(root, request)
    return Store(root)


def _ingested(store: Store) -> tuple[Artefact, ...]:
    return tuple(ingest.run(store, Ref(clip=clip.name), IngestConfig()) for clip in store.session.clips)


def test_a_board_clip_gives_the_rig_that_filmed_it(tmp_path: Path, filmed: tuple[Path, Rig, tuple[Rigid, ...]]) -> None:
    store = _session(tmp_path, filmed[0])
    frames = _ingested(store)
    made = calibrate.run(store, Ref(frames), CONFIG)
    # 0.1 px of corner noise at 1.6 m and 330 px is 0.5 mm per corner; focal length and depth go together, hence a few mm.
    assert max(error.centre_mm for error in compare_rigs(read_rig(made), filmed[1])) < 15
    assert max(error.rotation_deg for error in compare_rigs(read_rig(made), filmed[1])) < 0.3
    assert set(made.summary["lens"].values()) == {"brown"}
    page = (made.path / "report.html").read_text()
    assert "Choice of lens by cross-validation over views" in page
    assert "boards tilted by" in page
    assert set(made.summary["rms_px"]) == {"cam1", "cam2", "cam3"}
    assert max(made.summary["rms_px"].values()) < 0.3
    report = (made.path / "report.html").read_text()
    assert "Lenses" in report
    assert "http" not in report
    assert re.fullmatch(r"(\d+) of \1 passed", made.summary["gates"])
    assert made.summary["sigma_mm"]["cam1"] == 0 < made.summary["sigma_mm"]["cam3"] < 15
    again = calibrate.run(store, Ref(frames), CONFIG)
    assert not again.made
    content = (made.path / "rig.yaml").read_bytes()
    assert (calibrate.run(Store(tmp_path, redo=("calibrate",)), Ref(frames), CONFIG).path / "rig.yaml").read_bytes() == content


def test_a_measured_distance_between_cameras_refuses_a_rig_of_another_size(filmed: tuple[Path, Rig, tuple[Rigid, ...]]) -> None:
    made = Calibrated(filmed[1])
    true_m = float(np.linalg.norm(made.rig["cam1"].centre_m - made.rig["cam2"].centre_m))
    for told_m, wrong in ((true_m, []), (1.1 * true_m, ["distance from cam1 to cam2"])):
        config = CalibrateConfig(distances_m={"cam1+cam2": told_m})
        assert [gate.name for gate in failures(made.gates(config))] == wrong
    with pytest.raises(InputError, match="expected two cameras of cam1, cam2, cam3 and metres.*got cam1: 1"):
        made.gates(CalibrateConfig(distances_m={"cam1": 1.0}))


def test_a_refused_rig_leaves_its_report_to_look_at(tmp_path: Path, filmed: tuple[Path, Rig, tuple[Rigid, ...]]) -> None:
    store = _session(tmp_path, filmed[0])
    frames = _ingested(store)
    refused = r"RMS of cam1: .* \(calibrate\.max_rms_px\); .*pictures in .*refused\.html show where"
    with pytest.raises(CalibrationError, match=refused):
        calibrate.run(store, Ref(frames), CalibrateConfig(max_rms_px=0.01))
    assert re.search(r"3 of \d+ checks failed", (tmp_path / "rig" / "refused.html").read_text())
    calibrate.run(store, Ref(frames), CONFIG)
    assert not (tmp_path / "rig" / "refused.html").exists()


def test_a_board_on_the_floor_sets_the_world(tmp_path: Path, filmed: tuple[Path, Rig, tuple[Rigid, ...]]) -> None:
    store = _session(tmp_path, filmed[0])
    made = calibrate.run(store, Ref(_ingested(store)), CalibrateConfig(floor_instant=3))
    camera_from_board = filmed[1]["cam1"].cam_from_world @ filmed[2][3]
    height_m = -camera_from_board.inverse().t[2]  # z of the board runs into the sheet
    assert read_rig(made)["cam1"].centre_m[2] == pytest.approx(height_m, abs=0.02)


def test_imported_lenses_are_kept_when_the_board_gives_the_poses(
    tmp_path: Path, filmed: tuple[Path, Rig, tuple[Rigid, ...]]
) -> None:
    save_rig(filmed[1], tmp_path / "known.yaml")
    store = _session(tmp_path / "s", filmed[0], rig=str(tmp_path / "known.yaml"))
    made = calibrate.run(store, Ref(_ingested(store)), CONFIG)
    assert made.summary["fx_px"] == {c.name: round(float(c.K[0, 0]), 2) for c in filmed[1].cameras}
    assert max(error.centre_mm for error in compare_rigs(read_rig(made), filmed[1])) < 3


def test_a_camera_without_a_single_board_is_named(tmp_path: Path, filmed: tuple[Path, Rig, tuple[Rigid, ...]]) -> None:
    blind = tmp_path / "blind"
    shutil.copytree(filmed[0], blind)
    numbered_video(blind / "cam2.mp4", 14, size_wh=SIZE)
    store = _session(tmp_path / "s", blind)
    with pytest.raises(
        StageError, match=r"camera cam2: clip board: board chessboard:7x6:0.06 found in 0 of 14 .*cam1 \d+, cam2 0"
    ):
        calibrate.run(store, Ref(_ingested(store)), CONFIG)


def test_squares_counted_for_corners_are_noticed(tmp_path: Path, filmed: tuple[Path, Rig, tuple[Rigid, ...]]) -> None:
    store = _session(tmp_path, filmed[0], board="chessboard:8x7:0.06")
    with pytest.raises(StageError, match=r"board chessboard:8x7:0.06 found in 0 of 14 .*but chessboard:7x6:0.06 matches"):
        calibrate.run(store, Ref(_ingested(store)), CONFIG)


def test_another_charuco_dictionary_is_noticed() -> None:
    printed = cv2.aruco.CharucoBoard((5, 7), 0.04, 0.03, cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_5X5_50))
    image = cv2.cvtColor(printed.generateImage((500, 700), marginSize=40), cv2.COLOR_GRAY2RGB)
    wrong = Board("charuco", 5, 7, 0.04, 0.03, "DICT_4X4_50")
    assert np.isnan(find_corners(wrong, image)).all()
    assert "17 markers of DICT_5X5_1000 are there (ids 0 to 16)" in str(no_board(wrong, [image], "camera cam1", 1))


def _people_session(root: Path, rig_file: Path, size_wh: tuple[int, int] = SIZE, **options: object) -> Store:
    video = numbered_video(root.parent / "walk.mp4", 3, size_wh=size_wh)
    new_session(root, Request(cameras=(f"cam1={video}", f"cam2={video}"), clip="walk", rig=str(rig_file), **options))  # type: ignore[arg-type]
    return Store(root)


def test_an_imported_rig_is_taken_as_it_is(tmp_path: Path) -> None:
    save_rig(small_rig(), tmp_path / "rig.toml")
    store = _people_session(tmp_path / "s", tmp_path / "rig.toml")
    rig = read_rig(calibrate.run(store, Ref(_ingested(store)), CONFIG))
    assert rig.names == ("cam1", "cam2")
    assert np.allclose(rig["cam2"].centre_m, small_rig()["cam2"].centre_m)


def test_names_of_an_imported_rig_may_be_written_differently(tmp_path: Path) -> None:
    save_rig(small_rig(), tmp_path / "rig.yaml")
    assert import_rig(tmp_path / "rig.yaml", ["Cam_01", "cam2"]).names == ("Cam_01", "cam2")


def test_nan_in_an_imported_rig_names_camera_and_field(tmp_path: Path) -> None:
    save_rig(small_rig(), tmp_path / "rig.toml")
    store = _people_session(tmp_path / "s", tmp_path / "rig.toml")
    text = (tmp_path / "rig.toml").read_text()
    at = text.index("matrix", text.index("cam2"))
    (tmp_path / "rig.toml").write_text(
        text[:at] + "matrix = [[nan, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 1.0]]" + text[text.index("\n", at) :]
    )
    with pytest.raises(CalibrationError, match=r"rig\.toml: camera cam2: matrix: NaN"):
        calibrate.run(store, Ref(_ingested(store)), CONFIG)


def test_a_session_without_anything_to_calibrate_from_says_what_to_give(tmp_path: Path) -> None:
    video = numbered_video(tmp_path / "walk.mp4", 3)
    new_session(tmp_path / "s", Request(cameras=(f"cam1={video}",)))
    store = Store(tmp_path / "s")
    with pytest.raises(InputError, match=r"--rig FILE.*--board-clip"):
        calibrate.run(store, Ref(_ingested(store)), CONFIG)


def test_a_video_of_another_size_is_refused_with_the_choices_even_when_calibrated_already(tmp_path: Path) -> None:
    save_rig(small_rig(), tmp_path / "rig.yaml")
    store = _people_session(tmp_path / "s", tmp_path / "rig.yaml", size_wh=(316, 240))
    for _ in range(2):
        with pytest.raises(InputError, match=r"camera cam1: the video is 316x240 px, its calibration 320x240 px") as caught:
            calibrate.run(store, Ref(_ingested(store)), CONFIG)
    for choice in ("--image-origin cam1=0,0", "--image-origin cam2=2,0", "--image-fit cam1=contain"):
        assert choice in str(caught.value)


def test_with_an_image_origin_the_clip_is_accepted(tmp_path: Path) -> None:
    save_rig(small_rig(), tmp_path / "rig.yaml")
    origins = ("cam1=4,0", "cam2=0,0")
    store = _people_session(tmp_path / "s", tmp_path / "rig.yaml", size_wh=(316, 240), image_origins=origins)
    frames = _ingested(store)
    assert calibrate.run(store, Ref(frames), CONFIG).rows == 2
    assert frames[0].summary["image_origin_px"] == {"cam1": [4.0, 0.0], "cam2": [0.0, 0.0]}


def test_a_new_lens_turns_its_camera_until_it_sees_the_same_directions() -> None:
    imported = small_rig()["cam1"]
    shifted = imported.K + np.array([[0, 0, 9], [0, 0, -5], [0, 0, 0]])
    lens = Camera("cam1", SIZE, shifted, np.zeros(5), "brown")
    posed = posed_like(lens, imported)
    assert np.allclose(posed.centre_m, imported.centre_m)
    points_m = np.random.default_rng(0).uniform(-0.3, 0.3, (50, 3)) + [0, 0, 0.9]
    unturned = lens.with_pose(imported.cam_from_world)
    moved_px, error_px = (np.linalg.norm(c.project(points_m) - imported.project(points_m), axis=1) for c in (unturned, posed))
    assert moved_px.mean() > 10
    # What is left is the tilt of the image plane: 9 px of 330 px times the field's tangent (0.5) squared.
    assert error_px.max() < 9 * 0.5**2
    assert np.allclose(posed_like(imported, imported).cam_from_world.R, imported.cam_from_world.R, atol=1e-12)


def test_a_contained_image_is_centred_and_keeps_its_shape() -> None:
    origin, scale = fit((1088, 1920), (1080, 1920), "contain")
    assert scale[0] == scale[1] == pytest.approx(1080 / 1088)
    assert origin == pytest.approx((0, -(1920 * 1088 / 1080 - 1920) / 2))
    assert fit((1088, 1920), (1080, 1920), "stretch") == ((0, 0), (pytest.approx(1080 / 1088), 1))


def test_instants_are_spread_evenly_and_hold_the_one_on_the_floor() -> None:
    assert choose_instants(100, 5, None) == [0, 25, 50, 74, 99]
    assert choose_instants(100, 5, 7) == [0, 7, 25, 50, 74, 99]
    assert choose_instants(3, 5, None) == [0, 1, 2]
    with pytest.raises(InputError, match="floor_instant: the board clip has instants 0 to 2, got 3"):
        choose_instants(3, 5, 3)


@pytest.mark.slow
def test_photos_of_a_real_camera_give_its_published_focal_length(shared_data: Path) -> None:
    data = shared_data / "pose2sim_4cam" / "calib" / "intrinsics"
    for name, fx_px in {"cam01": 1671.5, "cam02": 1675.7, "cam03": 1678.8, "cam04": 1690.9}.items():
        folder = data / f"int_{name}_img"
        board = Board("chessboard", 4, 7, 0.06)
        lens = calibrate.lens_from_photos(calibrate.photos(folder, name), board, CONFIG, name, str(folder))
        assert lens.report is not None
        standard = lens.report.figures[0]
        assert (standard.detector, standard.views) == ("standard", 6)
        assert standard.fx_px == pytest.approx(fx_px, abs=0.1)


def test_photos_without_the_board_name_folder_and_number() -> None:
    with pytest.raises(
        StageError, match=r"camera cam1: photos in raw/p: board .* found in 0 of 3 images; no board of a neighbour"
    ):
        calibrate.lens_from_photos([np.full((120, 160), 90, np.uint8)] * 3, BOARD, CONFIG, "cam1", "raw/p")


def test_a_rig_file_is_written_that_can_be_imported(tmp_path: Path) -> None:
    save_rig(small_rig(), tmp_path / "rig.yaml")
    store = _people_session(tmp_path / "s", tmp_path / "rig.yaml")
    made = calibrate.run(store, Ref(_ingested(store)), CONFIG)
    assert load_rig(made.path / "rig.yaml").names == ("cam1", "cam2")
