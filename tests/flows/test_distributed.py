"""The main job on two worker processes of Dask and of Ray: the results are those of one process, to the byte."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration.formats import save_rig
from calibration.rig import Rig
from pipeline.config import session_config
from pipeline.errors import InputError
from pipeline.job import LocalRunner, StopAfter, build_dataset
from pipeline.session import CalibrationInputs, Clip, Session, Source, save_session
from pipeline.store import Store
from tests.pipeline.footage import numbered_video
from tests.pipeline.worlds import ring

SETTINGS = ["detect.size_px=64", "detect.scales=[1.0]", "detect.flip=false", "detect.batch=4", "detect.chunk_frames=8",
            "detect.backend=torch", "detect.weights=studio", "augment.enabled=false"]  # fmt: skip


def _session(root: Path) -> Path:
    """Two cameras, a clip of twenty frames, the rig imported."""
    root.mkdir()
    large = ring(2, size_wh=(960, 720))
    rig = Rig(tuple(replace(camera, size_wh=(64, 48), K=np.diag([1 / 15, 1 / 15, 1]) @ camera.K) for camera in large.cameras))
    save_rig(rig, root / "rig-given.yaml")
    sources = {name: Source(path=numbered_video(root / f"{name}.mp4", 20).name) for name in rig.names}
    clip = Clip(name="walk", sources=sources)
    calibration = CalibrationInputs(rig="rig-given.yaml")
    save_session(Session(name="shared", cameras=rig.names, clips=(clip,), calibration=calibration), root)
    return root


def _results(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted((root / "clips").rglob("*.parquet"))}


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("runner", ["dask", pytest.param("ray", marks=pytest.mark.slow)])
def test_two_workers_make_what_one_process_makes(tmp_path: Path, runner: str) -> None:
    from flows.distributed import Workers, on_workers

    alone, shared = _session(tmp_path / "alone"), _session(tmp_path / "shared")
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


def test_a_runner_that_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from flows.distributed import Workers, task_runner

    monkeypatch.setitem(sys.modules, "prefect_dask", None)
    with pytest.raises(InputError, match=r"pip install 'posemill\[dask\]'"):
        task_runner(Workers(runner="dask"))
