from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration.formats import load_rig
from calibration.rig import Rig
from pipeline.bumps import Instant, bump_figures, clip_bumps, shared_joints
from pipeline.config import DetectConfig, ReconstructConfig
from pipeline.detect import imported
from pipeline.detections import read_detections
from pipeline.reconstruct import reconstruct
from pipeline.types import Poses2D
from pipeline.walkers import ring, see, time_ns, walk
from tests.calibration.people import knock

MIN_SHIFT_PX = 1.0


def _people(instants: int) -> np.ndarray:
    return np.stack([walk((-0.9, 0.2), (0.4, 0.0), instants), walk((0.8, -0.4), (-0.3, 0.1), instants, turn_rad=2.0)])


def _filmed(rig: Rig, instants: int, bumped: dict[str, tuple[int, float]]) -> list[Instant]:
    """Two people; each camera named in `bumped` is knocked by so many px from that instant on."""
    moved = Rig(tuple(c.with_pose(knock(c, bumped[c.name][1])) if c.name in bumped else c for c in rig.cameras))
    before, after = (see(one, _people(instants), 2.0, seed=1) for one in (rig, moved))
    first = [bumped.get(name, (instants, 0.0))[0] for name in rig.names]
    return [(time_ns(f), [(after if f >= first[c] else before)[f][c] for c in range(len(rig))]) for f in range(instants)]


def _told(rig: Rig, instants: list[Instant]) -> list[tuple[str, int]]:
    skeletons = list(reconstruct(rig, instants, ReconstructConfig()))
    return [(bump.camera, bump.t_ns) for bump in clip_bumps(rig, instants, skeletons, MIN_SHIFT_PX)]


@pytest.mark.parametrize("shift_px", [6.0, 60.0])
def test_a_camera_bumped_among_people_is_told_even_where_they_no_longer_match(shift_px: float) -> None:
    rig = ring(4)
    [(camera, t_ns)] = _told(rig, _filmed(rig, 80, {"cam3": (45, shift_px)}))
    assert camera == "cam3"
    assert abs(t_ns - time_ns(45)) <= time_ns(2)


def test_people_filmed_by_cameras_that_stand_still_tell_no_bump() -> None:
    rig = ring(4)
    assert _told(rig, _filmed(rig, 80, {})) == []
    assert clip_bumps(rig.subset(["cam1"]), [], [], MIN_SHIFT_PX) == ()
    assert clip_bumps(rig, [(0, [None] * 4)], list(reconstruct(rig, [(0, [None] * 4)], ReconstructConfig())), 1.0) == ()


def test_people_are_followed_to_where_a_bumped_camera_shows_them() -> None:
    rig = ring(4)
    instants = _filmed(rig, 3, {"cam2": (0, 60.0)})
    t_ns, xy_px = shared_joints(rig, instants, list(reconstruct(rig, instants, ReconstructConfig())))
    assert t_ns.tolist() == [time_ns(f) for f in range(3)]
    assert xy_px.shape == (4, 3, 34, 2)
    assert np.isfinite(xy_px).all()


def test_the_summary_warns_in_words() -> None:
    rig = ring(4)
    instants = _filmed(rig, 60, {"cam3": (30, 20.0)})
    bumps = clip_bumps(rig, instants, list(reconstruct(rig, instants, ReconstructConfig())), MIN_SHIFT_PX)
    figures = bump_figures(bumps)
    [row] = figures["bumps"]
    assert row["camera"] == "cam3"
    assert row["time_s"] == pytest.approx(1.0, abs=0.07)
    assert "cam3 was bumped at 1" in figures["warning"]
    assert "posemill recalibrate" in figures["warning"]
    assert bump_figures(()) == {"bumps": []}


def _real(shared_data: Path) -> tuple[Rig, list[Instant]]:
    folder = shared_data / "pose2sim_4cam"
    rig = load_rig(folder / "calib" / "Calib_qualisys.toml")
    shown = {f: [time_ns(f)] for f in range(12)}
    views = [
        list(imported(read_detections(folder / f"single_static/pose/cam0{c}_json"), shown, f"cam{c}", DetectConfig()))
        for c in (1, 2, 3, 4)
    ]
    return rig, [(time_ns(f), poses) for f, poses in enumerate(zip(*views, strict=True))]


def _shifted(pose: Poses2D | None, shift_px: float) -> Poses2D | None:
    return replace(pose, xy_px=pose.xy_px + [shift_px, 0.0]) if pose is not None else None


def test_a_real_rig_is_quiet_until_one_camera_is_turned(shared_data: Path) -> None:
    rig, instants = _real(shared_data)
    assert _told(rig, instants) == []
    for c, name in enumerate(rig.names):
        turned: list[Instant] = [
            (t_ns, [_shifted(pose, 5.0) if k == c and f >= 6 else pose for k, pose in enumerate(views)])
            for f, (t_ns, views) in enumerate(instants)
        ]
        assert _told(rig, turned) == [(name, time_ns(6))]
