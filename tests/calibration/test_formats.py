"""Rigs come back from files as they went, and broken files are refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from calibration.camera import Camera
from calibration.errors import CalibrationError
from calibration.formats import load_rig, save_rig
from calibration.rig import Rig
from calibration.transforms import Rigid


def some_rig() -> Rig:
    rng = np.random.default_rng(0)
    lenses = {"brown": 5, "rational": 8, "fisheye": 4}
    cameras = tuple(
        Camera(
            name,
            (1088, 1920),
            np.array([[1681.2 + rng.random(), 0, 532.9], [0, 1680.1 + rng.random(), 948.1], [0, 0, 1]]),
            rng.normal(0, 1e-2, n) * 10.0 ** -np.arange(n),  # also numbers that need an exponent
            lens,
            Rigid.from_rvec(rng.normal(size=3), rng.normal(size=3) * 3),
        )
        for name, (lens, n) in zip(("left", "right", "caméra 3"), lenses.items(), strict=True)
    )
    A = rng.normal(size=(18, 18)) * 1e-4
    return Rig(cameras, (("left", "right"),), A @ A.T)


def assert_equal(a: Rig, b: Rig, atol: float) -> None:
    assert a.names == b.names and a.stereo_pairs == b.stereo_pairs
    for one, two in zip(a.cameras, b.cameras, strict=True):
        assert (one.size_wh, one.lens) == (two.size_wh, two.lens)
        np.testing.assert_array_equal(one.K, two.K)
        np.testing.assert_array_equal(one.dist, two.dist)
        np.testing.assert_array_equal(one.cam_from_world.t, two.cam_from_world.t)
        np.testing.assert_allclose(one.cam_from_world.R, two.cam_from_world.R, rtol=0, atol=atol)
    np.testing.assert_array_equal(np.asarray(a.covariance), np.asarray(b.covariance))


# yaml keeps R itself; toml keeps a Rodrigues vector, which costs rounding.
@pytest.mark.parametrize(("name", "atol"), [("rig.yaml", 0.0), ("rig.yml", 0.0), ("rig.toml", 1e-14)])
def test_a_saved_rig_comes_back(tmp_path: Path, name: str, atol: float) -> None:
    save_rig(some_rig(), tmp_path / "new" / name)
    assert_equal(load_rig(tmp_path / "new" / name), some_rig(), atol)
    assert [p.name for p in (tmp_path / "new").iterdir()] == [name]  # no temporary file left


def test_the_format_is_chosen_by_content_not_by_name(tmp_path: Path) -> None:
    save_rig(some_rig(), tmp_path / "rig.toml")
    (tmp_path / "rig.toml").rename(tmp_path / "rig.txt")
    assert load_rig(tmp_path / "rig.txt").names == some_rig().names


def test_saving_under_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"\.yaml, \.yml, \.toml, got \.json"):
        save_rig(some_rig(), tmp_path / "rig.json")
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rig.yaml"
    save_rig(some_rig(), path)
    before = path.read_bytes()

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("calibration.formats.os.fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_rig(some_rig().subset(["left"]), path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["rig.yaml"]


def edited(tmp_path: Path, **changes: object) -> Path:
    """A saved rig whose camera `right` has fields replaced, or removed where the value is None."""
    save_rig(some_rig(), tmp_path / "rig.yaml")
    content = yaml.safe_load((tmp_path / "rig.yaml").read_text())
    camera = content["cameras"][1]
    for field, value in changes.items():
        owner = camera["cam_from_world"] if field in ("R", "t_m") else camera
        owner.update({field: value}) if value is not None else owner.pop(field)
    (tmp_path / "rig.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "rig.yaml"


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("dist", [0.1, float("nan"), 0, 0, 0, 0, 0, 0], "dist: NaN"),
        ("t_m", [0.0, float("inf"), 1.0], "t_m: NaN or infinity"),
        ("K", None, "K: missing"),
        ("cam_from_world", None, "cam_from_world: missing"),
        ("R", [[1.01, 0, 0], [0, 1, 0], [0, 0, 1]], "R: not a rotation"),
        ("R", [[-1, 0, 0], [0, 1, 0], [0, 0, 1]], "determinant -1"),
        ("K", [[1, 0], [0, 1]], r"K: expected shape \(3, 3\), found \(2, 2\)"),
        ("K", "wide", "K: expected numbers, found wide"),
        ("size_wh", [1088.5, 1920], "whole pixels"),
        ("lens", "anamorphic", "anamorphic"),
        ("dist", [0.1, 0.2], "distortion coefficients"),
    ],
)
def test_a_broken_camera_is_refused_by_file_camera_and_field(tmp_path: Path, field: str, value: object, says: str) -> None:
    path = edited(tmp_path, **{field: value})
    with pytest.raises(CalibrationError, match=says) as caught:
        load_rig(path)
    assert str(path) in str(caught.value) and "camera right" in str(caught.value)


def test_nan_in_a_toml_is_refused_by_file_camera_and_field(tmp_path: Path) -> None:
    save_rig(some_rig(), tmp_path / "rig.toml")
    text = (tmp_path / "rig.toml").read_text().split("\n")
    text[6] = "translation = [0.0, nan, 1.0]"
    (tmp_path / "rig.toml").write_text("\n".join(text))
    with pytest.raises(CalibrationError, match=r"rig\.toml: camera left: translation: NaN"):
        load_rig(tmp_path / "rig.toml")


def test_a_rig_in_millimetres_is_noticed(tmp_path: Path) -> None:
    save_rig(some_rig(), tmp_path / "rig.toml")
    lines = (tmp_path / "rig.toml").read_text().replace("translation = [", "translation = [2000.0 , ").split("\n")
    lines = [line.rsplit(",", 1)[0] + "]" if line.startswith("translation") else line for line in lines]
    (tmp_path / "rig.toml").write_text("\n".join(lines))
    with pytest.raises(CalibrationError, match="millimetres"):
        load_rig(tmp_path / "rig.toml")


@pytest.mark.parametrize(
    "text",
    ["", "just words", "a: 1\nb: [1, 2]\n", "%YAML:1.0\n---\nframes: 13\nK: !!opencv-matrix\n   rows: 3\n", "{[", "x = 1\n"],
)
def test_an_unknown_format_lists_the_known_ones(tmp_path: Path, text: str) -> None:
    (tmp_path / "rig.yaml").write_text(text)
    with pytest.raises(CalibrationError, match=r"rig\.yaml: .*known .*posemill_rig.*Pose2Sim"):
        load_rig(tmp_path / "rig.yaml")


def test_a_missing_file_and_a_binary_one_are_refused(tmp_path: Path) -> None:
    (tmp_path / "rig.yaml").write_bytes(bytes(range(256)))
    for name in ("rig.yaml", "absent.toml"):
        with pytest.raises(CalibrationError, match=name):
            load_rig(tmp_path / name)


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    save_rig(some_rig(), tmp_path / "rig.yaml")
    text = (tmp_path / "rig.yaml").read_text().replace("posemill_rig: 1", "posemill_rig: 2")
    (tmp_path / "rig.yaml").write_text(text)
    with pytest.raises(CalibrationError, match="reads schema 1, found 2"):
        load_rig(tmp_path / "rig.yaml")


def test_the_qualisys_rig_of_a_real_recording_reads_as_written(shared_data: Path) -> None:
    rig = load_rig(shared_data / "pose2sim_4cam" / "calib" / "Calib_qualisys.toml")
    assert rig.names == ("cam_01", "cam_02", "cam_03", "cam_04")
    assert {camera.size_wh for camera in rig.cameras} == {(1088, 1920)}
    assert rig["cam_01"].K[0, 0] == 1681.244873046875 and rig["cam_01"].dist.size == 5
    assert all(1.0 < camera.centre_m[2] < 3.0 for camera in rig.cameras)  # on tripods above a floor at z = 0
