"""The constants of models.prior_track, from gaps in the clips that the prior learned from (needs pybullet and anny).

python -m tests.benchmarks.fit_prior_track

For every time within which velocities are forgotten: log-likelihood of the true places, and for each joint the speed at which
95 % ellipsoids cover 95 % of them. People and noise are others than in any figure.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from models.body import load_body
from models.prior_motion import clip_kinds
from models.prior_track import Motion, told_by_track
from models.puppet import random_puppet
from models.skeleton import COCO17
from tests.benchmarks.gaps import Gap, make_gaps

Array = NDArray[np.float64]

GAPS_S = (0.2, 0.5, 1.0, 1.5)
FORGOTTEN_S = (0.05, 0.07, 0.1, 0.15)
SPEEDS_M_S = np.array([0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.25, 1.6, 2.0])
PARTS = [name.split("_")[-1] for name in COCO17.joints]
NOISE_M, SEED, PEOPLE, EACH = 0.008, 4242, 2, 6


def main() -> None:
    body, rng = load_body(), np.random.default_rng(SEED)
    puppets = [random_puppet(body, rng) for _ in range(PEOPLE)]
    gaps = [gap for seconds in GAPS_S for gap in make_gaps(puppets, seconds, NOISE_M, clip_kinds(held_out=False), EACH)]
    for forgotten_s in FORGOTTEN_S:
        found = [away(gaps, Motion(np.full(len(PARTS), speed), forgotten_s)) for speed in SPEEDS_M_S]
        nats, speeds = 0.0, {}
        for part in dict.fromkeys(PARTS):
            some = [(d2[of == part], v[of == part]) for d2, v, of in found]
            covered = [float(np.mean(d2 / v < chi2.ppf(0.95, 3))) for d2, v in some]
            speeds[part] = round(float(np.interp(0.95, covered, SPEEDS_M_S)), 2)
            nats += max(float((-0.5 * d2 / v - 1.5 * np.log(2 * np.pi * v)).sum()) for d2, v in some)
        print(f"forgotten within {forgotten_s:g} s: {nats / len(found[0][0]):.3f} nats per joint; m/s {speeds}")


def away(gaps: list[Gap], motion: Motion) -> tuple[Array, Array, NDArray[np.str_]]:
    """Squared distances of missing joints from where their track has them, in m2, their variances, and which part each is."""
    rows = []
    for gap in gaps:
        for joint in np.flatnonzero(gap.missing):
            if told := told_by_track(gap.t_s, gap.xyz_m, gap.row, int(joint), NOISE_M, motion):
                rows.append((float(np.square(gap.true_m[joint] - told[0]).sum()), told[1], PARTS[joint]))
    d2, variance, part = (np.array(column) for column in zip(*rows, strict=True))
    return d2, variance, part


if __name__ == "__main__":
    main()
