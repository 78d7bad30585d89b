"""`make mutation`: how many of the small changes that mutmut makes to a module are noticed by that module's tests.

Reads what `mutmut run` left in mutants/. A mutant that no test reaches counts as one that survived, one that ran out of time as
killed. `-v` prints what each survivor changes. Exit status 0 when every module reaches the bar, else 1.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

BAR = 80.0  # per cent of mutants killed
KILLED = ("killed", "timeout", "segfault")
Verdicts = Mapping[str, str]  # a mutant's name: what became of it


def verdicts(folder: Path) -> dict[str, Verdicts]:
    """What became of each module's mutants."""
    from mutmut.stats import status_by_exit_code

    found = {}
    for file in sorted(folder.rglob("*.meta")):
        codes = json.loads(file.read_text())["exit_code_by_key"]
        found[str(file.relative_to(folder)).removesuffix(".meta")] = {
            name: status_by_exit_code[code] for name, code in codes.items()
        }
    return {module: mutants for module, mutants in found.items() if mutants}


def table(modules: Mapping[str, Verdicts]) -> tuple[int, list[str]]:
    """Exit status, and a line for each module; a module whose mutants were not all tried misses the bar."""
    status, rows = int(not modules), []
    for module, mutants in modules.items():
        count = Counter(mutants.values())
        share = 100.0 * sum(count[word] for word in KILLED) / len(mutants)
        told = ", ".join(f"{number} {word}" for word, number in sorted(count.items()))
        rows.append(f"{module:28} {len(mutants):5} mutants {share:6.1f} % killed ({told})")
        status |= share < BAR or "not checked" in count
    return status, rows


def survivors(mutants: Verdicts) -> list[str]:
    """What the mutants change that no test noticed."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant

    alive = [name for name, verdict in mutants.items() if verdict not in (*KILLED, "not checked")]
    return [f"{name}: {mutants[name]}\n{get_diff_for_mutant(name)}" for name in alive]


def main(words: list[str]) -> int:
    """Print the table."""
    modules = verdicts(Path("mutants"))
    for mutants in modules.values() if "-v" in words else ():
        print("\n".join(survivors(mutants)))
    status, rows = table(modules)
    print("\n".join(rows))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
