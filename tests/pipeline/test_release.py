import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.config import ReleaseConfig
from pipeline.decisions import Decision
from pipeline.errors import InputError
from pipeline.release import Approved, check_release, release
from pipeline.session import Clip, Session
from pipeline.store import Ref
from pipeline.tables import RELEASED, SAMPLES
from pipeline.types import Artefact
from tests.pipeline.exports import made_export

AT = "2026-11-26T09:12:00+00:00"


def approved_export(root: Path, name: str, excluded: tuple[str, ...] = ()) -> Approved:
    dataset = made_export(root / name)
    session = Session(name=name, cameras=("cam1",), clips=(Clip(name="walk", sources={}),))
    decision = Decision(dataset=dataset.digest, verdict="approved", by="Ada", at=AT, reason="looks | right", excluded=excluded)
    frames = Artefact("ingest", root / name / "clips" / "walk" / "ingest-0.parquet", "01", 8)
    return Approved(root / name, session, [(Ref(clip="walk"), frames), (Ref((frames,)), dataset)], dataset, decision)


def _rows(folder: Path, split: str = "*") -> list[dict]:
    return [row for file in sorted((folder / "data").glob(f"{split}-*.parquet")) for row in pq.read_table(file).to_pylist()]


def test_sessions_are_split_and_ids_tell_them_apart(tmp_path: Path) -> None:
    sources = [approved_export(tmp_path, name) for name in ("a", "b", "c")]
    made = release(sources, tmp_path / "out", ReleaseConfig(rows_per_shard=6))
    assert made.folder == tmp_path / "out" / "v1"
    rows = {name: _rows(made.folder, name) for name in ("train", "validation", "test")}
    assert {name: len(found) for name, found in rows.items()} == made.rows == {"train": 9, "validation": 8, "test": 8}
    assert all(len({row["session"] for row in found}) == 1 for found in rows.values())
    everything = [row for found in rows.values() for row in found]
    assert len({row["id"] for row in everything}) == len(everything)
    assert all(row["id"].startswith(row["session"] + "-walk-cam") for row in everything)
    [parent] = [row["parent"] for row in everything if row["parent"]]
    assert parent == f"{rows['train'][0]['session']}-walk-cam1-000000000000000"
    assert {row["origin"] for name in ("validation", "test") for row in rows[name]} == {"captured"}


def test_all_else_of_a_row_is_as_it_was_exported(tmp_path: Path) -> None:
    source = approved_export(tmp_path, "a")
    folder = release([source], tmp_path / "out", ReleaseConfig()).folder
    [shard] = (folder / "data").glob("*.parquet")
    assert pq.read_schema(shard).names == RELEASED.names
    features = json.loads(pq.read_schema(shard).metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    before = [row for file in sorted((source.dataset.path / "data").iterdir()) for row in pq.read_table(file).to_pylist()]
    after = _rows(folder)
    for name in set(SAMPLES.names) - {"id", "parent"}:
        assert repr([row[name] for row in after]) == repr([row[name] for row in before]), name  # NaN is NaN


def test_excluded_rows_stay_out(tmp_path: Path) -> None:
    gone = ("walk-cam1-000000000000000", "walk-cam1-000000000000000-g0")
    made = release([approved_export(tmp_path, "a", excluded=gone)], tmp_path / "out", ReleaseConfig())
    assert made.excluded == 2
    assert {row["id"] for row in _rows(made.folder)}.isdisjoint({f"a-{name}" for name in gone})
    assert sum(made.rows.values()) == 7


def test_the_card_names_decision_splits_licence_and_lineage(tmp_path: Path) -> None:
    made = release([approved_export(tmp_path, "a")], tmp_path / "out", ReleaseConfig(licence="CC BY 4.0, consent given"))
    card = (made.folder / "README.md").read_text()
    for told in ("| a | approved | Ada | 2026-11-26 09:12 | looks / right |", "no validation and no test", "CC BY 4.0",
                 "flowchart LR", "n0 --> n1", "path: data/train-*.parquet", "| x_px | 153 | 9 |"):  # fmt: skip
        assert told in card, told
    record = json.loads((made.folder / "release.json").read_text())
    assert record["sessions"][0]["decision"]["by"] == "Ada"
    assert record["splits"] == {"train": ["session a"]}
    assert record["counts"] == {"train": {"captured": 8, "generated": 1, "people": 9}}
    assert record["statistics"]["train"]["x_px"]["missing"] == 9


def test_a_release_never_changes(tmp_path: Path) -> None:
    source = approved_export(tmp_path, "a")
    first = release([source], tmp_path / "out", ReleaseConfig()).folder
    assert check_release(first) == sum(path.is_file() for path in first.rglob("*")) - 1
    assert not any(path.stat().st_mode & 0o222 for path in first.rglob("*") if path.is_file())
    with pytest.raises(InputError, match="v1: this version is there already"):
        release([source], tmp_path / "out", ReleaseConfig(), version="v1")
    assert release([source], tmp_path / "out", ReleaseConfig()).folder.name == "v2"
    (first / "data" / "more.parquet").write_text("not theirs")
    with pytest.raises(InputError, match="data/more.parquet: is no file of this release"):
        check_release(first)
    (first / "data" / "more.parquet").unlink()
    card = first / "README.md"
    card.chmod(0o644)
    card.write_text("better")
    with pytest.raises(InputError, match="README.md: changed since its release"):
        check_release(first)
    card.unlink()
    with pytest.raises(InputError, match="README.md: this file of the release is gone"):
        check_release(first)


def test_sessions_of_one_name_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    source = approved_export(tmp_path, "a")
    with pytest.raises(InputError, match="different names, got a, a"):
        release([source, source], tmp_path / "out", ReleaseConfig())
    assert not (tmp_path / "out").exists()


def test_a_disk_that_fills_up_leaves_no_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pipeline.release._seal", full)
    from pipeline.errors import StageError

    with pytest.raises(StageError, match="disk is full"):
        release([approved_export(tmp_path, "a")], tmp_path / "out", ReleaseConfig())
    assert list((tmp_path / "out").iterdir()) == []
