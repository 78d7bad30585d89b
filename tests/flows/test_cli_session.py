"""Commands about sessions hand on what they were asked and tell what came back; the work has tests of its own."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from calibration.synthetic import ring_rig
from flows.cli import app
from pipeline import clip_clock, demo, prior_training, proof, scene3d, status, studio
from pipeline.session import ClipClock
from pipeline.studio import Recording, StudioConfig
from pipeline.types import Artefact
from tests.flows.fakes import FakeStage

runner = CliRunner()


def _values(*words: object) -> dict:
    result = runner.invoke(app, [*map(str, words), "--json"])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_demo_films_once_runs_everything_and_compares_with_the_truth(
    session: Path, stages: dict[str, FakeStage], monkeypatch: pytest.MonkeyPatch
) -> None:
    filmed = iter([True, False])
    monkeypatch.setattr(demo, "make_demo_session", lambda out: next(filmed))
    for kind, name in (("compare_cameras", "camera"), ("compare_people", "kind")):
        monkeypatch.setattr(demo, kind, lambda truth, made, name=name: [{name: truth.name, "results": len(list(made))}])
    told = _values("demo", "--out", session)
    assert told["errors"] == {
        "cameras": [{"camera": "truth", "results": told["made"]}],
        "people": [{"kind": "truth", "results": told["made"]}],
    }
    assert told["made"] == 8 == len(told["steps"])
    again = runner.invoke(app, ["demo", "--out", str(session)])
    assert "is filmed already" in again.stderr and "errors against the truth" in again.stdout


def test_simulate_films_what_was_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[StudioConfig] = []

    def film(out: Path, config: StudioConfig) -> Recording:
        asked.append(config)
        return Recording(out, ring_rig(4), config, 12, 3.0, 0.25)

    monkeypatch.setattr(studio, "simulate", film)
    words = ("--seed", 7, "--people", 3, "--people-instants", 9, "--board-instants", 5)
    told = _values("simulate", tmp_path / "s", *words)
    assert told["cameras"] == list(ring_rig(4).names) and (told["pictures"], told["cpu_s"]) == (12, 3.0)
    [config] = asked
    assert (config.seed, config.people, config.people_instants, config.board_instants, config.wardrobe) == (7, 3, 9, 5, "")
    assert "12 pictures of 4 cameras" in runner.invoke(app, ["simulate", str(tmp_path / "s")]).stdout


@pytest.mark.parametrize("instants", [0, 2])
def test_view_opens_a_window_only_where_somebody_is_seen(instants: int, monkeypatch: pytest.MonkeyPatch) -> None:
    detected = (
        Artefact("detect", Path("a"), "1", 1, {"camera": "cam1"}),
        Artefact("detect", Path("b"), "2", 1, {"camera": "cam2"}),
    )
    ref = SimpleNamespace(all=lambda kind: detected if kind == "detect" else ())
    monkeypatch.setattr(status, "reconstructed", lambda *asked: (ref, Artefact("reconstruct", Path("c"), "3", 1)))
    monkeypatch.setattr("pipeline.clip_rig.clip_rig", lambda of, cameras: tuple(cameras) if of is ref else ())
    monkeypatch.setattr("pipeline.pose_rows.SkeletonFile", lambda path: ["somebody"] * instants if path == Path("c") else [])
    shown: list[tuple] = []
    monkeypatch.setattr(scene3d, "show", lambda *what: shown.append(what))
    assert _values("view", "s", "--clip", "walk") == {"session": "s", "clip": "walk", "instants": instants}
    assert shown == ([(("cam1", "cam2"), ["somebody"] * 2, "walk: 2 instants")] if instants else [])


def test_sync_tells_every_cameras_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple] = []
    clock = ClipClock(
        method="audio",
        offset_s={"cam1": 0.0, "cam2": 1.25},
        drift_ppm={"cam1": 0.0, "cam2": -3.0},
        sigma_ms={"cam1": 0.0, "cam2": 0.4},
        drift_sigma_ppm={"cam1": 0.0, "cam2": 0.5},
    )
    monkeypatch.setattr(clip_clock, "sync_clip", lambda *words: asked.append(words[:4]) or clock)
    told = _values("sync", "s", "--clip", "walk", "--method", "audio", "--max-offset", "2")
    assert told == {"session": "s", "clip": "walk", **clock.model_dump()}
    assert asked == [(Path("s"), "walk", "audio", 2.0)]
    printed = runner.invoke(app, ["sync", "s", "--clip", "walk"]).stdout
    assert "measured by audio" in printed and "1.25" in printed


def test_training_the_prior_is_told_its_settings_and_tells_the_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple] = []
    monkeypatch.setattr(prior_training, "train_prior", lambda *words: asked.append(words[:4]) or tmp_path / "prior.safetensors")
    words = ("--session", "a", "--session", "b.parquet", "--people", 5, "--poses", 60, "--steps", 7, "--out", tmp_path)
    told = _values("train", "prior", *words)
    assert told["weights"] == str(tmp_path / "prior.safetensors") and told["kind"] == "coupling"
    [(settings, people, poses, sessions)] = asked
    assert (people, poses, sessions) == (5, 60, [Path("a"), Path("b.parquet")])
    assert settings["steps"] == 7 and settings["out"] == str(tmp_path) and settings["seconds"] is None


def test_a_finished_session_is_compared_with_its_own_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    needed: list[tuple[str, ...]] = []
    monkeypatch.setattr(status, "finished", lambda root, stages, *_: needed.append(stages) or [])
    monkeypatch.setattr(demo, "compare_cameras", lambda truth, made: [{"camera": "cam1", "truth": str(truth)}])
    monkeypatch.setattr(demo, "compare_people", lambda truth, made: [{"kind": "accepted", "truth": str(truth)}])
    cameras = _values("evaluate", "calibration", "s")
    people = _values("evaluate", "poses3d", "s")
    assert cameras == {"session": "s", "cameras": [{"camera": "cam1", "truth": "s/truth"}]}
    assert people == {"session": "s", "people": [{"kind": "accepted", "truth": "s/truth"}]}
    assert needed == [("calibrate",), ("calibrate", "reconstruct", "audit")]


def test_the_worth_of_images_is_proved_as_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple] = []
    monkeypatch.setattr(proof, "prove", lambda *words: asked.append(words[:4]) or [{"arm": "without", "ap": 1.0}])
    words = ("--test", "photos", "--steps", 30, "--seeds", 2, "--size", 64, "--out", tmp_path)
    told = _values("evaluate", "dataset", "one", "two", *words)
    assert told == {"out": str(tmp_path), "steps": 30, "seeds": 2, "arms": [{"arm": "without", "ap": 1.0}]}
    [(exports, test, out, trial)] = asked
    assert (exports, test, out) == ([Path("one"), Path("two")], [Path("photos")], tmp_path)
    assert (trial.steps, trial.seeds, trial.size_px, trial.device) == (30, 2, 64, "cpu")
