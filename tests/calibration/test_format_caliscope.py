"""caliscope's camera array is read in its own direction and written as its reader wants it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

from calibration.errors import CalibrationError
from calibration.formats import load_rig, save_rig
from calibration.transforms import rotation_angle_rad
from tests.calibration.rigs import projections, rig_of_lens


def test_the_cameras_of_a_real_array_stand_where_our_own_adjustment_puts_them(shared_data: Path) -> None:
    """Read the other way round (camera to world), the first pair would stand 0.27 m apart instead of 1.14 m."""
    folder = shared_data / "webcams_charuco"
    rig = load_rig(folder / "camera_array.toml")
    assert rig.names == ("cam_0", "cam_1", "cam_2", "cam_3") and rig["cam_0"].size_wh == (1280, 720)
    for i, j, apart_m in json.loads((folder / "reference_ba.json").read_text())["dist"]:
        found_m = np.linalg.norm(rig.cameras[i].centre_m - rig.cameras[j].centre_m)
        assert found_m == pytest.approx(apart_m, abs=0.02)  # webcams synchronised by software: two adjustments differ by 17 mm


def test_the_older_config_of_caliscope_is_the_same_rig(shared_data: Path) -> None:
    folder = shared_data / "webcams_charuco"
    old, new = load_rig(folder / "config.toml"), load_rig(folder / "camera_array.toml")
    assert old.names == new.names
    np.testing.assert_array_equal(projections(old), projections(new))


def array_of(tmp_path: Path, names: tuple[str, str, str] = ("cam_0", "cam_1", "cam_2")) -> Path:
    save_rig(rig_of_lens("fisheye", names), tmp_path / "camera_array.toml", "caliscope")
    return tmp_path / "camera_array.toml"


@pytest.mark.parametrize(
    ("names", "numbers", "kept"),
    [
        (("cam_0", "cam_4", "cam_2"), ["0", "4", "2"], 0),
        (("cam01", "cam02", "cam03"), ["1", "2", "3"], 3),
        (("left", "right", "top 1"), ["0", "1", "2"], 3),
        (("a1", "b1", "c1"), ["0", "1", "2"], 3),
    ],
)
def test_cameras_get_the_numbers_of_their_names(
    tmp_path: Path, names: tuple[str, str, str], numbers: list[str], kept: int
) -> None:
    path = array_of(tmp_path, names)
    tables = tomllib.loads(path.read_text())["cameras"]
    assert list(tables) == numbers and [table["cam_id"] for table in tables.values()] == list(map(int, numbers))
    assert sum("name" in table for table in tables.values()) == kept
    assert load_rig(path).names == names


def test_the_fields_are_those_of_caliscopes_reader(tmp_path: Path) -> None:
    rig = rig_of_lens("fisheye", ("cam_0", "cam_1", "cam_2"))
    table = tomllib.loads(array_of(tmp_path).read_text())["cameras"]["1"]
    assert set(table) == {
        "cam_id", "size", "rotation_count", "matrix", "distortions", "translation", "rotation", "fisheye"
    }  # fmt: skip
    assert np.shape(table["rotation"]) == (3,) and table["fisheye"] is True and table["size"] == [1088, 1920]
    assert table["translation"] == rig["cam_1"].cam_from_world.t.tolist()


def test_a_matrix_is_read_like_its_rodrigues_vector(tmp_path: Path) -> None:
    path = array_of(tmp_path)
    vector = load_rig(path)["cam_0"].cam_from_world
    line = next(line for line in path.read_text().splitlines() if line.startswith("rotation = "))
    path.write_text(path.read_text().replace(line, f"rotation = {vector.R.tolist()}"))
    assert rotation_angle_rad(load_rig(path)["cam_0"].cam_from_world.R, vector.R) == 0.0


def test_an_ignored_camera_is_left_out_and_one_without_a_pose_refused(tmp_path: Path) -> None:
    path = array_of(tmp_path)
    text = path.read_text().replace("[cameras.1]", "[cameras.1]\nignore = true")
    path.write_text(text)
    assert load_rig(path).names == ("cam_0", "cam_2")
    start = text.index("translation", text.index("[cameras.2]"))
    path.write_text(text[:start] + "unposed" + text[start + len("translation") :])
    with pytest.raises(CalibrationError, match=r"camera_array\.toml: camera 2: translation: missing; finish this camera's"):
        load_rig(path)
    path.write_text(
        text.replace("fisheye = true", "fisheye = true\nignore = true").replace("\nignore = true\ncam_id", "\ncam_id")
    )
    with pytest.raises(CalibrationError, match="cameras: none in it"):
        load_rig(path)


def test_a_rational_lens_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="camera left: lens: caliscope has no rational lens"):
        save_rig(rig_of_lens("rational"), tmp_path / "rig.toml", "caliscope")
