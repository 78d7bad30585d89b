"""The rectify stage on a textured room, filmed by a virtual stereo pair."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.camera import Camera
from calibration.formats import save_rig
from calibration.rectify import rectify_pair
from calibration.rig import Rig
from calibration.transforms import Rigid
from pipeline import calibrate, ingest, rectify
from pipeline.config import CalibrateConfig, IngestConfig, RectifyConfig
from pipeline.errors import InputError, StageError
from pipeline.new_session import Request, new_session
from pipeline.session import Source
from pipeline.sources import open_source
from pipeline.store import Ref, Store
from tests.pipeline.footage import write_video

SIZE = (320, 240)
DEPTH_M = 2.0
CONFIG = RectifyConfig(depth_every=4, num_disparities=64)


def _camera(name: str, x_m: float, turn_rad: tuple[float, float, float]) -> Camera:
    K = np.array([[300.0, 0, 160], [0, 300.0, 120], [0, 0, 1]])
    turned = Rigid.from_rvec(turn_rad, np.zeros(3))
    return Camera(name, SIZE, K, np.zeros(5), "brown", Rigid(turned.R, turned.R @ np.array([-x_m, 0, 0])))


RIG = Rig((_camera("left", 0.0, (0.01, 0.02, -0.01)), _camera("right", 0.12, (-0.01, -0.01, 0.02))), (("left", "right"),))


def film(camera: Camera, number: int = 0) -> np.ndarray:
    """A camera's view of a textured wall at z = 2 m that slides by 5 mm per frame."""
    rng = np.random.default_rng(7)
    texture = cv2.GaussianBlur(rng.integers(0, 255, (600, 800, 3), dtype=np.uint8), (0, 0), 2)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    m_from_texture = np.array([[0.004, 0, -1.6 + 0.005 * number], [0, 0.004, -1.2], [0, 0, 1]])
    cam = camera.cam_from_world
    px_from_m = camera.K @ np.column_stack([cam.R[:, 0], cam.R[:, 1], cam.R[:, 2] * DEPTH_M + cam.t])
    return cv2.warpPerspective(texture, px_from_m @ m_from_texture, SIZE, flags=cv2.INTER_AREA)


def _store(root: Path, rig: Rig = RIG) -> Store:
    frames = [np.hstack([film(camera, number) for camera in RIG.cameras]) for number in range(9)]
    write_video(root / "stereo.mp4", frames, crf="4")
    save_rig(rig, root / "rig.yaml")
    new_session(
        root / "s",
        Request(stereo=str(root / "stereo.mp4"), stereo_layout="side-by-side", rig=str(root / "rig.yaml"), clip="walk"),
    )
    return Store(root / "s")


def _ref(store: Store) -> Ref:
    frames = ingest.run(store, Ref(clip="walk"), IngestConfig())
    return Ref((frames, calibrate.run(store, Ref((frames,)), CalibrateConfig())), "walk", "left-right")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return _store(tmp_path_factory.mktemp("stereo"))


def test_rows_of_a_true_rig_agree_and_videos_keep_every_frame(store: Store) -> None:
    made = rectify.run(store, _ref(store), CONFIG)
    assert made.summary["row_error_px"] < 0.15  # SIFT places a point to about 0.1 px
    assert made.summary["row_matches"] > 100
    assert made.summary["baseline_m"] == pytest.approx(0.12)
    for name in ("left", "right"):
        probe = open_source("/", Source(path=str(made.path / f"{name}.mp4"))).check(lambda n: None)
        assert (probe.problem, probe.frames, probe.size_wh) == ("", 9, SIZE)
        assert probe.t_ns[3] == pytest.approx(0.1e9, abs=2e4)
    assert not rectify.run(store, _ref(store), CONFIG).made


def test_the_cloud_lies_on_the_wall(store: Store) -> None:
    open3d = pytest.importorskip("open3d")
    made = rectify.run(store, _ref(store), CONFIG)
    clouds = sorted((made.path / "clouds").iterdir())
    assert [path.name for path in clouds] == ["000000000000000.ply", "000000133333333.ply", "000000266666666.ply"]
    cloud = open3d.io.read_point_cloud(str(clouds[0]))
    points_m = np.asarray(cloud.points)
    # Half a pixel of disparity at 300 px and 0.12 m: z^2 / (f b) / 2 = 5.6 cm at 2 m.
    assert np.median(points_m[:, 2]) == pytest.approx(DEPTH_M, abs=0.02)
    assert np.mean(np.abs(points_m[:, 2] - DEPTH_M) < 0.06) > 0.9
    assert len(points_m) > 1000
    assert np.asarray(cloud.colors).std() > 0.05


def test_remap_tables_are_saved_for_other_tools(store: Store) -> None:
    made = rectify.run(store, _ref(store), CONFIG)
    saved = np.load(made.path / "rectification.npz")
    rect = rectify_pair(*RIG.cameras)
    image = film(RIG["left"])
    again = cv2.remap(image, saved["map_left_x"], saved["map_left_y"], cv2.INTER_LINEAR)
    assert np.array_equal(again, rect.apply(image, image)[0])


def test_the_same_footage_gives_the_same_bytes(store: Store) -> None:
    made = rectify.run(store, _ref(store), CONFIG)
    before = {path.name: path.read_bytes() for path in made.path.rglob("*") if path.is_file()}
    again = rectify.run(Store(store.root, redo=("rectify",)), _ref(store), CONFIG)
    assert {path.name: path.read_bytes() for path in again.path.rglob("*") if path.is_file()} == before
    assert len(before) == 7


def test_a_camera_moved_after_calibration_is_noticed(tmp_path: Path) -> None:
    tilt = Rigid.from_rvec((0.02, 0, 0), np.zeros(3))  # 0.02 rad at 300 px: rows 6 px apart
    bumped = Rig((RIG["left"], RIG["right"].with_pose(tilt @ RIG["right"].cam_from_world)), RIG.stereo_pairs)
    store = _store(tmp_path, bumped)
    with pytest.raises(StageError, match=r"stereo pair left, right: rows .* differ by 5\.\d+ px|differ by 6\.\d+ px"):
        rectify.run(store, _ref(store), CONFIG)
    assert list((store.root / "clips" / "walk").glob("*rectify*")) == []


def test_a_scene_without_texture_is_not_measured_and_gives_no_cloud() -> None:
    grey = np.full((240, 320, 3), 128, np.uint8)
    rect = rectify_pair(*RIG.cameras)
    assert len(rectify.match_rows_px(grey, grey, rect)) == 0
    pair = rectify.RectifiedPair(0, grey, grey, (grey, grey))
    assert len(rectify.coloured_points(pair, rect, CONFIG)[0]) == 0


def test_an_unknown_pair_is_refused(store: Store) -> None:
    with pytest.raises(InputError, match="stereo pair a-b: not one of the session's: left-right"):
        rectify.run(store, Ref(_ref(store).inputs, "walk", "a-b"), CONFIG)


def test_a_cloud_cut_short_by_a_full_disk_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import open3d

    from pipeline.config import RectifyConfig
    from pipeline.rectify import _write_cloud

    def cut(path: Path, cloud: object) -> bool:
        path.write_bytes(b"ply\n")  # what Open3D leaves on a full disk, saying that all is well
        return True

    monkeypatch.setattr(open3d.io, "write_point_cloud", cut)
    with pytest.raises(OSError, match="No space left"):
        _write_cloud(tmp_path / "a.ply", np.eye(3), np.zeros((3, 3), np.uint8), RectifyConfig())
