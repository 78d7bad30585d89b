"""Which rows of a dataset go to train, validation and test: whole people and whole sessions, never parts of them.

All views of an instant, generated children and their parents, and every row of a person stay together; people whose names
nobody gave stay together with all the others of their session, for they may be each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.cluster.hierarchy import DisjointSet

from pipeline.samples import derive_seed
from pipeline.session import Session

SPLITS = ("train", "validation", "test")
# (session, clip, t_ns): what all views of an instant and their generated children have in common.
Instant = tuple[str, str, int]


@dataclass(frozen=True)
class Split:
    """Where each instant goes, how many rows that gives, and what each split holds together: people and sessions."""

    of: Mapping[Instant, str]
    rows: Mapping[str, int]
    holds: Mapping[str, tuple[str, ...]]


def people_of(row: Mapping[str, Any], session: Session) -> list[str]:
    """Who is in a row: names where session.yaml gives them; where it does not, the session as a whole."""
    names = session.people.get(row["clip"], {})
    return sorted({names.get(person, f"session {session.name}") for person in row["person"]} or {f"session {session.name}"})


def split(rows: Iterable[tuple[Session, Mapping[str, Any]]], shares: Mapping[str, float], seed: int = 0) -> Split:
    """Assign the instants of rows (session, with clip, t_ns and person) so that the splits' shares of the rows come near
    those asked for. Linear in the rows; the same rows and seed give the same splits."""
    groups: DisjointSet = DisjointSet()
    counts: Counter[Instant] = Counter()
    for session, row in rows:
        instant: Instant = (session.name, row["clip"], row["t_ns"])
        counts[instant] += 1
        groups.add(instant)
        for person in people_of(row, session):
            groups.add(person)
            groups.merge(instant, person)
    together = [_Group.of(members, counts) for members in groups.subsets()]
    together.sort(key=lambda group: (-group.rows, derive_seed("split", seed, *group.people)))
    return _split(together, _assign([group.rows for group in together], shares))


@dataclass(frozen=True)
class _Group:
    people: tuple[str, ...]
    instants: tuple[Instant, ...]
    rows: int

    @staticmethod
    def of(members: Iterable[Hashable], counts: Mapping[Instant, int]) -> _Group:
        instants = [member for member in members if isinstance(member, tuple)]
        people = sorted(member for member in members if isinstance(member, str))
        return _Group(tuple(people), tuple(instants), sum(counts[instant] for instant in instants))


def _assign(sizes: Sequence[int], shares: Mapping[str, float]) -> list[str]:
    """The split of each group, largest first: the one that lacks most rows, but no split that is wanted stays empty while
    there are groups enough."""
    wanted = {name: share * sum(sizes) for name, share in shares.items() if share > 0}
    got = dict.fromkeys(wanted, 0)
    chosen = []
    for number, size in enumerate(sizes):
        empty = [name for name in wanted if not got[name]]
        open_to = empty if len(empty) >= len(sizes) - number else list(wanted)
        name = max(open_to, key=lambda name: (wanted[name] - got[name], name == "test"))
        got[name] += size
        chosen.append(name)
    return chosen


def _split(groups: Sequence[_Group], chosen: Sequence[str]) -> Split:
    rows: Counter[str] = Counter()
    holds: dict[str, tuple[str, ...]] = {}
    of = {}
    for group, name in zip(groups, chosen, strict=True):
        rows[name] += group.rows
        holds[name] = (*holds.get(name, ()), *group.people)
        of.update(dict.fromkeys(group.instants, name))
    return Split(of, dict(rows), {name: tuple(sorted(people)) for name, people in holds.items()})
