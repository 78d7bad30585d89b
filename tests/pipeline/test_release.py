from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.release import release


@pytest.fixture
def session(tmp_path: Path) -> Path:
    dataset = tmp_path / "session" / "export" / "dataset"
    for name in ("data/train.parquet", "coco/annotations.json", "coco/images/a.jpg", "trc/p0.trc", "README.md"):
        (dataset / name).parent.mkdir(parents=True, exist_ok=True)
        (dataset / name).write_text(name)
    dataset.with_name("dataset.json").write_text("{}")
    return tmp_path / "session"


@pytest.mark.parametrize(("kind", "files"), [("parquet", 2), ("coco", 3), ("trc", 2)])
def test_a_format_comes_with_its_card_and_nothing_else(session: Path, tmp_path: Path, kind: str, files: int) -> None:
    out = tmp_path / "out"
    assert release(session, out, kind) == files
    assert (out / "README.md").read_text() == "README.md"
    assert sum(path.is_file() for path in out.rglob("*")) == files


def test_a_released_dataset_is_never_written_over(session: Path, tmp_path: Path) -> None:
    release(session, tmp_path / "out", "coco")
    with pytest.raises(InputError, match="never written over"):
        release(session, tmp_path / "out", "parquet")
    assert not (tmp_path / "out" / "data").exists()


def test_an_unfinished_dataset_is_not_released(session: Path, tmp_path: Path) -> None:
    (session / "export" / "dataset.json").unlink()
    with pytest.raises(InputError, match="there are: none.*posemill run"):
        release(session, tmp_path / "out", "parquet")
    assert not (tmp_path / "out").exists()


def test_an_unknown_format_lists_the_known_ones(session: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="parquet, coco, trc.*'yolo'"):
        release(session, tmp_path / "out", "yolo")
