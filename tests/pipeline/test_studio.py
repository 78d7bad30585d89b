"""The virtual studio: what cameras see, the board, files, repeatability, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.board import find_corners, parse_board
from calibration.camera import Camera
from calibration.formats import load_rig
from calibration.transforms import Rigid, look_at
from models.body import SEGMENTS, load_body
from models.motion import MOTIONS
from pipeline.errors import InputError, StageError
from pipeline.render import Light, Mesh, Renderer
from pipeline.studio import StudioConfig, coco_flags, laid_over, simulate
from pipeline.studio_people import make_actor
from pipeline.studio_scene import board_mesh, board_poses, film_track, grid_mesh, studio_rig
from pipeline.tables import read_rows
from pipeline.visibility import Surface, seen

BOARD = parse_board("charuco:5x7:0.12:0.09:DICT_4X4_50")
TINY = StudioConfig(people=1, people_instants=2, board_instants=3, size_wh=(160, 120))


def test_premultiplied_pictures_lie_over_others():
    front = np.zeros((1, 3, 4), np.uint8)
    front[0, 1], front[0, 2] = (10, 20, 30, 255), (0, 0, 0, 51)
    back = np.full((1, 3, 3), 100, np.uint8)
    assert laid_over(front, back)[0].tolist() == [[100] * 3, [10, 20, 30], [80] * 3]


# -- what cameras see ---------------------------------------------------------------------------------------------------


def joints_at(at_m: tuple[float, float, float]) -> np.ndarray:
    return np.tile(np.array(at_m), (1, 17, 1))


def wall(x_m: float) -> Mesh:
    return grid_mesh(np.array([x_m, -0.5, 0]), np.array([0, 1.0, 0]), np.array([0, 0, 2.0]))


def surface(mesh: Mesh, owner: int, segment: str = "head") -> Surface:
    return Surface(mesh.xyz_m, mesh.faces, owner, np.full(len(mesh.xyz_m), SEGMENTS.index(segment)))


EYE = Camera("eye", (320, 240), np.diag([260.0, 260, 1]), cam_from_world=look_at([3.0, 0, 1.0], [0, 0, 1.0]))


def test_a_thing_between_camera_and_joint_hides_it_and_one_behind_does_not():
    joints_m = joints_at((0, 0, 1))
    assert not seen(EYE, joints_m, [surface(wall(1.0), -1)]).any()
    assert seen(EYE, joints_m, [surface(wall(-1.0), -1)]).all()
    assert not seen(EYE, joints_at((4, 0, 1)), []).any()  # behind the camera


def test_a_joint_is_not_hidden_by_its_own_skin_but_by_another_limb_and_another_person():
    skin_mesh, elbow = wall(0.05), 7
    joints_m = joints_at((0, 0, 1))
    assert seen(EYE, joints_m, [surface(skin_mesh, 0, "left_forearm")])[0, elbow]
    assert not seen(EYE, joints_m, [surface(skin_mesh, 0, "right_forearm")])[0, elbow]
    assert not seen(EYE, joints_m, [surface(skin_mesh, 1, "left_forearm")])[0, elbow]
    assert not seen(EYE, joints_m, [surface(wall(0.4), 0, "left_forearm")])[0, elbow]  # its own, but far in front


def test_flags_follow_coco():
    xy_px = np.array([[[5.0, 5], [5, 5], [-1, 5], [np.nan, np.nan]]])
    assert coco_flags(xy_px, np.array([[True, False, True, False]]), (10, 10)).tolist() == [[2, 1, 0, 0]]


# -- the board and the rig ----------------------------------------------------------------------------------------------


def test_corners_found_on_a_drawn_board_are_where_its_pose_projects_them():
    rig = studio_rig(np.random.default_rng(1), (640, 480))
    pose = board_poses(np.random.default_rng(1), BOARD, 40, 150.0)[20]
    try:
        drawing = Renderer((640, 480))
    except StageError as error:
        pytest.skip(str(error))
    with drawing:
        mesh = drawing.upload(board_mesh(BOARD, pose))
        drawing.shine(Light(), [])
        errors_px = []
        for one in rig.cameras:
            picture = laid_over(drawing.draw(one, [mesh]), np.full((480, 640, 3), 120, np.uint8))
            found = find_corners(BOARD, picture)
            errors_px += list((found - one.project(pose.apply(BOARD.corners_m)))[np.isfinite(found[:, 0])])
    assert len(errors_px) >= 24
    assert np.abs(np.mean(errors_px, axis=0)).max() < 0.1  # half a pixel of offset would show here
    assert np.median(np.linalg.norm(errors_px, axis=1)) < 0.3


def test_the_board_lies_face_up_on_the_floor_at_the_first_instants():
    poses = board_poses(np.random.default_rng(0), BOARD, 10, 150.0)
    assert np.abs(poses[0].apply(BOARD.corners_m)[:, 2]).max() < 1e-9
    assert poses[0].R[2, 2] == -1  # the board's z points into the sheet, so into the floor


def test_a_board_of_another_kind_or_uneven_cells_is_refused():
    for spec in ("chessboard:4x7:0.06", "charuco:5x7:0.1:0.07:DICT_4X4_50"):
        with pytest.raises(InputError):
            board_mesh(parse_board(spec), Rigid.identity())


# -- whole recordings ---------------------------------------------------------------------------------------------------


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    pytest.importorskip("anny")
    try:
        return simulate(tmp_path_factory.mktemp("studio") / "session", TINY)
    except StageError as error:
        pytest.skip(str(error))


def test_a_recording_holds_every_file_with_every_frame(recording):
    import av

    for clip, count in (("board", 3), ("people", 2)):
        sizes = dict.fromkeys(("cam1", "cam2", "cam3", "cam4"), (160, 120)) | {"fourway": (320, 240), "stereo": (320, 120)}
        for name, size in sizes.items():
            with av.open(str(recording.folder / "raw" / clip / f"{name}.mp4")) as container:
                frames = list(container.decode(video=0))
            assert [(f.width, f.height) for f in frames] == [size] * count
            assert [round(float(f.time) * 30) for f in frames] == list(range(count))


def test_the_tiled_file_shows_what_the_single_files_show(recording):
    import av

    def first(name: str) -> np.ndarray:
        with av.open(str(recording.folder / "raw" / "people" / f"{name}.mp4")) as container:
            return next(container.decode(video=0)).to_ndarray(format="rgb24").astype(float)

    tiled = first("fourway")
    for name, (y, x) in {"cam1": (0, 0), "cam2": (0, 160), "cam3": (120, 0), "cam4": (120, 160)}.items():
        assert np.abs(tiled[y : y + 120, x : x + 160] - first(name)).mean() < 4  # two encodings of one picture


def test_the_truth_projects_onto_itself_and_feet_stand_on_the_floor(recording):
    rig = load_rig(recording.folder / "truth" / "rig.yaml")
    joints = {(r["instant"], r["person"], r["joint"]): r for r in read_rows(recording.folder / "truth" / "joints.parquet")}
    views = read_rows(recording.folder / "truth" / "views.parquet")
    assert len(joints) == 2 * 1 * 17
    assert len(views) == len(joints) * 6
    for row in views:
        at = joints[row["instant"], row["person"], row["joint"]]
        xy_px = rig[row["camera"]].project([[at["x_m"], at["y_m"], at["z_m"]]])[0]
        assert np.allclose(xy_px, [row["x_px"], row["y_px"]], atol=1e-6)
    ankles_m = [r["z_m"] for (_, _, joint), r in joints.items() if joint in (15, 16)]
    assert 0.03 < min(ankles_m) < 0.25  # a walker's heels rise
    assert {row["visible"] for row in views} >= {1, 2}


def test_a_posed_person_touches_the_floor_and_stands_where_it_is_put():
    pytest.importorskip("anny")
    actor = make_actor(load_body(), np.random.default_rng(2))
    for phase in (0.0, 2.0):
        posed = actor.posed(MOTIONS["squat"](phase), 1.0, np.array([0.4, -0.7]), 0)
        assert abs(min(mesh.xyz_m[:, 2].min() for mesh in posed.meshes)) < 1e-9
        assert np.abs(posed.joints_m[11:13, :2].mean(0) - [0.4, -0.7]).max() < 0.1


def test_a_walkers_standing_foot_stays_where_it_is():
    pytest.importorskip("anny")
    actor = make_actor(load_body(), np.random.default_rng(2))
    track = film_track(actor, "walk", 30, 30.0, np.zeros(2), 0.3)
    ankles_m = np.stack(
        [actor.posed(*at, 0).joints_m[15:17] for at in zip(track.pose, track.yaw_rad, track.floor_m, strict=True)]
    )
    steps_m = np.linalg.norm(np.diff(ankles_m, axis=0)[..., :2], axis=-1)
    assert np.median(steps_m.min(1)) < 0.012  # 0.36 m/s; the ankle rolls over a resting ball of the foot
    assert np.linalg.norm(np.diff(track.floor_m, axis=0), axis=1).sum() > 0.6  # and yet it gets somewhere


def test_equal_seeds_give_equal_bytes_and_other_seeds_do_not(recording, tmp_path):
    again = simulate(tmp_path / "again", TINY)
    other = simulate(tmp_path / "other", TINY.model_copy(update={"seed": 1, "people_instants": 1}))
    assert _contents(again.folder) == _contents(recording.folder)
    assert (other.folder / "truth" / "rig.yaml").read_bytes() != (again.folder / "truth" / "rig.yaml").read_bytes()


def test_a_folder_in_use_odd_sizes_and_an_empty_wardrobe_are_refused_and_leave_nothing(tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="new or empty folder"):
        simulate(tmp_path / "used", TINY)
    with pytest.raises(InputError, match="even numbers"):
        simulate(tmp_path / "odd", TINY.model_copy(update={"size_wh": (161, 120)}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["used"]


def _written_twice(folder, write):
    """The annotations of three pictures, which a second writing gives again byte by byte."""
    try:
        first, second = (write(folder / name, 3, seed=4) for name in "ab")
    except StageError as error:
        pytest.skip(str(error))
    assert _contents(first.parent) == _contents(second.parent)
    return first


def test_training_images_carry_coco_labels_inside_their_picture_and_repeat(tmp_path):
    pytest.importorskip("anny")
    from pipeline.studio_coco import write_training_images

    first = _written_twice(tmp_path, write_training_images)
    content = json.loads(first.read_text())
    assert len(content["images"]) == 3
    assert cv2.imread(str(first.parent / "images" / content["images"][0]["file_name"])).shape == (256, 256, 3)
    for row in content["annotations"]:
        table = np.array(row["keypoints"]).reshape(17, 3)
        known = table[:, 2] > 0
        assert known.sum() == row["num_keypoints"] > 0
        assert ((table[known, :2] >= -0.5) & (table[known, :2] < 255.5)).all()
        assert not table[~known, :2].any()
        x, y, width, height = row["bbox"]
        # Pixel centres at integers, box corners as COCO has them: half a pixel apart; a hand may reach beyond its joint.
        assert (table[known, 0] + 0.5 > x - 12).all()
        assert (table[known, 0] + 0.5 < x + width + 12).all()
        assert (table[known, 1] + 0.5 < y + height + 12).all()
        assert height > 0 and width > 0


def test_cutouts_are_whole_people_on_nothing_and_repeat(tmp_path):
    pytest.importorskip("anny")
    from models.pasted import read_cutouts
    from pipeline.studio_coco import write_cutouts

    first = _written_twice(tmp_path, write_cutouts)
    for photo in read_cutouts(first.parent):
        rgba = cv2.imread(str(first.parent / "images" / photo.file_name), cv2.IMREAD_UNCHANGED)
        assert rgba.shape == (256, 256, 4)
        [person] = photo.people
        assert person.labelled.all()
        rows, columns = np.nonzero(rgba[..., 3] > 127)
        x, y, width, height = person.box
        assert abs(columns.min() - x) < 3 and abs(columns.max() + 1 - x - width) < 3
        assert abs(rows.min() - y) < 3 and abs(rows.max() + 1 - y - height) < 3
        at = person.xy_px.round().astype(int)
        assert (rgba[at[:, 1], at[:, 0], 3] > 127).mean() > 0.8  # joints lie inside the body
        clear = rgba[..., 3] == 0
        assert clear[0].all() and clear[-1].all() and clear[:, 0].all() and clear[:, -1].all()
