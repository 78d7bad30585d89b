from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.forwards import Forwards


@dataclass(frozen=True)
class At:
    t_ns: int


def test_records_are_found_by_their_time_and_skipped_where_nobody_asks() -> None:
    stream = Forwards([At(3), At(5), At(9), At(12)])
    assert [stream.at(t_ns) for t_ns in (1, 3, 4, 9, 9, 20)] == [None, At(3), None, At(9), At(9), None]
    assert Forwards[At]([]).at(0) is None


def test_no_more_is_read_than_was_asked_for() -> None:
    read: list[int] = []

    def records() -> Iterator[At]:
        for t_ns in range(100):
            read.append(t_ns)
            yield At(t_ns)

    assert Forwards(records()).at(4) == At(4)
    assert read == [0, 1, 2, 3, 4]
