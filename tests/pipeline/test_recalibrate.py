from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration.formats import load_rig
from calibration.rig import Rig
from calibration.transforms import rotation_angle_rad
from pipeline import status
from pipeline.config import ReconstructConfig
from pipeline.errors import InputError, StageError
from pipeline.recalibrate import recalibrate_camera
from pipeline.store import Ref, Store
from pipeline.types import Artefact
from pipeline.walkers import ring, see, walk
from tests.calibration.people import knock
from tests.pipeline.sessions import made_clip

INSTANTS, BUMPED_AT = 60, 30


@pytest.fixture
def bumped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Rig, Rig, Artefact]:
    """A session whose cam3 was bumped half-way: its folder, the rig before, the rig after, what reconstruct made."""
    rig = ring(4)
    after = Rig(tuple(replace(c, cam_from_world=knock(c, 25.0)) if c.name == "cam3" else c for c in rig.cameras))
    people_m = walk((-0.4, 0.1), (0.4, 0.1), INSTANTS)[None]
    views = [see(one, people_m, 1.5, seed=1) for one in (rig, after)]
    seen = [views[f >= BUMPED_AT][f] for f in range(INSTANTS)]
    store, ref = made_clip(tmp_path, rig, seen)
    made = _reconstructed(store, ref)
    monkeypatch.setattr(status, "finished", lambda *_: [(ref, made)])
    return tmp_path, rig, after, made


def _reconstructed(store: Store, ref: Ref) -> Artefact:
    from pipeline import reconstruct

    return reconstruct.run(store, ref, ReconstructConfig())


def test_the_summary_of_reconstruct_tells_the_bump(bumped: tuple[Path, Rig, Rig, Artefact]) -> None:
    [row] = bumped[3].summary["bumps"]
    assert row["camera"] == "cam3"
    assert row["time_s"] == pytest.approx(BUMPED_AT / 30, abs=0.04)
    assert "cam3 was bumped" in bumped[3].summary["warning"]


def test_a_bumped_camera_is_solved_anew_and_the_rig_goes_to_a_new_file(bumped: tuple[Path, Rig, Rig, Artefact]) -> None:
    root, before, after, _ = bumped
    kept = (root / "rig" / "r" / "rig.yaml").read_bytes()
    made = recalibrate_camera(root, "walk", "cam3")
    assert made.since_s == pytest.approx(BUMPED_AT / 30, abs=0.04)
    assert made.solved.after_px < 5.0 < made.solved.before_px
    rig = load_rig(made.file)
    assert 1e3 * np.linalg.norm(rig["cam3"].centre_m - after["cam3"].centre_m) < 5 * made.solved.translation_sigma_mm
    off_rad = rotation_angle_rad(rig["cam3"].cam_from_world.R, after["cam3"].cam_from_world.R)
    assert 1e3 * off_rad < 5 * made.solved.rotation_sigma_mrad
    for name in ("cam1", "cam2", "cam4"):
        np.testing.assert_array_equal(rig[name].cam_from_world.matrix, before[name].cam_from_world.matrix)
    assert (root / "rig" / "r" / "rig.yaml").read_bytes() == kept
    assert recalibrate_camera(root, "walk", "cam3").file != made.file


def test_since_and_out_are_taken_as_said(bumped: tuple[Path, Rig, Rig, Artefact], tmp_path: Path) -> None:
    root = bumped[0]
    made = recalibrate_camera(root, "walk", "cam3", 1.5, tmp_path / "new.yaml")
    assert (made.file, made.since_s, made.instants) == (tmp_path / "new.yaml", 1.5, 15)


def test_what_cannot_be_done_is_refused_with_what_there_is(bumped: tuple[Path, Rig, Rig, Artefact], tmp_path: Path) -> None:
    root = bumped[0]
    with pytest.raises(InputError, match="expected one of walk"):
        recalibrate_camera(root, "run", "cam3")
    with pytest.raises(InputError, match="expected one of cam1, cam2, cam3, cam4"):
        recalibrate_camera(root, "walk", "cam9")
    with pytest.raises(InputError, match=r"lasts from 0\.000 to 1\.967 s"):
        recalibrate_camera(root, "walk", "cam3", 5.0)
    (tmp_path / "old.yaml").write_text("mine")
    with pytest.raises(InputError, match="nothing is overwritten"):
        recalibrate_camera(root, "walk", "cam3", None, tmp_path / "old.yaml")


def test_a_rig_of_two_cameras_cannot_solve_one_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = ring(4).subset(["cam1", "cam2"])
    store, ref = made_clip(tmp_path, rig, see(rig, walk((0, 0), (0.3, 0), 10)[None], 1.0))
    made = _reconstructed(store, ref)
    monkeypatch.setattr(status, "finished", lambda *_: [(ref, made)])
    with pytest.raises(StageError, match="two other cameras"):
        recalibrate_camera(tmp_path, "walk", "cam1")
