"""What a prior says of skeletons: missing joints ask nothing, batches change nothing, posteriors keep what was seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.body import load_body
from models.canonical_pose import scales
from models.motion import walk
from models.plausible import MEDIAN, largest
from models.prior import JOINTS, PosePrior, PriorConfig, all_others
from models.prior_score import LEAST_JOINTS, WIDER, SkeletonPrior, load_skeleton_prior
from models.puppet import make_puppet
from models.shipped import weights_path
from models.weights import WeightsError, save_tensors

WHOLE = torch.ones(1, JOINTS, dtype=torch.bool)


def people(count: int = 6) -> np.ndarray:
    return np.random.default_rng(3).normal(0, 0.4, (count, JOINTS, 3)) + [3.0, -2.0, 1.0]


@pytest.fixture(scope="module")
def prior() -> SkeletonPrior:
    torch.manual_seed(0)
    net = PosePrior(PriorConfig(hidden=16, layer=8))
    net.look(torch.from_numpy(np.random.default_rng(0).normal(0, 0.4, (500, JOINTS, 3))).float())
    for parameter in net.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return SkeletonPrior(net.requires_grad_(False))


def test_nats_are_the_mean_over_45_dimensions_in_the_persons_own_size(prior):
    xyz_m = people()
    at_m = torch.from_numpy(xyz_m - xyz_m.mean(1, keepdims=True)).float()
    size = scales(at_m, WHOLE.expand(6, -1), prior.net.limb_m)
    whole = torch.zeros(6)
    order = [11, 12, 5, 6, 0, 1, 2, 3, 4, 13, 14, 15, 16, 7, 8, 9, 10]
    for place, joint in enumerate(order[2:], 2):
        visible = torch.zeros(1, 1, JOINTS, dtype=torch.bool)
        visible[..., order[:place]] = True
        whole += prior.net.steps(at_m, visible, slice(joint, joint + 1))[0][0] + 3 * size.log()
    assert np.allclose(prior.score(xyz_m).nats, whole.numpy() / 15, rtol=1e-4, atol=1e-4)


def test_a_skeletons_scores_do_not_depend_on_its_neighbours_or_its_place(prior):
    xyz_m = people()
    mixed = xyz_m.copy()
    mixed[2, [4, 9]] = np.nan
    alone, together = prior.score(xyz_m), prior.score(mixed)
    others = [0, 1, 3, 4, 5]
    assert np.allclose(alone.nats[others], together.nats[others], atol=1e-4)
    assert np.allclose(alone.surprise[others], together.surprise[others], rtol=1e-3, atol=1e-3)
    assert np.isnan(together.surprise[2, [4, 9]]).all()
    assert np.isfinite(largest(together.surprise)).all()
    assert np.allclose(prior.score(xyz_m + [10.0, 5.0, 0.0]).nats, alone.nats, atol=1e-3)


def test_too_few_joints_are_not_judged(prior):
    xyz_m = people(2)
    xyz_m[0, LEAST_JOINTS - 1 :] = np.nan
    scores = prior.score(xyz_m)
    assert np.isnan(scores.nats[0])
    assert np.isnan(largest(scores.surprise)[0])
    assert prior.blamed(xyz_m)[0] == -1
    assert prior.blamed(xyz_m)[1] >= 0
    assert len(prior.score(np.zeros((0, JOINTS, 3))).nats) == 0


def test_posteriors_keep_what_was_seen_and_are_what_the_steps_say(prior):
    xyz_m = people(1)
    true_m = xyz_m.copy()
    xyz_m[0, 9] = np.nan
    posterior = prior.posterior(xyz_m, draws=4000)
    assert np.allclose(posterior.mean_m[0, :9], true_m[0, :9], atol=1e-12)
    assert np.abs(posterior.covariance_m2[0, :9]).max() < 1e-20
    drawn_m = prior.samples(xyz_m, 4000)[:, 0]
    again, latent = prior.net.steps(torch.from_numpy(drawn_m - drawn_m.mean()).float(), all_others(WHOLE)[9:10], slice(9, 10))
    assert np.allclose(np.cov(latent[0].numpy().T), WIDER**2 * np.eye(3), atol=0.15)
    assert np.allclose(posterior.covariance_m2[0, 9], np.cov(drawn_m[:, 9].T), rtol=0.2, atol=1e-3)


def test_a_skeleton_of_one_joint_has_no_posterior(prior):
    xyz_m = np.full((1, JOINTS, 3), np.nan)
    xyz_m[0, 0] = 0.0
    with pytest.raises(ValueError, match="expected 2 joints and more in every skeleton, got 1"):
        prior.samples(xyz_m, 2)


def test_other_weights_are_refused(tmp_path):
    save_tensors(tmp_path / "x.safetensors", {"a": torch.zeros(1)}, {"kind": "continuous"})
    with pytest.raises(WeightsError, match="expected a pose prior of kind coupling, found continuous"):
        load_skeleton_prior(tmp_path / "x.safetensors")


def test_the_shipped_prior_is_small_and_finds_a_knee_that_bends_backwards() -> None:
    pytest.importorskip("anny")
    assert weights_path("prior").stat().st_size < 4e6
    shipped, body = load_skeleton_prior(), load_body()
    poses = np.stack([walk(phase) for phase in np.linspace(0, 2 * np.pi, 50)])
    xyz_m = make_puppet(body, body.shape()).joints(poses) + 0.005 * np.random.default_rng(0).normal(size=(50, JOINTS, 3))
    assert np.nanmedian(shipped.score(xyz_m).surprise) < 2 * MEDIAN
    broken = xyz_m.copy()
    broken[:, 15] += [0.0, -0.35, 0.1]  # the left shin to the front
    assert largest(shipped.score(broken).surprise).min() > largest(shipped.score(xyz_m).surprise).max()
    assert np.isin(shipped.blamed(broken), [13, 15]).mean() > 0.9
