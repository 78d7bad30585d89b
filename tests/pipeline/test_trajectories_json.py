import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.trajectories_json import read_json, write_json
from tests.pipeline.test_trc import some_trajectories


def test_written_trajectories_come_back(tmp_path: Path) -> None:
    written = some_trajectories()
    assert write_json(written, tmp_path / "x.json") == ""
    read = read_json(tmp_path / "x.json")
    assert (read.markers, read.rate_fps) == (written.markers, written.rate_fps)
    np.testing.assert_array_equal(read.t_ns, written.t_ns)
    np.testing.assert_allclose(read.xyz_m, written.xyz_m, atol=5e-7)


def test_a_gap_is_null_and_the_file_is_plain_json(tmp_path: Path) -> None:
    write_json(some_trajectories(), tmp_path / "x.json")
    told = json.loads((tmp_path / "x.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    assert told["xyz_m"][2][1] is None and told["unit"] == "m" and told["up"] == "z"


@pytest.mark.parametrize("text", ["{", "[]", '{"joints": ["a"], "t_ns": [0], "rate_fps": 1, "xyz_m": [[[1, 2]]]}'])
def test_other_json_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=r"x\.json: expected trajectories"):
        read_json(tmp_path / "x.json")
