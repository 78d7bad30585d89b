from pathlib import Path

import ezc3d
import numpy as np
import pytest

from pipeline.c3d import read_c3d, write_c3d
from pipeline.errors import InputError
from pipeline.trc import Trajectories
from tests.pipeline.test_trc import some_trajectories


def test_written_trajectories_come_back_to_a_micrometre(tmp_path: Path) -> None:
    written = some_trajectories()
    write_c3d(written, tmp_path / "x.c3d")
    read = read_c3d(tmp_path / "x.c3d")
    assert read.markers == written.markers and read.rate_fps == pytest.approx(59.94, abs=1e-4)
    np.testing.assert_allclose(read.xyz_m, written.xyz_m, atol=1e-6)  # NaN where NaN was
    np.testing.assert_allclose(read.t_ns, np.arange(7) * 1e9 / 59.94, atol=1e3)


def test_others_read_millimetres_with_z_up_and_residual_minus_1_at_gaps(tmp_path: Path) -> None:
    written = some_trajectories()
    write_c3d(written, tmp_path / "x.c3d")
    file = ezc3d.c3d(str(tmp_path / "x.c3d"))
    assert file["parameters"]["POINT"]["UNITS"]["value"] == ["mm"]
    assert file["parameters"]["POINT"]["Y_SCREEN"]["value"] == ["+Z"]
    residual = file["data"]["meta_points"]["residuals"][0].T
    np.testing.assert_array_equal(residual < 0, np.isnan(written.xyz_m).any(-1))
    assert set(residual[residual < 0]) == {-1.0}
    np.testing.assert_allclose(file["data"]["points"][:3, 0, 0], written.xyz_m[0, 0] * 1000, rtol=1e-6)


def test_a_clip_that_starts_later_keeps_its_time(tmp_path: Path) -> None:
    t_ns = 2_000_000_000 + np.arange(5) * 20_000_000
    assert write_c3d(Trajectories(("a",), t_ns, np.zeros((5, 1, 3)), 50.0), tmp_path / "x.c3d") == ""
    np.testing.assert_array_equal(read_c3d(tmp_path / "x.c3d").t_ns, t_ns)


def test_times_that_a_frame_number_cannot_say_are_told(tmp_path: Path) -> None:
    t_ns = np.array([0, 20, 40, 160]) * 1_000_000
    told = write_c3d(Trajectories(("a",), t_ns, np.zeros((4, 1, 3)), 50.0), tmp_path / "x.c3d")
    assert told == "frames are up to 100 ms off their 50 per second"


def test_more_frames_than_c3d_counts_are_told_and_never_cut_off(tmp_path: Path) -> None:
    def track(first: int, count: int) -> Trajectories:
        t_ns = (first + np.arange(count)) * 20_000_000
        return Trajectories(("a",), t_ns, np.zeros((count, 1, 3)), 50.0)

    assert write_c3d(track(0, 65_535), tmp_path / "x.c3d") == ""
    assert len(read_c3d(tmp_path / "x.c3d").t_ns) == 65_535
    assert "65535 frames, this clip has 65536" in write_c3d(track(0, 65_536), tmp_path / "y.c3d")
    assert not (tmp_path / "y.c3d").exists()
    assert "not at 1400.000 s" in write_c3d(track(70_000, 10), tmp_path / "z.c3d")
    np.testing.assert_array_equal(read_c3d(tmp_path / "z.c3d").t_ns, np.arange(10) * 20_000_000)


def test_a_file_that_is_no_c3d_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.c3d").write_text("no markers at all, " * 100)
    for name in ("x.c3d", "none.c3d"):
        with pytest.raises(InputError, match=name):
            read_c3d(tmp_path / name)


@pytest.mark.parametrize("at", [0, 2, 16, 512, 530, 700])
def test_a_file_that_ends_its_reader_ends_nothing_else(tmp_path: Path, at: int) -> None:
    """ezc3d trusts its input: some broken files end the process that reads them."""
    write_c3d(some_trajectories(), tmp_path / "x.c3d")
    content = bytearray((tmp_path / "x.c3d").read_bytes())
    content[at : at + 4] = b"\xff\xff\xff\x7f"
    (tmp_path / "x.c3d").write_bytes(content)
    try:
        assert read_c3d(tmp_path / "x.c3d").markers
    except InputError as error:
        assert "x.c3d: expected" in str(error)
