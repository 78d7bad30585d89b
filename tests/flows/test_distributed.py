"""The main job on two worker processes of Dask and of Ray: the results are those of one process, to the byte."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.config import session_config
from pipeline.errors import InputError, StageError
from pipeline.job import LocalRunner, StopAfter, build_dataset
from pipeline.remote import CACHE, open_store
from pipeline.store import Store
from tests.pipeline.small import SETTINGS, small_session


def _results(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted((root / "clips").rglob("*.parquet"))}


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("runner", ["dask", pytest.param("ray", marks=pytest.mark.slow)])
def test_two_workers_make_what_one_process_makes(tmp_path: Path, runner: str) -> None:
    from flows.distributed import Workers, on_workers

    alone, shared = small_session(tmp_path / "alone"), small_session(tmp_path / "shared")
    store = Store(alone)
    with pytest.raises(StopAfter):
        build_dataset(store, session_config(store.session, "", SETTINGS), LocalRunner(store, "audit"))
    store = Store(shared)
    config = session_config(store.session, "", SETTINGS)
    steps, made = on_workers(store, config.model_dump(mode="json"), Workers(runner=runner), "audit")
    assert [step.stage for step in steps] == ["ingest", "calibrate", "detect", "detect", "reconstruct", "audit"]
    assert all(artefact.path.is_relative_to(shared) for _, artefact in made)
    names = {name.rsplit("-", 1)[0] for name in _results(shared)}
    assert {"clips/walk/detect-cam1", "clips/walk/detect-cam2"} <= names
    assert list(_results(alone).values()) == list(_results(shared).values())
    again, _ = on_workers(store, config.model_dump(mode="json"), Workers(runner=runner), "audit")
    assert all(step.skipped for step in again)


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket of an S3 server on loopback."""
    import fsspec
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    told = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "ada", "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1", CACHE: str(tmp_path / "cache")}  # fmt: skip
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    files = fsspec.filesystem("s3", skip_instance_cache=True)
    files.mkdir("recordings")
    yield "s3://recordings"
    server.stop()


@pytest.mark.usefixtures("prefect_server")
def test_a_session_in_a_bucket_is_worked_on_by_two_workers(tmp_path: Path, s3: str) -> None:
    import fsspec

    from flows.distributed import Workers, on_workers

    alone = small_session(tmp_path / "alone")
    files = fsspec.filesystem("s3")
    for file in alone.iterdir():
        files.put_file(str(file), f"recordings/gym/{file.name}")
    store = Store(alone)
    with pytest.raises(StopAfter):
        build_dataset(store, session_config(store.session, "", SETTINGS), LocalRunner(store, "audit"))
    remote = open_store(f"{s3}/gym")
    config = session_config(remote.session, "", SETTINGS)
    with remote.lock("here"), pytest.raises(StageError, match="process.*here"), open_store(f"{s3}/gym").lock():
        pass
    on_workers(remote, config.model_dump(mode="json"), Workers(runner="dask"), "audit")
    files.invalidate_cache()
    made = sorted(name for name in files.find("recordings/gym/clips") if name.endswith(".parquet"))
    assert [files.cat_file(name) for name in made] == list(_results(alone).values())
    assert os.environ[CACHE] in str(remote.root)


def test_a_runner_that_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from flows.distributed import Workers, task_runner

    monkeypatch.setitem(sys.modules, "prefect_dask", None)
    with pytest.raises(InputError, match=r"pip install 'posemill\[dask\]'"):
        task_runner(Workers(runner="dask"))


def test_a_server_of_prefect_that_does_not_start_in_time_is_no_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import distributed

    def late(*_: object) -> None:
        raise RuntimeError("Timed out while attempting to connect to ephemeral Prefect API server.")

    store = Store(small_session(tmp_path / "small"))
    monkeypatch.setattr(distributed, "task_runner", lambda workers: None)
    monkeypatch.setattr(distributed.run_stages, "with_options", lambda **_: late)
    with pytest.raises(StageError, match="run the same command again.*posemill serve"):
        distributed.on_workers(store, {}, distributed.Workers())


def test_workers_are_told_of_the_one_temporary_server(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.server.api import server
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.distributed import Workers, one_server

    own, cluster = Workers(runner="dask"), Workers(runner="dask", address="tcp://10.0.0.2:8786")

    started: list[int] = []

    class Server:
        api_url = "http://127.0.0.1:1/api"

        def start(self, timeout: int) -> None:
            started.append(timeout)

    monkeypatch.setattr(server, "SubprocessASGIServer", Server)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:2/api"}), one_server(own):
        assert (started, PREFECT_API_URL.value()) == ([], "http://127.0.0.1:2/api")
    with temporary_settings(restore_defaults={PREFECT_API_URL}), one_server(cluster):
        assert (started, PREFECT_API_URL.value()) == ([], None)  # other machines do not reach this one's 127.0.0.1
    with temporary_settings(restore_defaults={PREFECT_API_URL}), one_server(own):
        assert (len(started), PREFECT_API_URL.value()) == (1, "http://127.0.0.1:1/api")
