"""Rig calibration against the Cramer-Rao bound of the same problem, and against peers in the same run.

Run: ``python -m tests.benchmarks.bench_calibration [accuracy] [peers] [order] [coverage] [growth]``, nothing named: all of it.
The problem (an arc of four full-HD cameras, a ChArUco board carried through 100 instants, 0.3 px noise, gross outliers) is
`problems.py` of the shared bench. Lenses are unknown unless said otherwise, and are solved from the same views.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.board import Board
from calibration.bundle import refine
from calibration.extrinsics import CalibrationReport, as_made, calibrate_rig
from calibration.rig import Rig
from tests.benchmarks.geometry import problems, rig_of

Array = NDArray[np.float64]
BOARD = Board("charuco", 9, 6, 0.06, 0.045, "DICT_4X4_50")
NOISE_PX = 0.3
CASES: dict[str, dict[str, Any]] = {
    "no outliers": {"outlier": 0.0},
    "2 % gross outliers": {"outlier": 0.02},
    "20 % gross outliers": {"outlier": 0.2},
    "40 % gross outliers": {"outlier": 0.4},
    "chain of adjacent pairs, 2 %": {"outlier": 0.02, "share": "chain"},
}


def sizes(problem: dict[str, Any]) -> list[tuple[int, int]]:
    return [camera["size"] for camera in problem["cams"]]


def estimates_mm(rig: Rig) -> list[dict[str, Any]]:
    """A rig as `problems.eval_rig` wants it."""
    return [{"rvec": c.cam_from_world.rvec, "t": 1000.0 * c.cam_from_world.t, "K": c.K, "dist": c.dist} for c in rig.cameras]


def errors(module: ModuleType, rig: Rig, problem: dict[str, Any]) -> dict[str, float]:
    return module.eval_rig(estimates_mm(rig), problem["cams"], problem["p"], problem["Xw"], problem["outlier"])


def bound(problem: dict[str, Any], known: bool, draws: int = 4000) -> tuple[float, float]:
    """Expected mean rotation (deg) and centre (mm) error at the Cramer-Rao bound, over the cameras but the first.

    The inverse Fisher information at the truth of the corners that are no outliers, with the same lens prior; the mean length
    of an error is taken over draws from it.
    """
    truth = rig_of(problem["cams"])
    inliers = np.where(problem["outlier"][..., None], np.nan, problem["p"])
    prior = None if known else as_made(truth.cameras)
    _, report = refine(truth, inliers, BOARD, lens_prior=prior, trim_sigma=np.inf)
    unit = report.pose_covariance[6:, 6:] / report.sigma_px**2 * NOISE_PX**2
    draw = np.random.default_rng(0).multivariate_normal(np.zeros(len(unit)), unit, draws).reshape(draws, -1, 2, 3)
    length = np.linalg.norm(draw, axis=-1).mean((0, 1))
    return float(np.degrees(length[0])), float(1000.0 * length[1])


def solve(problem: dict[str, Any], known: bool = False) -> tuple[Rig, CalibrationReport]:
    given = rig_of(problem["cams"]).cameras if known else None
    return calibrate_rig(problem["p"], BOARD, sizes(problem), intrinsics=given)


def accuracy(module: ModuleType, seeds: int = 5) -> None:
    print(f"\n{seeds} seeds, 4 cameras, 100 instants, {NOISE_PX} px. Errors are means over cameras relative to the first;")
    print("bound: what the Cramer-Rao bound of the same corners and prior makes the mean error")
    columns = ("deg", "bound", "ratio", "mm", "bound", "ratio", "worst", "CPU s", "adjust")
    print(f"{'case':32}" + "".join(f"{column:>8}" for column in columns))
    for known in (False, True):
        for name, options in CASES.items():
            rows = []
            for seed in range(seeds):
                problem = module.charuco_problem(noise=NOISE_PX, seed=seed, **options)
                rig, report = solve(problem, known)
                found = errors(module, rig, problem)
                rows.append(
                    (
                        found["rot_deg_mean"],
                        found["centre_mm_mean"],
                        *bound(problem, known),
                        found["centre_mm_max"],
                        report.cpu_s,
                        report.bundle.cpu_s,
                    )
                )
            deg, mm, deg0, mm0, worst, cpu, adjust = np.array(rows).mean(0)
            numbers = (deg, deg0, deg / deg0, mm, mm0, mm / mm0, worst, cpu, adjust)
            label = f"{name}{', lenses known' * known}"
            print(f"{label[:32]:32}" + "".join(f"{number:8.3f}" for number in numbers), flush=True)


PARTS = {"accuracy": accuracy}


def main() -> None:
    module = problems()
    for name in sys.argv[1:] or PARTS:
        PARTS[name](module)


if __name__ == "__main__":
    main()
