from pathlib import Path

import numpy as np
import open3d
import pytest

from calibration.camera import Camera
from calibration.rig import Rig
from calibration.transforms import look_at
from pipeline.audit import audit
from pipeline.cloud import open3d_cloud
from pipeline.config import AuditConfig
from pipeline.depth_check import DepthMaps, Surface
from pipeline.types import Skeletons3D
from pipeline.walkers import STANDING_M

K = np.array([[700.0, 0, 480], [0, 700, 360], [0, 0, 1]])
LEFT = Camera("front-left", (960, 720), K, np.zeros(5), "brown", look_at([0, -4, 1.2], [0, 0, 1.0]))
WALL_Y_M, SKIN_M = 2.5, 0.08


def _wall() -> np.ndarray:
    x, z = np.meshgrid(np.arange(-3, 3, 0.02), np.arange(0, 3, 0.02))
    return np.column_stack([x.ravel(), np.full(x.size, WALL_Y_M), z.ravel()])


def _body(xyz_m: np.ndarray) -> np.ndarray:
    """What the camera sees of a body: points a skin's thickness in front of limbs, 1 cm apart."""
    along = np.linspace(0, 1, 40)[:, None]
    limbs = [
        (5, 7),
        (7, 9),
        (6, 8),
        (8, 10),
        (11, 13),
        (13, 15),
        (12, 14),
        (14, 16),
        (5, 6),
        (11, 12),
        (5, 11),
        (6, 12),
        (0, 0),
    ]
    middle = np.concatenate([xyz_m[a] + along * (xyz_m[b] - xyz_m[a]) for a, b in limbs])
    spread = np.random.default_rng(0).uniform(-0.05, 0.05, (12, *middle.shape)) * [1, 0, 1]
    return (middle + spread).reshape(-1, 3) - [0, SKIN_M, 0]


def _maps(folder: Path, cloud_m: np.ndarray, t_ns: int = 0) -> DepthMaps:
    folder.mkdir(exist_ok=True)
    open3d.io.write_point_cloud(str(folder / f"{t_ns:015d}.ply"), open3d_cloud(cloud_m))
    return DepthMaps(Rig((LEFT,)), {("front-left", "right"): folder})


def _people(xyz_m: np.ndarray) -> Skeletons3D:
    ones = np.ones(xyz_m.shape[:2])
    return Skeletons3D(0, np.arange(len(xyz_m)), xyz_m, ones, ones, ones * 4)


def test_joints_lie_a_little_behind_the_skin() -> None:
    behind = Surface(LEFT, np.concatenate([_body(STANDING_M), _wall()])).behind_m(STANDING_M)
    known = np.isfinite(behind)
    assert known.sum() >= 12
    assert (np.abs(behind[known][2:]) < 0.3).all() and np.median(behind[known]) == pytest.approx(SKIN_M, abs=0.05)


def test_a_person_who_is_there_stands_in_no_mid_air(tmp_path: Path) -> None:
    maps = _maps(tmp_path / "clouds", np.concatenate([_body(STANDING_M), _wall()]))
    (found,) = maps.floating(0, STANDING_M, 0.25)
    assert found.judged >= 12 and not found.ghost


def test_a_ghost_in_front_of_the_wall_does(tmp_path: Path) -> None:
    maps = _maps(tmp_path / "clouds", np.concatenate([_body(STANDING_M), _wall()]))
    ghost_m = STANDING_M + [1.2, 0.0, 0.0]
    (found,) = maps.floating(0, ghost_m, 0.25)
    assert found.ghost and found.floating == found.judged
    assert found.median_m == pytest.approx(WALL_Y_M, abs=0.2)
    verdicts = list(audit([_people(np.stack([STANDING_M, ghost_m]))], AuditConfig(), depth=maps))
    assert verdicts[0].accepted and verdicts[1].gates == ("depth",)
    assert "joints are in mid-air: front-left-right sees what lies 2." in verdicts[1].reasons[0]


def test_who_is_hidden_is_not_judged_a_ghost(tmp_path: Path) -> None:
    screen = _wall() * 0.5 - [0, 0.5 * WALL_Y_M + 1.5, -0.5]  # in front of the person
    (found,) = _maps(tmp_path / "clouds", screen).floating(0, STANDING_M, 0.25)
    assert found.judged > 0 and found.floating == 0


def test_without_a_cloud_nothing_is_said(tmp_path: Path) -> None:
    maps = _maps(tmp_path / "clouds", _wall(), t_ns=7)
    assert list(maps.floating(0, STANDING_M, 0.25)) == []
    assert len(list(maps.floating(7, STANDING_M, 0.25))) == 1
    assert np.isnan(Surface(LEFT, np.zeros((0, 3))).behind_m(STANDING_M)).all()
    assert np.isnan(Surface(LEFT, _wall()).behind_m(np.full((17, 3), np.nan))).all()
