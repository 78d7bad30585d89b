from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.session import Clip, Session
from pipeline.splits import SPLITS, people_of, split

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


def _session(name: str, people: dict | None = None) -> Session:
    return Session(name=name, cameras=("cam1",), clips=(Clip(name="walk", sources={}),), people={"walk": people or {}})


def _row(t_ns: int, *person: int) -> dict:
    return {"clip": "walk", "t_ns": t_ns, "person": list(person)}


def test_people_without_names_count_as_their_session() -> None:
    session = _session("a", {0: "Ada"})
    assert people_of(_row(0, 0, 1), session) == ["Ada", "session a"]
    assert people_of(_row(0), session) == ["session a"]


def test_whole_sessions_go_where_rows_are_lacking_and_no_wanted_split_stays_empty() -> None:
    rows = [(_session(f"s{n}"), _row(t, 0)) for n in range(10) for t in range(10)]
    found = split(rows, SHARES)
    assert found.rows == {"train": 80, "validation": 10, "test": 10}
    two = split(rows[:20], SHARES)
    assert two.rows == {"train": 10, "test": 10}
    assert split(rows[:10], SHARES).rows == {"train": 10}


def test_a_person_who_comes_again_in_another_session_ties_the_two_together() -> None:
    ada, ben = _session("a", {0: "Ada"}), _session("b", {5: "Ada", 6: "Ben"})
    found = split([(ada, _row(0, 0)), (ben, _row(0, 5)), (ben, _row(1, 6)), (ben, _row(2, 6))], SHARES)
    assert found.of["a", "walk", 0] == found.of["b", "walk", 0] != found.of["b", "walk", 1] == found.of["b", "walk", 2]
    assert found.holds == {"train": ("Ben",), "test": ("Ada",)} or found.holds == {"train": ("Ada",), "test": ("Ben",)}


def test_the_seed_decides_among_equals_and_nothing_else_does() -> None:
    rows = [(_session(f"s{n}"), _row(t, 0)) for n in range(10) for t in range(3)]
    assert split(rows, SHARES, 1).of == split(rows[::-1], SHARES, 1).of
    assert len({tuple(sorted(split(rows, SHARES, seed).holds["test"])) for seed in range(8)}) > 1


_DRAWN = st.tuples(st.integers(0, 3), st.integers(0, 5), st.lists(st.integers(0, 4), max_size=3))  # session, t_ns, people


@settings(max_examples=60, deadline=None)
@given(st.lists(_DRAWN, min_size=1, max_size=40))
def test_no_person_and_no_instant_is_ever_in_two_splits(drawn: list[tuple[int, int, list[int]]]) -> None:
    names = {person: f"p{person}" for person in range(4)}  # person 4 has no name
    rows = [(_session(f"s{number}", names), _row(t, *people)) for number, t, people in drawn]
    found = split(rows, SHARES)
    where: dict[str, set[str]] = {}
    for session, row in rows:
        for person in people_of(row, session):
            where.setdefault(person, set()).add(found.of[session.name, "walk", row["t_ns"]])
    assert all(len(splits) == 1 for splits in where.values())
    assert set(found.rows) <= set(SPLITS) and sum(found.rows.values()) == len(rows)
