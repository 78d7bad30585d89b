from pathlib import Path

import pytest

from pipeline import bench
from pipeline.bench_films import HEIGHT, WIDTH, decoded, film, frames_of
from pipeline.bench_limits import seconds_of
from pipeline.config import ReconstructConfig
from pipeline.reconstruct import reconstruct
from pipeline.studio import StudioConfig


def test_a_film_decodes_to_as_many_frames_as_it_has(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", 5)
    assert decoded(path) == 5
    assert [frame.shape for frame in frames_of(path)] == [(HEIGHT, WIDTH, 3)] * 5


def test_calls_are_timed_in_turn_and_the_first_round_does_not_count() -> None:
    called: list[str] = []
    seconds = seconds_of([lambda: called.append("a"), lambda: called.append("b")], rounds=2)
    assert called == ["a", "b"] * 3
    assert all(0 <= each < 1 for each in seconds)


def test_what_is_measured_is_found_by_the_parts_it_is_measured_on() -> None:
    """The people of the benchmark are really reconstructed: a benchmark of nothing would be fast."""
    rig, seen = bench._seen(6, 4, 3)
    assert bench._reconstruct(rig, seen) == 6
    assert [len(skeletons.xyz_m) for skeletons in reconstruct(rig, seen, ReconstructConfig())] == [3] * 6


@pytest.mark.slow
def test_every_part_has_a_rate_below_what_the_machine_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, small in {"FRAMES": 8, "INSTANTS": 8, "POINTS": 2000, "ROWS": 32, "GENERATED": 1}.items():
        monkeypatch.setattr(bench, name, small)
    monkeypatch.setattr(bench, "SESSION", StudioConfig(people=1, people_instants=4, board_instants=30, size_wh=(640, 480)))
    found = list(bench.parts())
    assert [part.part for part in found] == [
        "decode", "network", "detect", "associate", "triangulate", "generate", "export", "end to end"
    ]  # fmt: skip
    assert all(0 < part.share < 1.5 for part in found)  # timings of small work on a busy machine
