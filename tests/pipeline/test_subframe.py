from dataclasses import replace

import numpy as np
import pytest

from calibration.rig import Rig
from calibration.rolling_shutter import row_delay_s
from pipeline.config import ReconstructConfig
from pipeline.reconstruct import reconstruct, taken_when
from pipeline.subframe import lateness_of, velocities_m_s
from pipeline.tables import FRAMES, write_rows
from pipeline.types import Poses2D
from pipeline.walkers import STANDING_M, ring, time_ns

CONFIG = ReconstructConfig(smooth="none")


def _at(t_s: float) -> np.ndarray:
    """(17, 3) somebody who runs at 3 m/s on a circle, arms swinging."""
    body = STANDING_M.copy()
    body[9, 1] += 0.3 * np.sin(2 * np.pi * 1.5 * t_s)
    body[10, 1] -= 0.3 * np.sin(2 * np.pi * 1.5 * t_s)
    return body + np.array([np.cos(3 * t_s), np.sin(3 * t_s), 0.0])


def _filmed(rig: Rig, late_s: list[float], instants: int = 20, known: bool = True) -> list[tuple[int, list[Poses2D | None]]]:
    """What cameras show that take their pictures late, and row after row."""
    made = []
    for f in range(instants):
        views: list[Poses2D | None] = []
        for camera, late in zip(rig.cameras, late_s, strict=True):
            t_s = time_ns(f) / 1e9 + late
            xy_px = camera.project(_at(t_s))
            for _ in range(5):  # a row is read when the joint is in it
                delay = row_delay_s(xy_px[:, 1], camera.size_wh[1], camera.readout_s)
                xy_px = np.concatenate([camera.project(_at(t_s + d)[j : j + 1]) for j, d in enumerate(delay)])
            pose = Poses2D(camera.name, time_ns(f), xy_px[None], np.ones((1, 17)), np.zeros((1, 1)))
            views.append(replace(pose, late_s=late if known else 0.0))
        made.append((time_ns(f), views))
    return made


def _errors_m(rig: Rig, filmed: list[tuple[int, list[Poses2D | None]]]) -> np.ndarray:
    found = list(reconstruct(rig, filmed, CONFIG))
    return np.array([np.linalg.norm(s.xyz_m[0] - _at(s.t_ns / 1e9), axis=-1) for s in found])


def test_pictures_taken_late_are_moved_back_to_the_instant() -> None:
    rig, late_s = ring(4), [0.0, 0.012, -0.009, 0.005]
    told, untold = (_errors_m(rig, _filmed(rig, late_s, known=known)) for known in (True, False))
    assert np.median(untold) > 0.008
    assert np.median(told[2:-2]) < 0.0005 and told[2:-2].max() < 0.004
    assert told.mean() < 0.2 * untold.mean()


def test_rows_of_a_rolling_shutter_are_moved_back_too() -> None:
    straight = ring(4)
    rolling = Rig(tuple(replace(camera, readout_s=0.025 * (-1) ** c) for c, camera in enumerate(straight.cameras)))
    filmed = _filmed(rolling, [0.0] * 4)
    told, untold = _errors_m(rolling, filmed), _errors_m(straight, filmed)
    assert told[2:-2].mean() < 0.15 * untold[2:-2].mean()


def test_cameras_on_time_are_left_alone() -> None:
    rig = ring(4)
    assert _errors_m(rig, _filmed(rig, [0.0] * 4)).max() < 1e-9


@pytest.mark.parametrize("missing", [False, True])
def test_velocity_is_the_slope_through_the_neighbours(missing: bool) -> None:
    t_s, instant, who = np.arange(6) / 30, np.repeat(np.arange(6), 2), np.tile([5, 9], 6)
    xyz_m = np.zeros((12, 1, 3))
    xyz_m[who == 5, 0, 0], xyz_m[who == 9, 0, 1] = 2 * t_s, -3 * t_s
    if missing:
        xyz_m[4] = np.nan
    velocity = velocities_m_s(t_s, instant, who, xyz_m)
    np.testing.assert_allclose(velocity[who == 5][:, 0], np.tile([2.0, 0, 0], (6, 1)), atol=1e-9)
    np.testing.assert_allclose(velocity[who == 9][:, 0], np.tile([0, -3.0, 0], (6, 1)), atol=1e-9)


def test_a_person_seen_once_has_no_velocity() -> None:
    assert (velocities_m_s(np.arange(1.0), np.zeros(1, int), np.zeros(1, int), np.ones((1, 17, 3))) == 0).all()


def test_frames_say_how_late_they_are(tmp_path) -> None:  # type: ignore[no-untyped-def]
    size = {"width_px": 4, "height_px": 4}
    rows = [
        {"instant": f, "t_ns": f * 100, "camera": camera, "frame_index": f, "frame_t_ns": taken, **size}
        for f in range(2) for camera, taken in (("a", f * 100), ("b", f * 100 + 40), ("c", None))
    ]  # fmt: skip
    write_rows(tmp_path / "frames.parquet", rows, FRAMES)
    late = lateness_of(tmp_path / "frames.parquet")
    assert late == {"b": {0: pytest.approx(4e-8), 100: pytest.approx(4e-8)}}
    pose = Poses2D("b", 100, np.zeros((1, 17, 2)), np.ones((1, 17)), np.zeros((1, 1)))
    ((_, (told, nobody)),) = taken_when([(100, [pose, None])], late)
    assert told is not None and told.late_s == pytest.approx(4e-8) and nobody is None
