"""The constants of models.prior_track, from gaps in the clips that the prior learned from (needs pybullet and anny).

python -m tests.benchmarks.fit_prior_track

For every time within which velocities are forgotten: log-likelihood of the true places, and for each joint the speed at which
95 % ellipsoids cover 95 % of them. Movements that are unlike those cover less: so each clip is left out once, speeds are found
on the others, and what they must be multiplied by to cover 95 % of it is told. People and noise are others than in any figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import chi2

from models.body import load_body
from models.prior_motion import clip_kinds
from models.prior_track import Motion, told_by_track
from models.puppet import random_puppet
from models.skeleton import COCO17
from tests.benchmarks.gaps import Gap, make_gaps

GAPS_S = (0.2, 0.5, 1.0, 1.5)
FORGOTTEN_S = (0.05, 0.07, 0.1, 0.15)
SPEEDS_M_S = np.array([0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.25, 1.6, 2.0])
FACTORS = (1.05, 1.1, 1.2)
LARGEST = float(chi2.ppf(0.95, 3))
PARTS = [name.split("_")[-1] for name in COCO17.joints]
NOISE_M, SEED, PEOPLE, EACH = 0.008, 4242, 2, 18


def main() -> None:
    body, rng = load_body(), np.random.default_rng(SEED)
    puppets = [random_puppet(body, rng) for _ in range(PEOPLE)]
    kinds = clip_kinds(held_out=False)
    gaps = {kind: [gap for s in GAPS_S for gap in make_gaps(puppets, s, NOISE_M, [kind], EACH)] for kind in kinds}
    for forgotten_s in FORGOTTEN_S:
        found = [away(gaps, Motion(np.full(len(PARTS), speed), forgotten_s)) for speed in SPEEDS_M_S]
        nats = 0.0
        for part in dict.fromkeys(PARTS):
            some = [one[one.part == part] for one in found]
            nats += max(float((-0.5 * one.d2 / one.variance - 1.5 * np.log(2 * np.pi * one.variance)).sum()) for one in some)
        speeds = {part: round(speed, 2) for part, speed in speeds_of(found, kinds).items()}
        print(f"forgotten within {forgotten_s:g} s: {nats / len(found[0]):.3f} nats per joint; m/s {speeds}")
        factors = [1.0, *FACTORS]
        covered = [left_out(gaps, found, kinds, forgotten_s, factor) for factor in factors]
        wider = float(np.interp(0.95, np.maximum.accumulate(covered), factors))
        print(f"  clips left out one by one: {100 * covered[0]:.1f} % covered, 95 % with speeds {wider:.2f} times as high")


def speeds_of(found: Sequence[np.recarray], kinds: Sequence[str]) -> dict[str, float]:
    """The speed of each part at which 95 % ellipsoids cover 95 % of its joints in clips of these kinds."""
    speeds = {}
    for part in dict.fromkeys(PARTS):
        some = [one[(one.part == part) & np.isin(one.kind, kinds)] for one in found]
        covered = np.maximum.accumulate([np.mean(one.d2 / one.variance < LARGEST) for one in some])
        speeds[part] = float(np.interp(0.95, covered, SPEEDS_M_S))
    return speeds


def left_out(
    gaps: Mapping[str, list[Gap]], found: Sequence[np.recarray], kinds: Sequence[str], forgotten_s: float, factor: float
) -> float:
    """Share of the missing joints of all clips that ellipsoids cover whose speeds are the factor times those of the others."""
    covered: list[bool] = []
    for kind in kinds:
        speeds = speeds_of(found, [other for other in kinds if other != kind])
        one = away({kind: gaps[kind]}, Motion(factor * np.array([speeds[part] for part in PARTS]), forgotten_s))
        covered += (one.d2 / one.variance < LARGEST).tolist()
    return float(np.mean(covered))


def away(gaps: Mapping[str, list[Gap]], motion: Motion) -> np.recarray:
    """Squared distances of missing joints from where their track has them, in m2, their variances, which part each is, and the
    kind of clip."""
    rows = []
    for kind, some in gaps.items():
        for gap in some:
            for joint in np.flatnonzero(gap.missing):
                if told := told_by_track(gap.t_s, gap.xyz_m, gap.row, int(joint), NOISE_M, motion):
                    rows.append((float(np.square(gap.true_m[joint] - told[0]).sum()), told[1], PARTS[joint], kind))
    return np.rec.fromrecords(rows, names="d2,variance,part,kind")


if __name__ == "__main__":
    main()
