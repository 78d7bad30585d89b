import csv
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.review_rows import dataset_rows, excluded, review_file, write_review
from pipeline.store import Ref
from pipeline.tables import AUDIT, write_rows
from pipeline.types import Artefact
from tests.pipeline.exports import made_export


@pytest.fixture
def dataset(tmp_path: Path) -> Artefact:
    return made_export(tmp_path, instants=3)


def _mark(path: Path, *ids: str, delimiter: str = ",") -> None:
    lines = list(csv.DictReader(path.open()))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, lines[0], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(line | {"exclude": "x" if line["id"] in ids else ""} for line in lines)


def test_every_row_of_the_dataset_has_a_line_and_none_is_marked(tmp_path: Path, dataset: Artefact) -> None:
    lines = list(csv.DictReader(write_review(tmp_path, dataset).open()))
    assert len(lines) == dataset.rows
    assert excluded(tmp_path, dataset) == ()
    [child] = [line for line in lines if line["origin"] == "generated"]
    assert child["parent"] in {line["id"] for line in lines}


def test_the_least_likely_come_first_and_those_nobody_judged_last(tmp_path: Path, dataset: Artefact) -> None:
    plain = list(csv.DictReader(write_review(tmp_path, dataset).open()))
    review_file(tmp_path, dataset).unlink()
    rows = [{"t_ns": t, "person": 0, "p_value": p} for t, p in zip(time_ns_of(dataset), (0.5, 1e-5, None), strict=True)]
    write_rows(tmp_path / "audit.parquet", rows, AUDIT)
    made = [(Ref((), "walk"), Artefact("audit", tmp_path / "audit.parquet", "a", 3))]
    lines = list(csv.DictReader(write_review(tmp_path, dataset, made).open()))
    assert [line["least_p"] for line in lines] == sorted((line["least_p"] for line in lines), key=lambda p: float(p or 2))
    assert lines[0]["least_p"] == "1e-05"
    assert lines[-1]["least_p"] == ""
    assert {line["id"] for line in lines} == {line["id"] for line in plain}


def time_ns_of(dataset: Artefact) -> list[int]:
    return sorted({row["t_ns"] for row in dataset_rows(dataset, ["t_ns"])})


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_marked_row_is_left_out_with_its_children(tmp_path: Path, dataset: Artefact, delimiter: str) -> None:
    path = write_review(tmp_path, dataset)
    _mark(path, "walk-cam1-000000000000000", "walk-cam2-000000033333333", delimiter=delimiter)
    expected = ("walk-cam1-000000000000000", "walk-cam1-000000000000000-g0", "walk-cam2-000000033333333")
    assert excluded(tmp_path, dataset) == expected


def test_marks_are_never_written_over(tmp_path: Path, dataset: Artefact) -> None:
    path = write_review(tmp_path, dataset)
    _mark(path, "walk-cam2-000000033333333")
    before = path.read_bytes()
    write_review(tmp_path, dataset)
    assert path.read_bytes() == before
    assert review_file(tmp_path, Artefact("export", dataset.path, "ff" * 32, 1)) != path


def test_a_line_about_a_row_that_is_not_there_is_told_by_number(tmp_path: Path, dataset: Artefact) -> None:
    path = write_review(tmp_path, dataset)
    path.write_text(path.read_text() + "x,walk-cam9-1,,,,,,,,\n")
    with pytest.raises(InputError, match=r"line 9: the dataset has no row 'walk-cam9-1'"):
        excluded(tmp_path, dataset)
    path.write_text("who,what\n1,2\n")
    with pytest.raises(InputError, match="columns exclude and id, found who, what"):
        excluded(tmp_path, dataset)
