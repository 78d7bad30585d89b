"""The pose prior: exactness, wrong skeletons found, the joint to blame, missing joints, speed; each figure beside its bar.

python -m tests.benchmarks.bench_prior density
python -m tests.benchmarks.bench_prior wrong [--noise-m 0.008]      motion and people never trained on; needs pybullet and anny
python -m tests.benchmarks.bench_prior missing
python -m tests.benchmarks.bench_prior speed
python -m tests.benchmarks.bench_prior sessions FILE.parquet ...   SKELETONS3D files of real recordings
python -m tests.benchmarks.bench_prior virtual                     sessions with a detector's faults, of motion kept out
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import chi2, multivariate_normal, rankdata

from models.body import load_body
from models.canonical_pose import HIPS, LIMBS, canonical
from models.coupling_flow import CouplingFlow
from models.flow_matching_prior import ContinuousConfig, ContinuousPrior
from models.plausible import largest
from models.prior import JOINTS, all_others
from models.prior_motion import HELD_OUT, clip_kinds, clip_skeletons, make_crowd
from models.prior_score import BLOCK, Posterior, SkeletonPrior, load_skeleton_prior
from models.prior_track import posterior_in_time
from models.puppet import Puppet, random_puppet
from tests.benchmarks.corrupted_skeletons import CORRUPTIONS
from tests.benchmarks.gaps import make_gaps
from tests.benchmarks.session_alarms import measure_session, measure_virtual

Array = NDArray[np.float64]

PEOPLE, SEED = 8, 1000  # people whom no training drew: their seed is not that of any crowd


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("density", "wrong", "missing", "speed", "sessions", "virtual"))
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--weights", default="prior")
    parser.add_argument("--noise-m", type=float, default=0.008)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.what == "density":
        measure_density()
        return
    prior = load_skeleton_prior(asked.weights)
    if asked.what == "sessions":
        for file in asked.files:
            measure_session(prior, file)
    elif asked.what == "virtual":
        measure_virtual(prior, people())
    else:
        {"wrong": measure_wrong, "missing": measure_missing, "speed": measure_speed}[asked.what](prior, asked.noise_m)


def measure_density() -> None:
    """A coupling flow that is a normal density by construction, and a field that is the exact one of a normal density."""
    torch.manual_seed(0)
    flow = CouplingFlow(1, torch.tensor([[0, 1, 1]]), 1, 4).double()
    slope = torch.tensor([0.8, -1.3], dtype=torch.float64)
    with torch.no_grad():
        flow.kept[0, 0, 0] = torch.tensor([1.0, -1.0, 0.0, 0.0], dtype=torch.float64)
        flow.out[0, 0, :2, 4:] = torch.stack([-slope, slope])
    y = 2 * torch.randn(1, 10_000, 3, dtype=torch.float64)
    with torch.no_grad():
        z, gained = flow(y, torch.zeros(1, 10_000, 1).double())
    nats = (gained - 0.5 * z.square().sum(-1) - 1.5 * np.log(2 * np.pi))[0].numpy()
    inverse = np.eye(3)
    inverse[1:, 0] = -slope.numpy()
    wanted = multivariate_normal(cov=np.linalg.inv(inverse) @ np.linalg.inv(inverse).T).logpdf(y[0].numpy())
    print(f"coupling flow, normal density: largest error {np.abs(nats - wanted).max():.1e} nats (bar 1e-5)")
    print(f"continuous flow, normal density of 45 dimensions: {_continuous_error():.4f} nats per dimension (bar 0.02)")


class _NormalField(ContinuousPrior):
    """The field of people who are normally distributed by `root` (3J, 3J), independent of what is seen."""

    root: torch.Tensor

    def velocity(self, state: torch.Tensor, t: torch.Tensor, seen: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
        asked = (~visible[0]).repeat_interleave(3)
        cov = (self.root @ self.root.T)[asked][:, asked]
        share = t[:1]
        spread = (1 - share) ** 2 * cov + share**2 * torch.eye(len(cov)).to(cov)
        field = torch.zeros_like(state).flatten(1)
        gain = (share * torch.eye(len(cov)).to(cov) - (1 - share) * cov) @ torch.linalg.inv(spread)
        field[:, asked] = state.flatten(1)[:, asked] @ gain.T
        return field.reshape(state.shape)


def _continuous_error() -> float:
    prior = _NormalField(ContinuousConfig(hidden=4, layers=1)).double()
    prior.limb_m.fill_(0.3)
    prior.root = torch.eye(3 * JOINTS).double() * 0.8 + 0.1 * torch.randn(3 * JOINTS, 3 * JOINTS).double()
    visible = torch.zeros(20, JOINTS, dtype=torch.bool)
    visible[:, [11, 12]] = True
    asked = (~visible[0]).repeat_interleave(3)
    cov = (prior.root @ prior.root.T)[asked][:, asked]
    xyz_m = 0.5 * torch.randn(20, JOINTS, 3).double()
    data, _, _, scale = prior.framed(xyz_m, visible)
    wanted = multivariate_normal(cov=cov.numpy()).logpdf(data.flatten(1)[:, asked].numpy()) - 45 * scale.log().numpy()
    found = prior.log_likelihood(xyz_m, visible).nats.numpy()
    return float(np.abs(found - wanted).max() / asked.sum())


def people() -> list[Puppet]:
    """The same people in every figure."""
    body, rng = load_body(), np.random.default_rng(SEED)
    return [random_puppet(body, rng) for _ in range(PEOPLE)]


def held_out_skeletons(noise_m: float, rng: np.random.Generator, count: int = 1500) -> Array:
    """Skeletons (N, J, 3) of the kinds of motion kept out, with noise."""
    if not clip_kinds(held_out=True):
        raise SystemExit("needs the clips of pybullet: pip install pybullet")
    found = [clip_skeletons(puppet, kind)[1] for puppet in people() for kind in HELD_OUT]
    xyz_m = np.concatenate(found)
    chosen = xyz_m[rng.choice(len(xyz_m), count, replace=False)]
    return chosen + noise_m * rng.normal(size=chosen.shape)


def measure_wrong(prior: SkeletonPrior, noise_m: float) -> None:
    """AUROC of the largest surprise by corruption, beside a Gaussian and PCA of canonical joints; then blame."""
    rng = np.random.default_rng(5)
    clean = held_out_skeletons(noise_m, rng)
    scores = {"prior": lambda xyz_m: largest(prior.score(xyz_m).surprise), **baselines()}
    changed = {name: change(clean, rng) for name, change in CORRUPTIONS.items()}
    print(f"{len(clean)} skeletons of {', '.join(HELD_OUT)}, {PEOPLE} people, noise {1e3 * noise_m:g} mm")
    for label, score in scores.items():
        usual, wrong = score(clean), {name: score(xyz_m)[t.any(1)] for name, (xyz_m, t) in changed.items()}
        each = "  ".join(f"{name} {auroc(usual, values):.4f}" for name, values in wrong.items())
        overall = auroc(usual, np.concatenate(list(wrong.values())))
        print(f"AUROC {label:22s} {each}  overall {overall:.4f}" + (" (bar .97)" if label == "prior" else ""))
    hits = []
    for name, (xyz_m, touched) in changed.items():
        if name != "mirrored":  # where every joint is wrong none is to blame
            some = np.flatnonzero(touched.any(1))[:400]
            hits.append(touched[some, prior.blamed(xyz_m[some])])
            print(f"blamed joint is a corrupted one, {name}: {hits[-1].mean():.3f}")
    print(f"blamed joint is a corrupted one, overall: {np.concatenate(hits).mean():.3f} (bar .85)")


def baselines() -> dict[str, Callable[[Array], Array]]:
    """A Gaussian and PCA (of the number of components that does best here) of canonical joints of the same kind of crowd."""
    limb_m = torch.ones(len(LIMBS)).double() * 0.3
    crowd = make_crowd(60, 4000, seed=77).skeletons(np.random.default_rng(0), 20_000)

    def flat(xyz_m: Array) -> Array:
        return canonical(torch.from_numpy(xyz_m), limb_m).joints.flatten(1).numpy()

    known = flat(crowd)
    mean, cov = known.mean(0), np.cov(known.T) + 1e-6 * np.eye(known.shape[1])
    inverse, (_, axes) = np.linalg.inv(cov), np.linalg.eigh(cov)

    def gaussian(xyz_m: Array) -> Array:
        away = flat(xyz_m) - mean
        return np.einsum("na,ab,nb->n", away, inverse, away)

    def pca(kept: int) -> Callable[[Array], Array]:
        return lambda xyz_m: np.linalg.norm((flat(xyz_m) - mean) @ axes[:, :-kept], axis=1)

    return {"Gaussian": gaussian, **{f"PCA of {kept}": pca(kept) for kept in (10, 20, 30, 40)}}


def auroc(usual: Array, wrong: Array) -> float:
    """How often a wrong one scores above a usual one."""
    rank = rankdata(np.concatenate([usual, wrong]))[len(usual) :]
    return float((rank.sum() - len(wrong) * (len(wrong) + 1) / 2) / len(usual) / len(wrong))


def measure_missing(prior: SkeletonPrior, noise_m: float) -> None:
    """One to five of 17 joints missing for a while: the prior at the instant, also with the track, and lines."""
    puppets = people()
    for gap_s in (0.2, 0.5, 1.0, 1.5):
        gaps = make_gaps(puppets, gap_s, noise_m)
        ask = [functools.partial(posterior_in_time, prior, gap.t_s, gap.xyz_m, noise_m, np.array([gap.row])) for gap in gaps]
        alone, fused = prior.posterior(np.stack([gap.xyz_m[gap.row] for gap in gaps]), draws=200), _joined([f() for f in ask])
        true_m, line_m = (np.stack([getattr(gap, name) for gap in gaps]) for name in ("true_m", "guess_m"))
        missing = np.stack([gap.missing for gap in gaps])
        line_mm, *ours_mm = (
            1e3 * np.linalg.norm(m - true_m, axis=-1)[missing].mean() for m in (line_m, alone.mean_m, fused.mean_m)
        )
        for name, posterior, mm in zip(("prior alone", "in time"), (alone, fused), ours_mm, strict=True):
            bars = (" (bar +30 %)", " (bar 93 to 97 %)") if posterior is fused else ("", "")
            print(f"missing for {gap_s:g} s: {name:11s} {mm:.0f} mm, interpolation {line_mm:.0f} mm, "
                  f"{100 * (1 - mm / line_mm):+.0f} %{bars[0]}; 95 % ellipsoids cover "
                  f"{100 * _covered(posterior, true_m, missing):.1f} % of {missing.sum()}{bars[1]}")  # fmt: skip


def _joined(posteriors: Sequence[Posterior]) -> Posterior:
    return Posterior(*(np.concatenate([getattr(p, name) for p in posteriors]) for name in ("mean_m", "covariance_m2")))


def _covered(posterior: Posterior, true_m: Array, missing: NDArray[np.bool_]) -> float:
    """Share of the missing joints within their 95 % ellipsoids."""
    away_m, cov_m2 = (true_m - posterior.mean_m)[missing], posterior.covariance_m2[missing]
    return float((np.einsum("na,nab,nb->n", away_m, np.linalg.inv(cov_m2), away_m) < chi2.ppf(0.95, 3)).mean())


def measure_speed(prior: SkeletonPrior, _: float) -> None:
    """Log-likelihoods of whole skeletons, by CPU time of one thread; the best of some rounds."""
    xyz_m = torch.randn(BLOCK, JOINTS, 3) * 0.4
    visible = all_others(torch.ones(1, JOINTS, dtype=torch.bool))
    taken = []
    with torch.inference_mode():
        for _round in range(60):
            begin = time.process_time()
            prior.net.steps(xyz_m, visible)
            taken.append(time.process_time() - begin)
    best, middle = len(xyz_m) / min(taken), len(xyz_m) / float(np.median(taken))
    print(f"scoring: {best:,.0f} skeletons per second and core, {middle:,.0f} in the median round (bar 50,000)")
    print(f"continuous flow, before any training, which bends the paths: {_continuous_speed():,.0f} per second and core")


def _continuous_speed(count: int = 64) -> float:
    """Likelihoods of whole skeletons a second, hips given, to a part in a thousand."""
    flow = ContinuousPrior(ContinuousConfig())
    visible = torch.zeros(count, JOINTS, dtype=torch.bool)
    visible[:, HIPS] = True
    begin = time.process_time()
    flow.log_likelihood(0.4 * torch.randn(count, JOINTS, 3), visible, rtol=1e-3)
    return count / (time.process_time() - begin)


if __name__ == "__main__":
    main()
