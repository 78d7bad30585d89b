"""A camchain's poses are products along the chain; what Kalibr cannot hold is refused by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from calibration.errors import CalibrationError
from calibration.formats import load_rig, save_rig
from calibration.rig import Rig
from calibration.transforms import Rigid
from tests.calibration.rigs import projections, rig_of_lens

STEPS = {1: Rigid.from_rvec([0, 0.4, 0.1], [-0.11, 0, 0.02]), 2: Rigid.from_rvec([0.3, 0, 0], [0, 0.2, 0])}


def camchain(tmp_path: Path, **changes: object) -> Path:
    """Three cameras as Kalibr writes them; `changes` are fields of cam1, removed where None."""
    chain = {}
    for n in range(3):
        chain[f"cam{n}"] = {
            "cam_overlaps": [1],
            "camera_model": "pinhole",
            "distortion_coeffs": [-0.277, 0.067, 0.0009, 0.0001],
            "distortion_model": "radtan",
            "intrinsics": [461.6, 460.2, 362.7, 246.0],
            "resolution": [752, 480],
            "rostopic": f"/cam{n}/image_raw",
        }
        if n:
            chain[f"cam{n}"]["T_cn_cnm1"] = STEPS[n].matrix.tolist()
    for field, value in changes.items():
        chain["cam1"].update({field: value}) if value is not None else chain["cam1"].pop(field)
    (tmp_path / "camchain.yaml").write_text(yaml.safe_dump(chain))
    return tmp_path / "camchain.yaml"


def test_each_camera_follows_from_the_one_before_it(tmp_path: Path) -> None:
    rig = load_rig(camchain(tmp_path))
    assert (rig.names, rig["cam1"].lens, rig["cam1"].size_wh) == (("cam0", "cam1", "cam2"), "brown", (752, 480))
    np.testing.assert_array_equal(rig["cam0"].cam_from_world.matrix, np.eye(4))
    np.testing.assert_allclose(rig["cam2"].cam_from_world.matrix, (STEPS[2] @ STEPS[1]).matrix, atol=1e-15)
    np.testing.assert_array_equal(rig["cam2"].dist, [-0.277, 0.067, 0.0009, 0.0001, 0.0])
    np.testing.assert_array_equal(rig["cam2"].K, [[461.6, 0, 362.7], [0, 460.2, 246.0], [0, 0, 1]])


@pytest.mark.parametrize(
    ("model", "lens", "dist"), [("equidistant", "fisheye", 4), ("equi", "fisheye", 4), ("none", "brown", 5)]
)
def test_a_distortion_model_is_a_lens(tmp_path: Path, model: str, lens: str, dist: int) -> None:
    coeffs = [] if model == "none" else [0.1, 0.01, 0.001, 0.0]
    camera = load_rig(camchain(tmp_path, distortion_model=model, distortion_coeffs=coeffs))["cam1"]
    assert (camera.lens, camera.dist.size, camera.dist.any()) == (lens, dist, model != "none")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"camera_model": "omni", "intrinsics": [0.8, 833.0, 830.3, 373.9, 253.7]}, "camera_model: omni: posemill has no such"),
        ({"camera_model": "eucm"}, "camera_model: eucm"),
        ({"camera_model": "ds"}, "camera_model: ds"),
        ({"distortion_model": "fov"}, "distortion_model: expected radtan, equidistant or none, found fov"),
        ({"T_cn_cnm1": None}, "T_cn_cnm1: missing"),
        ({"T_cn_cnm1": [[2, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]}, "T_cn_cnm1: not a rotation"),
        ({"T_cn_cnm1": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]}, "T_cn_cnm1: expected a last row 0 0 0 1"),
        ({"intrinsics": [461.6, 460.2, 362.7]}, r"intrinsics: expected shape \(4,\), found \(3,\)"),
        ({"distortion_coeffs": [0.1, 0, 0, 0, 0.2]}, r"distortion_coeffs: expected shape \(4,\)"),
        ({"resolution": ["wide", 480]}, "resolution: expected numbers"),
    ],
)
def test_a_broken_camchain_is_refused_by_camera_and_field(tmp_path: Path, change: dict[str, object], says: str) -> None:
    with pytest.raises(CalibrationError, match=rf"camchain\.yaml: camera cam1: {says}"):
        load_rig(camchain(tmp_path, **change))


def test_a_gap_in_the_chain_is_refused(tmp_path: Path) -> None:
    path = camchain(tmp_path)
    path.write_text(path.read_text().replace("cam1:", "cam7:"))
    with pytest.raises(CalibrationError, match="without a gap, found cam0, cam2, cam7"):
        load_rig(path)


def test_a_lens_or_a_matrix_that_kalibr_cannot_hold_is_refused(tmp_path: Path) -> None:
    rig = rig_of_lens("brown without k3")
    k3 = replace(rig["right"], dist=[0.1, 0, 0, 0, 1e-9])
    skew = np.zeros((3, 3))
    skew[0, 1] = 0.5
    skewed = replace(rig["right"], K=rig["right"].K + skew)
    for camera, says in ((k3, "radtan has no k3, and this lens has k3 = 1e-09"), (skewed, "K: Kalibr has no skew")):
        with pytest.raises(CalibrationError, match=f"camera right: .*{says}"):
            save_rig(Rig((rig["left"], camera)), tmp_path / "rig.yaml", "kalibr")
    assert not list(tmp_path.iterdir())


def test_kalibr_itself_finds_the_motion_between_the_cameras(tmp_path: Path) -> None:
    rig = rig_of_lens("fisheye")
    save_rig(rig, tmp_path / "rig.yaml", "kalibr")
    chain = yaml.safe_load((tmp_path / "rig.yaml").read_text())
    for n in (1, 2):
        between = rig.cameras[n].cam_from_world @ rig.cameras[n - 1].cam_from_world.inverse()
        np.testing.assert_array_equal(chain[f"cam{n}"]["T_cn_cnm1"], between.matrix)
        # What Kalibr's ConfigReader asks of a camera.
        assert all(isinstance(value, float) for value in chain[f"cam{n}"]["intrinsics"])
        assert all(isinstance(value, int) for value in chain[f"cam{n}"]["resolution"])
        assert isinstance(chain[f"cam{n}"]["rostopic"], str) and len(chain[f"cam{n}"]["distortion_coeffs"]) == 4
    assert list(chain) == ["cam0", "cam1", "cam2"]


def test_a_world_of_cam0_is_written_without_one(tmp_path: Path) -> None:
    rig = load_rig(camchain(tmp_path))
    save_rig(rig, tmp_path / "again.yaml", "kalibr")
    chain = yaml.safe_load((tmp_path / "again.yaml").read_text())
    assert "T_cn_cnm1" not in chain["cam0"] and "name" not in chain["cam0"]
    np.testing.assert_allclose(projections(load_rig(tmp_path / "again.yaml")), projections(rig), rtol=0, atol=1e-9)
