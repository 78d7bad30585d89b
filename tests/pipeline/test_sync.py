from hypothesis import given
from hypothesis import strategies as st

from pipeline.sync import nearest, synchronise

MS = 1_000_000


def test_cameras_of_one_rate_and_length_match_by_number() -> None:
    times = [n * 33 * MS for n in range(10)]
    instants = synchronise({"a": times, "b": [t + 5 * MS for t in times]}, 20 * MS)
    assert [i.frames for i in instants] == [{"a": n, "b": n} for n in range(10)]
    assert {i.spread_ns for i in instants} == {5 * MS}


def test_the_slowest_camera_sets_the_instants() -> None:
    instants = synchronise({"fast": [n * 10 * MS for n in range(40)], "slow": [n * 40 * MS for n in range(10)]}, 4 * MS)
    assert [i.frames for i in instants] == [{"fast": 4 * n, "slow": n} for n in range(10)]


def test_a_dropped_frame_is_missing_and_shifts_nothing() -> None:
    times = [n * 40 * MS for n in range(6)]
    instants = synchronise({"a": times, "b": times[:3] + times[4:]}, 10 * MS)
    assert [i.frames["b"] for i in instants] == [0, 1, 2, -1, 3, 4]
    assert instants[3].spread_ns == 0


def test_no_camera_gives_no_instant() -> None:
    assert synchronise({}, MS) == []
    assert nearest([], 0, MS) == -1


@given(st.lists(st.integers(0, 10**6), min_size=1, unique=True).map(sorted), st.integers(-(10**6), 2 * 10**6))
def test_nearest_is_what_a_search_of_all_would_find(times: list[int], t_ns: int) -> None:
    assert abs(times[nearest(times, t_ns, 10**9)] - t_ns) == min(abs(t - t_ns) for t in times)
