import json
import subprocess
from collections.abc import Sequence

from tests.audit_pins import audit


def _answers(**by_word: tuple[int, str, str]):
    def run(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        word = {"--version": "version", "--format": "ask", "check": "check", "install": "install"}[words[1]]
        return subprocess.CompletedProcess(words, *by_word.get(word, (0, "", "")))

    return run


def test_a_known_weakness_is_named_with_what_mends_it() -> None:
    weak = {"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}
    sound, unknown = {"name": "b", "version": "1", "vulns": []}, {"name": "c", "skip_reason": "not found"}
    assert audit(_answers(ask=(1, json.dumps({"dependencies": [weak, sound]}), ""))) == (1, ["a 1: CVE-1, mended in 2"])
    status, lines = audit(_answers(ask=(0, json.dumps({"dependencies": [sound, unknown]}), "")))
    assert status == 0 and lines[-1] == "audit: nothing is known about c"


def test_a_database_that_knows_no_package_has_not_answered() -> None:
    told = {"dependencies": [{"name": "c", "skip_reason": "not found"}]}
    status, [line] = audit(_answers(ask=(0, json.dumps(told), "")))
    assert status == 0 and "is NOT known" in line


def test_without_a_database_it_says_that_nothing_is_known() -> None:
    for run in (
        _answers(ask=(1, "", "warning\nConnectionError: no route")),
        _answers(version=(1, "", ""), install=(1, "", "")),
    ):
        status, [line] = audit(run)
        assert status == 0 and "is NOT known" in line


def test_packages_that_do_not_fit_are_told() -> None:
    assert audit(_answers(check=(1, "a 1 requires b", ""))) == (1, ["a 1 requires b"])
