"""`make coverage`: the share of lines that the ordinary tests run, of each package and of the modules below the bar.

Reads what `coverage run` left in this folder. Exit status 0 when every package reaches the bar, else 1.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

BAR = 90.0  # per cent of lines
Lines = Mapping[str, tuple[int, int]]  # a module's path: lines that ran, lines there are


def measured() -> Lines:
    """The modules of the four packages, also those that no test imports."""
    from coverage import Coverage

    coverage = Coverage()
    coverage.load()
    with TemporaryDirectory() as folder:
        coverage.json_report(outfile=f"{folder}/report.json")
        report = json.loads(Path(folder, "report.json").read_text())
    return {
        name: (file["summary"]["covered_lines"], file["summary"]["num_statements"]) for name, file in report["files"].items()
    }


def packages(modules: Lines) -> Lines:
    """The same figures of whole packages."""
    found: dict[str, tuple[int, int]] = {}
    for name, (ran, there) in modules.items():
        package = Path(name).parts[0]
        before = found.get(package, (0, 0))
        found[package] = (before[0] + ran, before[1] + there)
    return found


def percent(ran: int, there: int) -> float:
    """Per cent of lines that ran; an empty module misses none."""
    return 100.0 * ran / there if there else 100.0


def table(modules: Lines) -> tuple[int, list[str]]:
    """Exit status, and a line for each package and each module below the bar, worst first."""
    whole = packages(modules)
    below = sorted((percent(*lines), name) for name, lines in modules.items() if percent(*lines) < BAR)
    rows = [
        f"{name:44} {ran:6} of {there:6} lines {percent(ran, there):6.1f} %" for name, (ran, there) in sorted(whole.items())
    ]
    rows += [f"modules below {BAR:.0f} %: {len(below)} of {len(modules)}"]
    rows += [f"  {name:42} {modules[name][0]:6} of {modules[name][1]:6} lines {share:6.1f} %" for share, name in below]
    return int(any(percent(*lines) < BAR for lines in whole.values())), rows


def main() -> int:
    """Print the table."""
    status, rows = table(measured())
    print("\n".join(rows))
    return status


if __name__ == "__main__":
    sys.exit(main())
