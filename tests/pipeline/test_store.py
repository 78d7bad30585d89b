import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from pipeline.config import DetectConfig
from pipeline.errors import InputError, StageError
from pipeline.session import Session, save_session
from pipeline.store import Ref, Store, digest_of
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


@pytest.mark.parametrize("spoil", [{"rows": "1"}, {"rows": None}, {"summary": []}, {"summary": None}, {"digest": "0" * 64}])
def test_a_manifest_with_one_wrong_field_is_not_done(store: Store, spoil: dict[str, object]) -> None:
    slot = _slot(store)
    _commit(slot)
    slot.manifest_path.write_text(json.dumps(json.loads(slot.manifest_path.read_text()) | spoil))
    assert slot.done() is None


def test_a_manifest_without_its_result_is_not_done(store: Store) -> None:
    slot = _slot(store)
    _commit(slot)
    slot.path.unlink()
    assert slot.done() is None


def test_what_the_writer_counted_is_kept(store: Store) -> None:
    def write(path: Path) -> tuple[int, dict[str, int]]:
        path.write_text("rows")
        return 7, {"people": 2}

    slot = _slot(store)
    made = slot.commit(write)
    assert (made.rows, made.summary) == (7, {"people": 2})
    assert slot.done() == made


def test_a_manifest_says_everything_that_named_the_slot(store: Store) -> None:
    inputs = (Artefact("ingest", Path("x"), "abc", 1), Artefact("calibrate", Path("y"), "def", 2))
    slot = store.slot("detect", "3", DetectConfig(), Ref(inputs, "walk", "cam1"), given={"seen": [1, 2]})
    slot.commit(lambda path: path.write_text("rows"), rows=4, summary={"from": Path("a/b")})
    named = {
        "stage": "detect",
        "version": "3",
        "clip": "walk",
        "part": "cam1",
        "config": DetectConfig().model_dump(mode="json"),
        "inputs": ["abc", "def"],
        "given": {"seen": [1, 2]},
    }
    assert slot.digest == hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()
    manifest = {"kind": "detect", "digest": slot.digest, "rows": 4, "summary": {"from": "a/b"}, **named}
    assert slot.manifest_path.read_text() == json.dumps(manifest, indent=1)


def test_a_digest_does_not_know_the_order_of_keys_and_takes_a_path_for_its_name() -> None:
    assert digest_of({"b": 1, "a": Path("x/y")}) == hashlib.sha256(b'{"a": "x/y", "b": 1}').hexdigest()


def test_provenance_of_paths_is_written_as_their_names(store: Store) -> None:
    slot = store.slot("detect", "1", DetectConfig(), Ref((), "walk", "cam1"), given=Path("a/b"))
    _commit(slot)
    assert json.loads(slot.manifest_path.read_text())["given"] == "a/b"


def test_results_stand_where_their_clip_part_and_digest_say(store: Store) -> None:
    def place(ref: Ref, stage: str = "detect", **named: str) -> tuple[str, str]:
        slot = store.slot(stage, "1", DetectConfig(), ref, **named)
        return str(slot.path.relative_to(store.root)), slot.digest[:8]

    for ref, stem in ((Ref((), "walk", "cam1"), "detect-cam1"), (Ref((), "walk"), "detect")):
        path, digest = place(ref)
        assert path == f"clips/walk/{stem}-{digest}.parquet"
    path, digest = place(Ref((), "walk"), suffix="", name="ignored beside a clip")
    assert path == f"clips/walk/detect-{digest}"
    path, digest = place(Ref(), "calibrate", suffix="")
    assert path == f"rig/{digest}"
    assert place(Ref(), "export", suffix="", name="dataset")[0] == "export/dataset"


def test_everything_is_on_the_disk_before_it_is_in_its_place(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []

    def fsync(file: Path) -> None:
        assert not slot.path.exists() and not slot.manifest_path.exists()
        synced.append(file.name)

    def fill(path: Path) -> None:
        (path / "data").mkdir(parents=True)
        (path / "data" / "rows").write_text("rows")

    monkeypatch.setattr("pipeline.store.fsync", fsync)
    slot = _slot(store)
    _commit(slot)
    assert synced == [f".{os.getpid()}-{slot.path.name}"]
    synced.clear()
    slot = store.slot("export", "1", DetectConfig(), Ref(), suffix="", name="dataset")
    slot.commit(fill, rows=1)
    assert sorted(synced) == ["data", "rows"]


def test_a_forgotten_result_loses_its_manifest_first(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made, removed = _commit(_slot(store)), []
    monkeypatch.setattr("pipeline.store.remove", removed.append)
    store.forget(made)
    assert removed == [made.manifest_path, made.path]


def test_a_ref_gives_its_inputs_by_kind_and_refuses_none_or_two_for_one() -> None:
    one, two, other = (Artefact(kind, Path(name), name, 1) for kind, name in (("ingest", "a"), ("ingest", "b"), ("rig", "c")))
    ref = Ref((one, other, two))
    assert ref.all("ingest") == (one, two) and ref.all("audit") == ()
    assert ref.only("rig") == other
    for kind, count in (("ingest", 2), ("audit", 0)):
        with pytest.raises(ValueError, match=f"^Ref: expected one input of kind {kind}, got {count}$"):
            ref.only(kind)


def test_the_lock_says_who_holds_it_and_what_to_do(store: Store) -> None:
    refused = r"another run \(process {}\) is working on this session; wait for it or stop it, then run again$"
    (store.root / ".lock").write_text("4711, a name longer than the next")
    for who, told in (("", str(os.getpid())), ("night", f"{os.getpid()}, night")):
        with store.lock(who), pytest.raises(StageError, match=refused.format(told)), Store(store.root).lock():
            pytest.fail("locked twice")
    with store.lock():
        (store.root / ".lock").write_text("")
        with pytest.raises(StageError, match=refused.format("unknown")), Store(store.root).lock():
            pytest.fail("locked twice")


def test_the_lock_is_let_go_and_is_the_users_own(store: Store) -> None:
    before = os.umask(0)
    try:
        with store.lock():
            assert (store.root / ".lock").stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(before)
    with store.lock():
        pass
