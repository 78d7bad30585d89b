"""Sessions at fsspec addresses: as on a disk, from any machine."""

import json
import pickle
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline import remote, remote_lock
from pipeline.atomic import remove
from pipeline.config import session_config
from pipeline.decisions import decide, decisions
from pipeline.errors import InputError, StageError
from pipeline.job import LocalRunner, StopAfter, build_dataset, chunks_of
from pipeline.remote import CACHE, RemoteStore, address_of, open_store, session_folder
from pipeline.store import Ref
from pipeline.types import Artefact
from tests.pipeline.small import SETTINGS, small_session


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A session at an address; the first machine's mirror is in `first`."""
    monkeypatch.setenv(CACHE, str(tmp_path / "first"))
    return f"file://{small_session(tmp_path / 'bucket')}"


def _run(url: str) -> LocalRunner:
    store = open_store(url)
    runner = LocalRunner(store, "audit")
    with store.lock("a run"), pytest.raises(StopAfter):
        build_dataset(store, session_config(store.session, "", SETTINGS), runner)
    return runner


@pytest.mark.parametrize(
    ("word", "address"),
    [("s3://bucket/a/b", "s3://bucket/a/b"), (Path("s3://bucket/a"), "s3://bucket/a"), ("gs://b/", "gs://b"), ("/data/s", ""),
     ("data/s3/x", ""), (Path("C:/x"), "")],
)  # fmt: skip
def test_an_address_is_told_from_a_folder(word: str | Path, address: str) -> None:
    assert address_of(word) == address


def test_results_are_at_the_address_and_another_machine_finds_them_done(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = tmp_path / "bucket"
    raw = {path.name: path.read_bytes() for path in bucket.glob("*.mp4")}
    first = _run(url)
    assert not any(step.skipped for step in first.steps)
    sent = {path.relative_to(bucket) for path in bucket.rglob("*") if path.suffix in (".parquet", ".json")}
    mirror = first.store.root
    assert sent == {path.relative_to(mirror) for path in mirror.rglob("*") if path.suffix in (".parquet", ".json")}
    monkeypatch.setenv(CACHE, str(tmp_path / "second"))
    second = _run(url)
    assert all(step.skipped for step in second.steps)
    assert [made.digest for _, made in first.made] == [made.digest for _, made in second.made]
    assert second.store.root.is_relative_to(tmp_path / "second")
    assert raw == {path.name: path.read_bytes() for path in bucket.glob("*.mp4")}
    assert not (bucket / ".lock").exists()


def test_a_store_that_travels_finds_its_inputs_in_the_mirror_of_the_other_machine(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _run(url)
    ref, made = next((ref, made) for ref, made in first.made if made.kind == "reconstruct")
    packed = pickle.dumps(first.store)
    monkeypatch.setenv(CACHE, str(tmp_path / "second"))
    there = pickle.loads(packed)
    moved = there.here(ref)
    assert all(artefact.path.exists() and artefact.path.is_relative_to(tmp_path / "second") for artefact in moved.inputs)
    assert there.sent(there.fetch(made)) == made


def test_two_runs_on_two_machines_do_not_work_on_one_session(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(url).lock("flow run gym"):
        monkeypatch.setenv(CACHE, str(tmp_path / "second"))
        with pytest.raises(StageError, match="flow run gym"), open_store(url).lock():
            pass
    with open_store(url).lock():
        pass


def test_a_lock_from_a_clock_ahead_of_ours_holds_only_while_it_is_renewed(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "bucket" / ".lock"
    ahead = {"who": "ahead", "host": "other", "process": 1, "at": time.time() + 1e6}
    slept = []
    monkeypatch.setattr(remote_lock.time, "sleep", slept.append)
    file.write_text(json.dumps(ahead))
    with open_store(url).lock():
        assert "ahead" not in file.read_text() and slept
    file.write_text(json.dumps(ahead))
    renewed = json.dumps(ahead | {"at": ahead["at"] + 20})
    monkeypatch.setattr(remote_lock.time, "sleep", lambda _: file.write_text(renewed))
    with pytest.raises(StageError, match="ahead"), open_store(url).lock():
        pass


def test_a_run_that_was_killed_blocks_nobody_for_long(url: str, tmp_path: Path) -> None:
    dead = {"who": "killed", "host": "other", "process": 1, "at": time.time() - remote_lock.STALE_S - 1}
    (tmp_path / "bucket" / ".lock").write_text(json.dumps(dead))
    with open_store(url).lock():
        assert "killed" not in (tmp_path / "bucket" / ".lock").read_text()


def test_who_works_for_long_goes_on_holding_the_session(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_lock, "RENEW_S", 0.05)
    with open_store(url).lock():
        begun = json.loads((tmp_path / "bucket" / ".lock").read_text())["at"]
        time.sleep(0.4)
        assert json.loads((tmp_path / "bucket" / ".lock").read_text())["at"] > begun


def test_decisions_go_back_and_are_read_anew(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Artefact("export", Path("x"), "ab" * 32, 1)
    with session_folder(url) as root:
        decide(root, dataset, "rejected", "Ada", reason="blurred")
    assert [each.by for each in decisions(tmp_path / "bucket")] == ["Ada"]
    monkeypatch.setenv(CACHE, str(tmp_path / "second"))
    with session_folder(url) as root:
        decide(root, dataset, "approved", "Ben")
    monkeypatch.setenv(CACHE, str(tmp_path / "first"))
    with session_folder(url) as root:
        assert [each.by for each in decisions(root)] == ["Ada", "Ben"]


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [(PermissionError("403"), InputError, "access is denied"), (FileNotFoundError("no such bucket"), InputError, "found none"),
     (ConnectionError("refused"), StageError, "does not answer"), (ValueError("no credentials"), InputError, "credentials")],
)  # fmt: skip
def test_a_store_that_denies_is_told_with_its_address(
    url: str, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception], told: str
) -> None:
    def fails(*_: object) -> None:
        raise error

    files = SimpleNamespace(get_file=fails, find=fails, invalidate_cache=lambda: None)
    monkeypatch.setattr("fsspec.core.url_to_fs", lambda url: (files, "bucket/session"))
    with pytest.raises(kind, match=f"s3://bucket/session.*{told}"):
        RemoteStore("s3://bucket/session")


def test_recordings_outside_of_the_address_are_refused(url: str, tmp_path: Path) -> None:
    file = tmp_path / "bucket" / "session.yaml"
    file.write_text(file.read_text().replace("path: cam1.mp4", "path: /home/ada/cam1.mp4"))
    with pytest.raises(InputError, match="/home/ada/cam1.mp4.*recordings below it"):
        open_store(url).prepare("ingest", Ref())


def test_an_unknown_kind_of_address_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE, str(tmp_path))
    with pytest.raises(InputError, match="nowhere://x.*cannot be opened here"):
        remote.open_store("nowhere://x")


def _exported(root: Path, digest: str, shards: int) -> Artefact:
    """A dataset under its one name, as the export stage leaves it."""
    folder = root / "export" / "dataset"
    remove(folder)
    folder.mkdir(parents=True)
    for number in range(shards):
        (folder / f"train-{number}.parquet").write_text(f"{digest} {number}")
    made = Artefact("export", folder, digest, shards)
    made.manifest_path.write_text(json.dumps({"digest": digest}))
    return made


def test_a_dataset_made_anew_takes_the_place_of_the_old_one_everywhere(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = RemoteStore(url)
    old = _exported(first.root, "old", 3)
    first.send(old.path, old.manifest_path)
    monkeypatch.setenv(CACHE, str(tmp_path / "second"))
    second = RemoteStore(url)
    second.fetch(Artefact("export", second.root / "export" / "dataset", "old", 3))
    new = _exported(first.root, "new", 2)
    first.send(new.path, new.manifest_path)
    expected = {"train-0.parquet": "new 0", "train-1.parquet": "new 1"}
    seen = second.fetch(Artefact("export", second.root / "export" / "dataset", "new", 2))
    for folder in (tmp_path / "bucket" / "export" / "dataset", seen.path):
        assert {path.name: path.read_text() for path in folder.iterdir()} == expected
    with session_folder(url) as root:
        assert {path.name: path.read_text() for path in (root / "export" / "dataset").iterdir()} == expected


def test_chunks_are_counted_where_the_inputs_were_made_on_another_machine(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_store(url)
    config = session_config(first.session, "", SETTINGS)
    runner = LocalRunner(first, "calibrate")
    with pytest.raises(StopAfter):
        build_dataset(first, config, runner)
    frames = next(made for _, made in runner.made if made.kind == "ingest")
    monkeypatch.setenv(CACHE, str(tmp_path / "second"))
    second = open_store(url)
    told = replace(frames, path=second.root / frames.path.relative_to(first.root))  # as its worker sent it
    assert not told.path.exists()
    assert len(chunks_of(second, "detect", [Ref((told,), "walk", "cam1")], config.detect)) == 3


def test_a_bucket_that_can_only_be_read_is_told_before_anything_is_done(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RemoteStore(url)

    def denied(*_: object, **__: object) -> None:
        raise PermissionError("403")

    monkeypatch.setattr(store._files, "open", denied)
    with pytest.raises(InputError, match="access is denied"), store.lock():
        pass


def test_what_is_left_at_the_address_alone_is_found_and_forgotten(url: str, tmp_path: Path) -> None:
    store, left = open_store(url), tmp_path / "bucket" / "clips" / "people" / "detect-cam1@000000-000004-12345678.parquet"
    left.parent.mkdir(parents=True)
    left.write_text("a chunk that a killed run left")
    assert store.has("clips/people/detect-cam1@*") and not store.has("clips/people/detect-cam2@*")
    store.forget(Artefact("detect", store.root / "clips" / "people" / left.name, "12345678", 0))
    assert not left.exists() and not store.has("clips/people/detect-cam1@*")
