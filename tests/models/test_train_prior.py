"""Training of the prior: it learns, and a run that was stopped goes on bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.body import SEGMENTS
from models.prior_motion import Crowd, pose_pool
from models.puppet import Puppet
from models.skeleton import COCO17
from models.train_prior import PriorTraining, train
from models.weights import load_tensors


@pytest.fixture(scope="module")
def crowd() -> Crowd:
    rng = np.random.default_rng(0)
    return Crowd.of(pose_pool(rng, 20), [Puppet(rng.normal(0, 0.2, (len(COCO17), len(SEGMENTS), 3)))])


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("models.train_prior.LOOKED_AT", 500)


def losses(text: list[str]) -> list[float]:
    return [float(word.removeprefix("loss=")) for line in text for word in line.split() if word.startswith("loss=")]


@pytest.mark.parametrize("kind", ["coupling", "continuous"])
def test_a_prior_learns_and_says_what_it_was_made_of(crowd, tmp_path, kind):
    said: list[str] = []
    config = PriorTraining(out=str(tmp_path), kind=kind, steps=60, batch=64, warmup=5, checkpoint_every=20)
    path = train(config, crowd, {"people": 1}, report=said.append)
    told = losses(said)
    assert len(told) == 3
    assert told[-1] < told[0]
    _, about = load_tensors(path)
    assert (about["kind"], about["step"], about["people"]) == (kind, 60, 1)


def test_a_run_that_was_stopped_goes_on_bit_for_bit(crowd, tmp_path, monkeypatch):
    def config(name: str, **told: object) -> PriorTraining:
        return PriorTraining(out=str(tmp_path / name), steps=8, batch=32, warmup=2, checkpoint_every=4, **told)

    real_m = crowd.skeletons(np.random.default_rng(5), 30)
    whole, _ = load_tensors(train(config("whole"), crowd, {}, real_m, report=lambda _: None))
    said: list[str] = []
    train(config("parts", seconds=0.0), crowd, {}, real_m, report=said.append)
    assert load_tensors(tmp_path / "parts" / "checkpoint.safetensors")[1]["step"] < 8
    parts, _ = load_tensors(train(config("parts"), crowd, {}, real_m, report=said.append))
    assert any("going on at step" in line for line in said)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_another_runs_checkpoint_is_refused(crowd, tmp_path):
    train(PriorTraining(out=str(tmp_path), steps=1, batch=8), crowd, {}, report=lambda _: None)
    with pytest.raises(ValueError, match="made with seed=0, asked to go on with 1"):
        train(PriorTraining(out=str(tmp_path), steps=1, batch=8, seed=1), crowd, {}, report=lambda _: None)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="expected one of coupling, continuous, got 'spline'"):
        PriorTraining(kind="spline")
