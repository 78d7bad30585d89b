import numpy as np
import pytest

from models.skeleton import COCO17
from pipeline.draw import LEFT_RGB, limb_rgb
from pipeline.errors import StageError
from pipeline.scene3d import camera_lines, floor_lines, show, skeleton_lines
from pipeline.types import Skeletons3D
from pipeline.walkers import STANDING_M, ring


def _people(xyz_m: np.ndarray, smooth_m: np.ndarray | None = None) -> Skeletons3D:
    ones = np.ones(xyz_m.shape[:2])
    return Skeletons3D(0, np.arange(len(xyz_m)), xyz_m, ones, ones, ones, None, smooth_m, None if smooth_m is None else ones)


def test_a_camera_is_a_pyramid_from_its_centre_to_its_picture() -> None:
    rig = ring(3)
    lines = camera_lines(rig, 0.5)
    points = np.asarray(lines.points).reshape(3, 5, 3)
    for camera, pyramid in zip(rig.cameras, points, strict=True):
        np.testing.assert_allclose(pyramid[0], camera.centre_m, atol=1e-9)
        np.testing.assert_allclose(camera.cam_from_world.apply(pyramid[1:])[:, 2], 0.5)
    assert len(lines.lines) == 24


def test_limbs_without_an_end_are_left_out_and_sides_have_their_colours() -> None:
    xyz_m = np.stack([STANDING_M, STANDING_M + 1])
    xyz_m[1, COCO17.index("left_wrist")] = np.nan
    lines = skeleton_lines(_people(xyz_m))
    assert len(lines.lines) == 2 * len(COCO17.limbs) - 1
    ends = np.asarray(lines.points)[np.asarray(lines.lines)]
    assert np.linalg.norm(ends[:, 0] - ends[:, 1], axis=-1).max() < 0.7
    arm = COCO17.limbs.index((5, 7))
    np.testing.assert_allclose(np.asarray(lines.colors)[arm], np.array(LEFT_RGB) / 255)
    assert limb_rgb(COCO17, 5, 6) != LEFT_RGB


def test_smoothed_joints_are_shown_where_there_are_any() -> None:
    smooth_m = STANDING_M[None] + 3
    np.testing.assert_allclose(np.asarray(skeleton_lines(_people(STANDING_M[None], smooth_m)).points), smooth_m[0])


def test_the_floor_is_a_grid_of_metres() -> None:
    lines = floor_lines(2)
    points = np.asarray(lines.points)[np.asarray(lines.lines)]
    assert len(points) == 10 and (points[..., 2] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(points[:, 0] - points[:, 1], axis=-1), 4.0)


def test_a_window_steps_through_time_by_the_arrow_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    import open3d

    class Window:
        def __init__(self) -> None:
            self.keys: dict[int, object] = {}
            self.shown: list = []
            windows.append(self)

        def create_window(self, title: str) -> bool:
            return title != "nowhere"

        def add_geometry(self, geometry: object) -> None:
            self.shown.append(geometry)

        def register_key_callback(self, key: int, turn: object) -> None:
            self.keys[key] = turn

        def update_geometry(self, geometry: object) -> None:
            assert geometry is self.shown[-1]

        def run(self) -> None:
            for key in (262, 262, 262, 263):
                self.keys[key](self)  # type: ignore[operator]

        def destroy_window(self) -> None:
            pass

    monkeypatch.setenv("DISPLAY", ":0")
    windows: list[Window] = []
    monkeypatch.setattr(open3d.visualization, "VisualizerWithKeyCallback", Window)
    instants = [_people(STANDING_M[None] + f) for f in range(3)]
    show(ring(2), instants, "walk")
    np.testing.assert_allclose(np.asarray(windows[0].shown[-1].points), instants[1].xyz_m[0])
    with pytest.raises(StageError, match="no window can be opened"):
        show(ring(2), instants, "nowhere")


def test_without_a_display_the_page_is_named_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(StageError, match="--format html"):
        show(ring(2), [_people(STANDING_M[None])], "walk")
