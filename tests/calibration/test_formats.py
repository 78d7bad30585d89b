"""Rigs come back from files as they went, and broken files are refused by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import CalibrationError
from calibration.formats import DEFAULT_KINDS, KINDS, left_behind, load_rig, save_rig
from calibration.rig import Rig
from tests.calibration.rigs import assert_equal, projections, rig_of_lens, some_rig


# yaml keeps R itself; toml keeps a Rodrigues vector, which costs rounding.
@pytest.mark.parametrize(("name", "atol"), [("rig.yaml", 0.0), ("rig.yml", 0.0), ("rig.toml", 1e-14)])
def test_a_saved_rig_comes_back(tmp_path: Path, name: str, atol: float) -> None:
    rig, path = some_rig(), tmp_path / "new" / name
    save_rig(rig, path)
    kept = {"stereo_pairs", "covariance", "lens_covariance"} - set(left_behind(rig, DEFAULT_KINDS[path.suffix]))
    assert_equal(rig, load_rig(path), atol, kept)
    assert [p.name for p in (tmp_path / "new").iterdir()] == [name]  # no temporary file left


# Which lens each kind can hold, and what of a pose is lost to rounding: matrices come back bit for bit, Rodrigues vectors and
# products along a chain do not.
HOLDS = {
    "posemill": ({"brown", "brown without k3", "rational", "fisheye"}, 0.0),
    "opencv": ({"brown", "brown without k3", "rational", "fisheye"}, 0.0),
    "pose2sim": ({"brown", "brown without k3", "rational", "fisheye"}, 1e-14),
    "caliscope": ({"brown", "brown without k3", "fisheye"}, 1e-14),
    "kalibr": ({"brown without k3", "fisheye"}, 1e-14),
}
FILES = [(kind, ending) for kind, known in KINDS.items() for ending in known.writers]


@pytest.mark.parametrize(("kind", "ending"), FILES)
@pytest.mark.parametrize("lens", ["brown", "brown without k3", "rational", "fisheye"])
def test_a_round_trip_through_any_format_changes_nothing(tmp_path: Path, kind: str, ending: str, lens: str) -> None:
    rig, path = rig_of_lens(lens), tmp_path / f"rig{ending}"
    lenses, atol = HOLDS[kind]
    if lens not in lenses:
        with pytest.raises(CalibrationError, match="camera left: "):
            save_rig(rig, path, kind)
        assert not path.exists()
        return
    save_rig(rig, path, kind)
    back = load_rig(path)
    kept = {"stereo_pairs", "covariance", "lens_covariance"} - set(left_behind(rig, kind))
    assert_equal(rig, back, atol, kept)
    np.testing.assert_allclose(projections(back), projections(rig), rtol=0, atol=1e5 * atol)  # px; f is below 2000
    assert_equal(load_rig_again(back, path, kind), back, atol, kept)


def load_rig_again(rig: Rig, path: Path, kind: str) -> Rig:
    save_rig(rig, path, kind)
    return load_rig(path)


def test_every_part_that_is_left_behind_is_told() -> None:
    rig = some_rig()
    assert left_behind(rig, "posemill") == ()
    assert left_behind(rig, "pose2sim") == ("lens_covariance",)
    assert left_behind(rig, "opencv") == ("covariance", "lens_covariance")
    assert left_behind(rig, "kalibr") == left_behind(rig, "caliscope") == ("stereo_pairs", "covariance", "lens_covariance")
    assert left_behind(rig.subset(["left"]), "opencv") == ("covariance", "lens_covariance")


def test_a_readout_comes_back_or_is_told(tmp_path: Path) -> None:
    rig = Rig(tuple(replace(camera, readout_s=0.0125) for camera in rig_of_lens("brown").cameras))
    save_rig(rig, tmp_path / "rig.yaml")
    assert [camera.readout_s for camera in load_rig(tmp_path / "rig.yaml").cameras] == [0.0125] * len(rig)
    assert left_behind(rig, "posemill") == ()
    assert left_behind(rig, "pose2sim") == ("readout_s",)


@pytest.mark.parametrize(
    ("source", "lengths"),
    [
        ("pose2sim_4cam/calib/Calib_qualisys.toml", (4, 5)),
        ("webcams_charuco/camera_array.toml", (4, 5)),
        ("opencv_stereo_chess/left_intrinsics.yml", (1, 5)),
    ],
)
@pytest.mark.parametrize(("kind", "ending"), FILES)
def test_real_rigs_project_alike_in_every_format(
    tmp_path: Path, shared_data: Path, source: str, lengths: tuple[int, int], kind: str, ending: str
) -> None:
    rig = load_rig(shared_data / source)
    assert (len(rig), rig.cameras[0].dist.size) == lengths
    if kind == "kalibr" and any(camera.dist[4] for camera in rig.cameras):
        with pytest.raises(CalibrationError, match="radtan has no k3"):
            save_rig(rig, tmp_path / f"rig{ending}", kind)
        return
    save_rig(rig, tmp_path / f"rig{ending}", kind)
    back = load_rig(tmp_path / f"rig{ending}")
    assert back.names == rig.names
    np.testing.assert_allclose(projections(back), projections(rig), rtol=0, atol=1e5 * HOLDS[kind][1])


@settings(max_examples=30, deadline=None)
@given(names=st.lists(st.text(max_size=5), min_size=2, max_size=2, unique=True))
def test_any_name_comes_back_or_is_refused(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    rig = Rig(rig_of_lens("fisheye", (*names, "third name")).cameras[:2], (tuple(names),))
    for kind, ending in FILES:
        path = tmp_path_factory.getbasetemp() / f"named{ending}"
        try:
            save_rig(rig, path, kind)
        except CalibrationError as error:
            assert "rename" in str(error) and (kind == "opencv" or not all(map(str.isprintable, names)) or "" in names)
            continue
        back = load_rig(path)
        assert back.names == rig.names
        assert back.stereo_pairs == (() if "stereo_pairs" in left_behind(rig, kind) else rig.stereo_pairs)


def test_an_ending_alone_means_its_own_kind(tmp_path: Path) -> None:
    rig = rig_of_lens("fisheye")
    for ending, kind in DEFAULT_KINDS.items():
        save_rig(rig, tmp_path / f"bare{ending}")
        save_rig(rig, tmp_path / f"named{ending}", kind)
        assert (tmp_path / f"bare{ending}").read_text() == (tmp_path / f"named{ending}").read_text()


def test_an_ending_of_another_kind_and_an_unknown_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"ends in \.toml for caliscope, got \.yaml"):
        save_rig(some_rig(), tmp_path / "rig.yaml", "caliscope")
    with pytest.raises(CalibrationError, match="posemill, caliscope, kalibr, opencv, pose2sim, got 'colmap'"):
        save_rig(some_rig(), tmp_path / "rig.yaml", "colmap")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("kind", "name"), [("opencv", "rig.yml"), ("opencv", "rig.xml"), ("pose2sim", "rig.toml")])
def test_lengths_of_a_board_unit_are_read_in_metres(tmp_path: Path, kind: str, name: str) -> None:
    rig = rig_of_lens("brown")
    save_rig(rig, tmp_path / name, kind)
    for unit, factor in (("mm", 1e-3), ("cm", 1e-2), ("inch", 0.0254)):
        scaled = load_rig(tmp_path / name, unit=unit)
        for one, two in zip(rig.cameras, scaled.cameras, strict=True):
            np.testing.assert_allclose(two.centre_m, one.centre_m * factor, rtol=1e-12, atol=1e-15)
    if kind == "pose2sim":  # the covariance of a translation goes with the square of the unit
        np.testing.assert_allclose(load_rig(tmp_path / name, "mm").covariance[3, 4], rig.covariance[3, 4] * 1e-6, rtol=1e-12)
    with pytest.raises(CalibrationError, match="unit: expected one of m, cm, mm, inch, got 'feet'"):
        load_rig(tmp_path / name, unit="feet")


@pytest.mark.parametrize(("kind", "name"), [("posemill", "rig.yaml"), ("kalibr", "rig.yaml"), ("caliscope", "rig.toml")])
def test_a_format_in_metres_is_read_in_no_other_unit(tmp_path: Path, kind: str, name: str) -> None:
    save_rig(rig_of_lens("fisheye"), tmp_path / name, kind)
    with pytest.raises(CalibrationError, match=f"unit: a file of {kind} is in metres, got 'mm'"):
        load_rig(tmp_path / name, unit="mm")


def test_a_stereo_pair_in_millimetres_is_noticed(tmp_path: Path) -> None:
    save_rig(rig_of_lens("brown").subset(["left", "right"]), tmp_path / "rig.yml", "opencv")
    text = (tmp_path / "rig.yml").read_text()
    start = text.index("data:", text.index("T_left:"))
    (tmp_path / "rig.yml").write_text(text[:start] + "data: [ 60., 0., 0. ]" + text[text.index("]", start) + 1 :])
    with pytest.raises(CalibrationError, match=r'stereo pair left, right is \d+ m wide.*unit="mm"'):
        load_rig(tmp_path / "rig.yml")
    assert np.linalg.norm(load_rig(tmp_path / "rig.yml", "mm")["left"].centre_m) == pytest.approx(0.06)


def test_the_format_is_chosen_by_content_not_by_name(tmp_path: Path) -> None:
    save_rig(some_rig(), tmp_path / "rig.toml")
    (tmp_path / "rig.toml").rename(tmp_path / "rig.txt")
    assert load_rig(tmp_path / "rig.txt").names == some_rig().names


def test_saving_under_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match=r"\.yaml, \.yml, \.toml, \.xml, got \.json"):
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
        ("K", [[1500, 0, 0], [0, 1500, 0], [540, 960, 1]], "transposed"),
        ("size_wh", [1e300, 1920], "size: expected whole pixels below"),
        ("R", [[1e200, 0, 0], [0, 1, 0], [0, 0, 1]], "R: not a rotation"),
        ("t_m", [10**400, 0, 0], "t_m: expected numbers"),
        ("name", ["a", "b"], "name: expected a name"),
        ("lens", {"brown": 5}, "lens: expected one of brown, rational, fisheye"),
        ("lens_covariance", [[1.0]], "lens_covariance: expected 12 x 12 numbers, found 1"),
        ("lens_covariance", None, "lens_covariance: expected for all cameras or none; camera right has none"),
    ],
)
def test_a_broken_camera_is_refused_by_file_camera_and_field(tmp_path: Path, field: str, value: object, says: str) -> None:
    path = edited(tmp_path, **{field: value})
    with pytest.raises(CalibrationError, match=says) as caught:
        load_rig(path)
    assert str(path) in str(caught.value) and ("camera right" in str(caught.value) or field == "name")


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


def test_a_rig_in_millimetres_is_told_what_its_format_allows(tmp_path: Path) -> None:
    rig = rig_of_lens("fisheye")
    for kind, name, says in (
        ("kalibr", "rig.yaml", "divide them by 1000"),
        ("pose2sim", "rig.toml", "posemill convert --unit mm"),
    ):
        far = rig.cameras[2].cam_from_world
        wide = replace(rig, cameras=(*rig.cameras[:2], rig.cameras[2].with_pose(replace(far, t=far.t + [0, 0, 4000.0]))))
        save_rig(wide, tmp_path / name, kind)
        with pytest.raises(CalibrationError, match=rf"up to \d+ m apart.*millimetres\? .*{says}"):
            load_rig(tmp_path / name)
