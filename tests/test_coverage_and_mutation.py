"""The tables of `make coverage` and `make mutation` count as they say, and fail below their bars."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import coverage_table, mutation_table


def test_coverage_counts_lines_of_packages_and_names_the_modules_below() -> None:
    modules = {"models/a.py": (95, 100), "models/b.py": (8, 10), "flows/cli.py": (0, 0), "flows/x/y.py": (9, 10)}
    assert coverage_table.packages(modules) == {"models": (103, 110), "flows": (9, 10)}
    status, rows = coverage_table.table(modules)
    assert status == 0
    assert [row.split() for row in rows] == [
        ["flows", "9", "of", "10", "lines", "90.0", "%"],
        ["models", "103", "of", "110", "lines", "93.6", "%"],
        ["modules", "below", "90", "%:", "1", "of", "4"],
        ["models/b.py", "8", "of", "10", "lines", "80.0", "%"],
    ]


def test_coverage_fails_where_one_package_is_below_the_bar() -> None:
    assert coverage_table.table({"models/a.py": (1000, 1000), "flows/b.py": (89, 100)})[0] == 1


def _mutants(killed: int, survived: int) -> dict[str, str]:
    return {f"k{n}": "killed" for n in range(killed)} | {f"s{n}": "survived" for n in range(survived)}


@pytest.mark.parametrize(("killed", "survived", "status"), [(80, 20, 0), (79, 21, 1)])
def test_mutation_fails_where_one_module_is_below_the_bar(killed: int, survived: int, status: int) -> None:
    assert mutation_table.table({"a.py": _mutants(10, 0), "b.py": _mutants(killed, survived)})[0] == status


def test_a_mutant_out_of_time_is_killed_and_one_without_tests_survived() -> None:
    status, rows = mutation_table.table({"a.py": _mutants(8, 0) | {"t": "timeout", "n": "no tests"}})
    assert status == 0 and "90.0 % killed (8 killed, 1 no tests, 1 timeout)" in rows[0]


def test_mutants_that_were_not_tried_and_no_mutants_at_all_are_no_pass() -> None:
    assert mutation_table.table({"a.py": _mutants(99, 0) | {"x": "not checked"}})[0] == 1
    assert mutation_table.table({}) == (1, [])


def test_verdicts_are_read_from_what_mutmut_leaves(tmp_path: Path) -> None:
    pytest.importorskip("mutmut")
    (tmp_path / "models").mkdir()
    codes = {"models.a.x": 1, "models.a.y": 0, "models.a.z": None}
    (tmp_path / "models" / "a.py.meta").write_text(json.dumps({"exit_code_by_key": codes}))
    (tmp_path / "models" / "b.py.meta").write_text(json.dumps({"exit_code_by_key": {}}))
    found = {"models.a.x": "killed", "models.a.y": "survived", "models.a.z": "not checked"}
    assert mutation_table.verdicts(tmp_path) == {"models/a.py": found}
