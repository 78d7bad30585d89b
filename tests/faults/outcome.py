"""What a fault did: one row of the table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """A fault, how it was made, what came of it, and what went wrong (nothing: it was withstood). skipped: it was not made."""

    fault: str
    how: str
    found: str
    problems: tuple[str, ...] = ()
    skipped: bool = False

    @property
    def verdict(self) -> str:
        """In one word."""
        return "not made" if self.skipped else "FAILED" if self.problems else "withstood"


def skipped(fault: str, why: str) -> Outcome:
    """A fault that cannot be made on this machine."""
    return Outcome(fault, "not made on this machine", why, skipped=True)


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as Markdown, problems below it."""
    rows = [f"| {one.fault} | {one.how} | {one.found} | {one.verdict} |" for one in outcomes]
    problems = [f"- {one.fault}: {problem}" for one in outcomes for problem in one.problems]
    return "\n".join(["| fault | how it was made | what came of it | |", "|---|---|---|---|", *rows, *problems])


def counted(stages: Mapping[str, int], order: Sequence[str]) -> str:
    """Kills by stage in words, in the order of the stages."""
    count = Counter(stages)
    return ", ".join(f"{stage} {count[stage]}" for stage in order if count[stage])
