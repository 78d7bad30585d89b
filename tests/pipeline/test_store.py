import errno
import json
from pathlib import Path

import pytest

from pipeline.config import DetectConfig
from pipeline.errors import InputError, StageError
from pipeline.session import Session, save_session
from pipeline.store import Ref, Store
from pipeline.types import Artefact


@pytest.fixture
def store(tmp_path: Path) -> Store:
    save_session(Session(name="s", cameras=("cam1",)), tmp_path)
    return Store(tmp_path)


def _slot(store: Store, version: str = "1", config: DetectConfig | None = None, inputs: tuple[Artefact, ...] = ()):
    return store.slot("detect", version, config or DetectConfig(), Ref(inputs, "walk", "cam1"))


def _commit(slot, text: str = "rows") -> Artefact:
    return slot.commit(lambda path: path.write_text(text) and None, rows=1, summary={"people": 2})


def test_a_folder_without_session_yaml_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="posemill new"):
        Store(tmp_path)


def test_a_result_is_done_only_once_its_manifest_stands(store: Store) -> None:
    slot = _slot(store)
    assert slot.done() is None
    made = _commit(slot)
    found = _slot(store).done()
    assert found == made
    assert made.made
    assert found is not None
    assert not found.made
    slot.manifest_path.unlink()
    assert slot.done() is None


def test_version_config_and_inputs_each_change_the_slot(store: Store) -> None:
    _commit(_slot(store))
    other = Artefact("ingest", Path("x"), "abc", 1)
    assert _slot(store, version="2").done() is None
    assert _slot(store, config=DetectConfig(size_px=320)).done() is None
    assert _slot(store, inputs=(other,)).done() is None


def test_a_failing_writer_leaves_nothing_behind(store: Store) -> None:
    def fail(path: Path) -> None:
        path.write_text("half")
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        _slot(store).commit(fail, rows=1)
    assert list((store.root / "clips" / "walk").iterdir()) == []


def test_a_full_disk_says_what_to_do(store: Store) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StageError, match="disk is full.*run the same command again"):
        _slot(store).commit(full, rows=1)


def test_a_summary_is_the_same_when_made_and_when_read_again(store: Store) -> None:
    slot = _slot(store)
    made = slot.commit(
        lambda path: path.write_text("rows"), rows=1, summary={"people": 2, "at": (1, 2), "fx_px": {"b": 1, "a": 2}}
    )
    found = _slot(store).done()
    assert found is not None
    assert json.dumps(found.summary) == json.dumps(made.summary), "also in their order: cards are written from it"


def test_a_session_that_cannot_be_written_to_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for code, words in ((errno.EROFS, "Read-only"), (errno.EACCES, "Permission denied"), (errno.ENOSPC, "disk is full")):

        def refuse(*_: object, code: int = code, **__: object) -> None:
            raise OSError(code, "refused")

        with monkeypatch.context() as patch:
            patch.setattr("pipeline.store.os.open", refuse)
            with pytest.raises(StageError, match=f"\\.lock: .*{words}.*run the same command again"), store.lock():
                pass


def test_a_disk_that_turns_read_only_is_said_although_nothing_can_be_removed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sealed(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    def write(path: Path) -> None:
        path.write_text("half")
        monkeypatch.setattr(Path, "unlink", sealed)
        sealed()

    with pytest.raises(StageError, match="Read-only file system.*run the same command again"):
        _slot(store).commit(write, rows=1)


def test_a_redone_stage_is_not_done(store: Store) -> None:
    _commit(_slot(store))
    assert _slot(Store(store.root, redo=("detect",))).done() is None


def test_a_folder_result_replaces_the_one_before(store: Store) -> None:
    def write(name: str):
        def fill(path: Path) -> None:
            path.mkdir()
            (path / name).write_text(name)

        return fill

    slot = store.slot("export", "1", DetectConfig(), Ref(), suffix="", name="dataset")
    slot.commit(write("old"), rows=1)
    slot.commit(write("new"), rows=1)
    assert [file.name for file in slot.path.iterdir()] == ["new"]
    assert json.loads((store.root / "export" / "dataset.json").read_text())["digest"] == slot.digest


def test_a_second_run_is_refused_naming_the_first(store: Store) -> None:
    with store.lock(), pytest.raises(StageError, match="another run \\(process [0-9]+\\)"), Store(store.root).lock():
        pass


def test_leftovers_of_a_killed_run_are_removed(store: Store) -> None:
    leftover = store.root / "clips" / "walk" / ".123-detect-cam1-00000000.parquet"
    leftover.parent.mkdir(parents=True)
    leftover.write_text("half")
    with store.lock():
        assert not leftover.exists()


def test_what_a_dead_worker_left_is_gone_when_the_run_ends(store: Store) -> None:
    left = store.root / "clips" / "people" / ".4711-rectify-left-right-1e781e3c"
    with store.lock():
        left.mkdir(parents=True)
        (left / "left.mp4").write_bytes(b"half")
    assert not left.exists()
