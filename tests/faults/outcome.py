"""What a fault did: one row of the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pipeline.job import STAGES

ORDER = ("start", *STAGES, "end")


@dataclass(frozen=True)
class Outcome:
    """A fault, how it was made, what came of it, and what went wrong (nothing: it was withstood). skipped: it was not made.

    Of kills: how many struck each stage, and the sessions that were brought to their end.
    """

    fault: str
    how: str
    found: str = ""
    problems: tuple[str, ...] = ()
    skipped: bool = False
    kills: Counter[str] = field(default_factory=Counter)
    sessions: int = 0

    @property
    def verdict(self) -> str:
        """In one word."""
        return "not made" if self.skipped else "FAILED" if self.problems else "withstood"

    @property
    def told(self) -> str:
        """What came of it, in words."""
        if not self.kills:
            return self.found
        where = ", ".join(f"{stage} {self.kills[stage]}" for stage in ORDER if self.kills[stage])
        same = "each with the same bytes" if not self.problems else "see below"
        return f"{self.kills.total()} kills ({where}); {self.sessions} sessions ended, {same}"


def skipped(fault: str, why: str) -> Outcome:
    """A fault that cannot be made on this machine."""
    return Outcome(fault, "not made on this machine", why, skipped=True)


def merged(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Those of one fault as one: kills that several processes made."""
    rows: dict[str, Outcome] = {}
    for one in outcomes:
        if (before := rows.get(one.fault)) is not None:
            both = {"problems": before.problems + one.problems, "kills": before.kills + one.kills}
            one = replace(before, **both, sessions=before.sessions + one.sessions)
        rows[one.fault] = one
    return list(rows.values())


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as Markdown, problems below it."""
    rows = [f"| {one.fault} | {one.how} | {one.told} | {one.verdict} |" for one in outcomes]
    problems = [f"- {one.fault}: {problem}" for one in outcomes for problem in one.problems]
    return "\n".join(["| fault | how it was made | what came of it | |", "|---|---|---|---|", *rows, *problems])
