import json
from pathlib import Path

import pytest

from pipeline.decisions import approved, decide, decision_on, decisions
from pipeline.errors import InputError, StageError
from pipeline.types import Artefact

DATASET = Artefact("export", Path("export/dataset"), "ab" * 32, 5)
OTHER = Artefact("export", Path("export/dataset"), "cd" * 32, 5)


def test_the_last_decision_about_a_dataset_counts_and_all_are_kept(tmp_path: Path) -> None:
    decide(tmp_path, DATASET, "rejected", "Ada", reason="cam2 was bumped")
    last = decide(tmp_path, DATASET, "approved", " Ben ", settings=("audit.max_error_px=5",), excluded=("a", "b"))
    assert decision_on(tmp_path, DATASET) == last
    assert (last.by, last.settings, last.excluded) == ("Ben", ("audit.max_error_px=5",), ("a", "b"))
    assert [each.verdict for each in decisions(tmp_path)] == ["rejected", "approved"]
    assert decision_on(tmp_path, OTHER) is None


def test_the_same_decision_twice_is_one(tmp_path: Path) -> None:
    assert decide(tmp_path, DATASET, "approved", "Ada") == decide(tmp_path, DATASET, "approved", "Ada")
    assert len(decisions(tmp_path)) == 1


def test_a_decision_has_a_name_and_a_rejection_a_reason(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="name of who decides"):
        decide(tmp_path, DATASET, "approved", "  ")
    with pytest.raises(InputError, match="reason for the rejection"):
        decide(tmp_path, DATASET, "rejected", "Ada")
    assert decisions(tmp_path) == []


def test_nothing_is_released_that_nobody_approved_or_somebody_rejected(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="found none.*posemill review"):
        approved(tmp_path, DATASET)
    assert approved(tmp_path, DATASET, required=False) is None
    decide(tmp_path, OTHER, "approved", "Ada")
    with pytest.raises(StageError, match="1 about other datasets"):
        approved(tmp_path, DATASET)
    decide(tmp_path, DATASET, "rejected", "Ada", reason="blurred")
    with pytest.raises(StageError, match="rejected by Ada.*blurred"):
        approved(tmp_path, DATASET, required=False)


def test_a_damaged_file_is_told_and_kept(tmp_path: Path) -> None:
    (tmp_path / "review").mkdir()
    (tmp_path / "review" / "decisions.json").write_text('[{"verdict": "maybe"}]')
    with pytest.raises(InputError, match="decisions.json"):
        decide(tmp_path, DATASET, "approved", "Ada")
    assert "maybe" in (tmp_path / "review" / "decisions.json").read_text()


def test_a_damaged_file_is_told_in_a_few_words(tmp_path: Path) -> None:
    (tmp_path / "review").mkdir()
    damaged = {"dataset": "ab" * 32, "verdict": "approved", "by": "Ada", "at": "x" * 100_000}
    (tmp_path / "review" / "decisions.json").write_text(json.dumps([damaged]))
    with pytest.raises(InputError, match="expected a list of decisions") as told:
        decisions(tmp_path)
    assert len(str(told.value)) < 1000
