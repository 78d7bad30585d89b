"""Deciding, releasing and exporting in a terminal."""

import csv
from pathlib import Path

from tests.flows.fakes import FakeStage
from tests.flows.test_cli import _invoke, _values
from tests.pipeline.exports import made_export

Stages = dict[str, FakeStage]


def _run(session: Path) -> Path:
    """Run it, and put real rows where the stand-in exported nothing."""
    _values("run", session)
    rows = made_export(session, instants=2, name="other").path
    for part in ("data", "trc"):
        (rows / part).rename(session / "export" / "dataset" / part)
    (session / "export" / "dataset" / "README.md").write_text("# card")
    return session


def test_a_dataset_is_reviewed_approved_released_and_checked(session: Path, stages: Stages, tmp_path: Path) -> None:
    _run(session)
    out = tmp_path / "released"
    assert "found none" in _values("release", session, "--out", out, status=1)["error"]
    assert not out.exists()
    told = _values("review", session)
    assert told["decisions"] == []
    marks = Path(told["marks"])
    lines = list(csv.DictReader(marks.open()))
    with marks.open("w", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(line | {"exclude": "blurred" if line["camera"] == "cam2" else ""} for line in lines)
    assert "name of who decides" in _values("review", session, "--approve", status=2)["error"]
    assert _values("review", session, "--approve", "--by", "Ada")["decisions"][0]["excluded"]
    made = _values("release", session, "--out", out, "--set", "release.licence=CC0")
    assert (made["rows"], made["excluded"]) == ({"train": 3}, 2)
    assert "CC0" in (out / "v1" / "README.md").read_text()
    assert _values("check", out / "v1")["files"] >= 4
    assert _values("export", out / "v1", tmp_path / "yolo", "--format", "yolo")["files"] == 2 * 3 + 2
    (out / "v1" / "release.json").chmod(0o644)
    (out / "v1" / "release.json").write_text("{}")
    assert "changed since its release" in _values("check", out / "v1", status=2)["error"]


def test_a_rejected_dataset_is_not_released(session: Path, stages: Stages, tmp_path: Path) -> None:
    _run(session)
    assert "reason" in _values("review", session, "--reject", "--by", "Ada", status=2)["error"]
    _invoke("review", session, "--reject", "--by", "Ada", "--reason", "cam2 was bumped")
    assert "cam2 was bumped" in _values("release", session, "--out", tmp_path / "out", status=1)["error"]
    assert "both" in _values("review", session, "--reject", "--approve", status=2)["error"]


def test_what_was_not_run_is_not_reviewed(session: Path, stages: Stages) -> None:
    assert "posemill run" in _values("review", session, status=2)["error"]


def test_a_dataset_decided_about_under_other_settings_is_decided_about_again_under_them(
    session: Path, stages: Stages, tmp_path: Path
) -> None:
    changed = ("--set", "audit.max_error_px=5")
    _values("run", session, *changed)
    _invoke("review", session, *changed, "--reject", "--by", "Ada", "--reason", "blurred")
    told = _values("review", session, "--approve", "--by", "Ben")["decisions"]
    assert [(each["verdict"], each["settings"]) for each in told] == [
        ("rejected", ["audit.max_error_px=5"]), ("approved", ["audit.max_error_px=5"]),
    ]  # fmt: skip
    assert _values("release", session, "--out", tmp_path / "out")["folder"].endswith("v1")
    _values("run", session)  # under the session's own settings again: another dataset, which nobody decided about
    assert _values("review", session)["decisions"] == []
