from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.trc import Trajectories, read_trc, write_trc, y_up_from_z_up, z_up_from_y_up

HEAD = (
    "PathFileType\t4\t(X/Y/Z)\tx.trc\nDataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\n60\t60\t1\t2\tmm\n"
    "Frame#\tTime\tHip\t\t\tHead\t\t\n\t\tX1\tY1\tZ1\tX2\tY2\tZ2\n"
)


def some_trajectories() -> Trajectories:
    xyz_m = np.random.default_rng(0).normal(size=(7, 3, 3))
    xyz_m[2, 1] = np.nan
    xyz_m[3, 2] = np.nan  # at the end of a line
    return Trajectories(("a", "b c", "d"), np.arange(7) * 16_666_667, xyz_m, 59.94)


def test_written_trajectories_come_back(tmp_path: Path) -> None:
    written = some_trajectories()
    write_trc(written, tmp_path / "x.trc")
    read = read_trc(tmp_path / "x.trc")
    assert read.markers == written.markers and read.rate_fps == written.rate_fps
    np.testing.assert_array_equal(read.t_ns, written.t_ns)
    np.testing.assert_array_equal(read.xyz_m, written.xyz_m)


def test_the_axis_maps_are_rotations_and_inverse() -> None:
    np.testing.assert_array_equal(y_up_from_z_up(z_up_from_y_up(np.eye(3))), np.eye(3))
    assert np.linalg.det(z_up_from_y_up(np.eye(3))) == pytest.approx(1.0)
    np.testing.assert_array_equal(z_up_from_y_up(np.array([0.0, 1.0, 0.0])), [0, 0, 1])  # up is up


def test_millimetres_gaps_and_a_short_line_are_understood(tmp_path: Path) -> None:
    (tmp_path / "x.trc").write_text(HEAD + "\n1\t0.5\t1000\t2000\t3000\n")
    read = read_trc(tmp_path / "x.trc")
    np.testing.assert_array_equal(read.xyz_m, [[[3, 1, 2], [np.nan] * 3]])
    assert read.t_ns.tolist() == [500_000_000]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hello\n" * 9, "begins with PathFileType"),
        (HEAD.replace("mm", "inch"), "Units: expected one of m, cm, mm, found 'inch'"),
        (HEAD.replace("60\t60", "fast\t60") + "1\t0\t1\t2\t3\t4\t5\t6\n", "DataRate"),
        (HEAD, "no line of coordinates"),
        (HEAD + "1\t0\t1\tx\t3\t4\t5\t6\n", "line 6"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "x.trc").write_text(text)
    with pytest.raises(InputError, match=says):
        read_trc(tmp_path / "x.trc")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent.trc: cannot be read"):
        read_trc(tmp_path / "absent.trc")


def test_files_of_another_tool_are_read(shared_data: Path) -> None:
    folder = shared_data / "pose2sim_4cam" / "single_static" / "pose-3d"
    for path in sorted(folder.glob("*.trc")):
        read = read_trc(path)
        assert read.rate_fps == 60 and len(read.t_ns) == 12
        head, ankle = read.markers.index("Head"), read.markers.index("RAnkle")
        assert (read.xyz_m[:, head, 2] - read.xyz_m[:, ankle, 2]).min() > 1.4  # he stands upright
