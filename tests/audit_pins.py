"""`make audit`: do the installed packages fit together, and does a database of known weaknesses name one of them?

The database is asked by pip-audit, over the network. Where neither can be had, that is said, and what could be checked counts:
exit status 0 nothing found (or nobody to ask), 1 packages that do not fit or have a known weakness.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

NOBODY = (
    "audit: no database of known weaknesses could be asked ({why}). The packages fit together; whether one has a weakness is "
    "NOT known. Run `make audit` again where the network reaches one"
)
Run = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


def run(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """A module of this Python."""
    return subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True)


def weaknesses(report: str) -> tuple[list[str], list[str]] | None:
    """Of pip-audit's JSON: a line for each known weakness, and the packages that the database did not answer about.

    None where it is no report, or the database answered about nothing.
    """
    try:
        packages: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except (ValueError, LookupError, TypeError):
        return None
    skipped = [each["name"] for each in packages if "skip_reason" in each]
    if len(skipped) == len(packages):
        return None
    found = [
        f"{each['name']} {each['version']}: {one['id']}, mended in {', '.join(one['fix_versions']) or 'no version yet'}"
        for each in packages
        for one in each.get("vulns", [])
    ]
    return found, skipped


def audit(run: Run = run) -> tuple[int, list[str]]:
    """Exit status, and what to say."""
    fits = run(["pip", "check"])
    if fits.returncode:
        return 1, [fits.stdout.strip() or fits.stderr.strip()]
    if run(["pip_audit", "--version"]).returncode and run(["pip", "install", "-q", "pip-audit"]).returncode:
        return 0, [NOBODY.format(why="pip-audit cannot be installed here")]
    asked = run(["pip_audit", "--format", "json", "--progress-spinner", "off", "--skip-editable"])
    report = weaknesses(asked.stdout)
    if report is None:
        said = asked.stderr.strip().splitlines() if asked.returncode else []
        why = (said or ["it knows none of the packages"])[-1]
        return 0, [NOBODY.format(why=why[:200])]
    found, skipped = report
    unknown = [f"audit: nothing is known about {', '.join(skipped)}"] if skipped else []
    return int(bool(found)), [*(found or ["audit: no known weakness in the packages that the database knows"]), *unknown]


def main() -> int:
    """Say what was found."""
    status, lines = audit()
    print("\n".join(lines))
    return status


if __name__ == "__main__":
    sys.exit(main())
