from pathlib import Path

import pytest

from pipeline import bench, bench_limits
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


def test_rates_and_limits_follow_from_the_seconds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bench, "film", lambda path, count: path)
    monkeypatch.setattr(bench, "POINTS", 100)
    monkeypatch.setattr(bench, "seconds_of", lambda calls: [2.0, 0.5][: len(calls)])
    decode = bench._decode(tmp_path)
    assert (decode.rate, decode.limit, decode.share) == (bench.FRAMES / 2.0, bench.FRAMES / 0.5, 0.25)
    # Two doubles of each view are read and three of the point written.
    triangulated = bench._triangulate(8.0 * 1e6)
    assert triangulated.rate == 50.0 and triangulated.limit == pytest.approx(1e6 / (2 * bench.CAMERAS + 3))
    # A person has 17 joints of x, y and a score in every view; nearly every joint is in every picture.
    associated = bench._associate(8.0 * 1e6)
    assert associated.rate == bench.INSTANTS / 2.0
    assert associated.limit == pytest.approx(1e6 / (17 * 3 * bench.CAMERAS * bench.PEOPLE), rel=0.05)


def test_what_is_exported_is_what_the_disk_must_write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def seconds_of(calls: list) -> list[float]:
        calls[0]()
        return [4.0]

    monkeypatch.setattr(bench, "ROWS", 20)
    monkeypatch.setattr(bench, "seconds_of", seconds_of)
    monkeypatch.setattr(bench, "disk_bytes_s", lambda folder: 1e6)
    exported = bench._export(tmp_path)
    written = sum(file.stat().st_size for file in tmp_path.rglob("*.parquet"))
    assert exported.rate == 5.0 and exported.limit == pytest.approx(1e6 * 20 / written)


def test_twice_as_much_is_told_as_times_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    filmed: list[int] = []
    monkeypatch.setattr(bench, "film", lambda path, count: filmed.append(count) or path)
    monkeypatch.setattr(bench, "seconds_of", lambda calls: [2.0, 4.0] if len(calls) == 2 else [1.0, 2.0, 2.5, 3.0])
    decode, people = bench.doublings()
    assert filmed == [bench.FRAMES, 2 * bench.FRAMES]
    assert (decode.frames, decode.cameras, decode.people) == (2.0, None, None)
    assert (people.frames, people.cameras, people.people) == (2.0, 2.5, 3.0)


def test_what_a_machine_can_do_is_the_work_over_its_seconds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def seconds_of(calls: list) -> list[float]:
        calls[0]()
        return [0.5]

    for name, value in {"seconds_of": seconds_of, "COPIED_MB": 1, "PRODUCT": 16}.items():
        monkeypatch.setattr(bench_limits, name, value)
    assert bench_limits.memory_bytes_s() == 2 * 2**20 / 0.5
    assert bench_limits.product_flop_s() == 2 * 16**3 / 0.5
    assert bench_limits.disk_bytes_s(tmp_path, size_mb=1) == 2**20 / 0.5 and not list(tmp_path.iterdir())


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
