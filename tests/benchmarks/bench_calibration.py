"""Rig calibration against the Cramer-Rao bound of the same problem, and against peers in the same run.

Run: ``python -m tests.benchmarks.bench_calibration [accuracy] [peers] [order] [coverage] [growth] [rolling]``; no name: all.
``accuracy=20`` (likewise order, coverage, rolling) takes that many seeds: five decide a ratio to 15 %.
Peers need an environment of their own: POSEMILL_PEERS names a Python that has aniposelib and pyceres.
The problem (an arc of four full-HD cameras, a ChArUco board carried through 100 instants, 0.3 px noise, gross outliers) is
`problems.py` of the shared bench. Lenses are unknown unless said otherwise, and are solved from the same views.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from calibration.board import Board
from calibration.bundle import refine
from calibration.extrinsics import CalibrationReport, as_made, calibrate_rig
from calibration.planar import place_boards
from calibration.quality import compare_rigs
from calibration.rig import Rig
from calibration.rolling_shutter import Readout, solve_readouts
from calibration.synthetic import moving_board, project_board, ring_rig
from tests.benchmarks.geometry import problems, rig_of
from tests.calibration import rolling as waved_board

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


def peers(module: ModuleType) -> None:
    """One problem for everybody. pyceres is given the inliers and a start near the truth: it only adjusts."""
    python = os.environ.get("POSEMILL_PEERS")
    if not python:
        print("\npeers: POSEMILL_PEERS names no Python with aniposelib and pyceres; nothing compared")
        return
    problem = module.charuco_problem(noise=NOISE_PX, outlier=0.02, seed=0)
    print("\npeers, 2 % gross outliers, seed 0: one thread each, mean rotation and centre errors")
    rig, report = solve(problem)
    told("posemill", errors(module, rig, problem), report.cpu_s, f"of which the adjustment {report.bundle.cpu_s:.2f}")
    for tool in ("pyceres", "aniposelib"):
        cameras, cpu_s = peer(python, tool, problem)
        found = [{"rvec": c[:3], "t": c[3:6], "K": matrix(c[6:10]), "dist": np.array([*c[10:], 0, 0, 0])} for c in cameras]
        figures = module.eval_rig(found, problem["cams"], problem["p"], problem["Xw"], problem["outlier"])
        ratio = f"{cpu_s / report.cpu_s:.1f} times ours; {cpu_s / report.bundle.cpu_s:.1f} times our adjustment"
        told(tool, figures, cpu_s, ratio)


def told(tool: str, figures: dict[str, float], cpu_s: float, remark: str) -> None:
    print(
        f"{tool:12}{figures['rot_deg_mean']:8.3f} deg{figures['centre_mm_mean']:9.2f} mm{cpu_s:9.2f} CPU s  {remark}",
        flush=True,
    )


def matrix(lens: Array) -> Array:
    return np.array([[lens[0], 0, lens[2]], [0, lens[1], lens[3]], [0, 0, 1.0]])


def peer(python: str, tool: str, problem: dict[str, Any]) -> tuple[Array, float]:
    rng = np.random.default_rng(0)
    inliers = np.where(problem["outlier"][..., None], np.nan, problem["p"]) if tool == "pyceres" else problem["p"]
    truth = rig_of(problem["cams"])
    boards = place_boards(truth, inliers, BOARD)
    poses = [np.full(6, np.nan) if b is None else np.concatenate([b.rvec, 1e3 * b.t]) for b in boards]
    cams = np.stack([np.concatenate([c["rvec"], c["t"]]) for c in problem["cams"]])
    cams[1:] += rng.normal(0, [0.01] * 3 + [20.0] * 3, (len(cams) - 1, 6))
    lenses = np.stack([[0.99 * c.K[0, 0], 0.99 * c.K[1, 1], 959.5, 539.5, 0, 0] for c in truth.cameras])
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "problem.npz", Path(folder) / "out.npz"
        np.savez(source, p=inliers, obj=problem["obj"], sizes=sizes(problem), cams=cams, boards=np.stack(poses), lenses=lenses)
        script = Path(__file__).with_name("peer_calibration.py")
        subprocess.run([python, "-W", "ignore", script, tool, source, out], check=True)
        with np.load(out) as file:
            return file["cameras"], float(file["cpu_s"])


def order(module: ModuleType, seeds: int = 20) -> None:
    """The same corners with cameras and instants in another order give the same rig."""
    worst = 0.0
    for seed in range(seeds):
        problem = module.charuco_problem(noise=NOISE_PX, outlier=0.02, n_frames=40, seed=seed)
        rng, given = np.random.default_rng(seed), rig_of(problem["cams"]).cameras
        cameras, frames = rng.permutation(4), rng.permutation(40)
        names = [c.name for c in given]
        first, _ = calibrate_rig(problem["p"], BOARD, sizes(problem), names, given)
        again, _ = calibrate_rig(
            problem["p"][cameras][:, frames], BOARD, sizes(problem), [names[c] for c in cameras], [given[c] for c in cameras]
        )
        worst = max(
            worst, *(float(np.abs(first[n].cam_from_world.matrix - again[n].cam_from_world.matrix).max()) for n in names)
        )
    print(f"\n{seeds} seeds, cameras and instants permuted: largest difference of any pose {worst:.1e} (rad and m)", flush=True)


def coverage(module: ModuleType, seeds: int = 60) -> None:
    """How often the 95 % ellipsoids of camera poses (6 numbers, against the first camera) hold the truth."""
    for known, count in ((True, seeds), (False, seeds)):
        held = []
        for seed in range(count):
            problem = module.charuco_problem(noise=NOISE_PX, outlier=0.02, n_frames=40, seed=100 + seed)
            rig, report = solve(problem, known)
            held += [inside(rig, problem, report, camera) for camera in range(1, 4)]
        error = np.sqrt(0.95 * 0.05 / len(held))
        label = "lenses known" if known else "lenses solved"
        print(
            f"95 % ellipsoids, {label}: hold {np.mean(held):.1%} of {len(held)} poses (sampling error {error:.1%})", flush=True
        )


def inside(rig: Rig, problem: dict[str, Any], report: CalibrationReport, camera: int) -> bool:
    """Mahalanobis distance of a pose's left perturbation against chi-square of 6 degrees."""
    truth = rig_of(problem["cams"]).cameras
    first = rig.cameras[0].cam_from_world
    found = rig.cameras[camera].cam_from_world @ first.inverse()
    wanted = truth[camera].cam_from_world @ truth[0].cam_from_world.inverse()
    error = found @ wanted.inverse()
    delta = np.concatenate([error.rvec, error.t])
    block = report.bundle.pose_covariance[6 * camera : 6 * camera + 6, 6 * camera : 6 * camera + 6]
    return bool(delta @ np.linalg.solve(block, delta) < chi2.ppf(0.95, 6))


def growth(_: ModuleType) -> None:
    """Cost per view as cameras and instants double; the board is turned to two neighbours at a time."""
    print("\ngrowth, lenses known: views, CPU s of everything, of the adjustment, and of the adjustment per 1,000 views")
    for cameras, frames in ((4, 100), (8, 200), (16, 400)):
        rig = ring_rig(cameras, arc_deg=360.0)
        pairs = [(rig.names[k], rig.names[(k + 1) % cameras]) for k in range(cameras)]
        seen = project_board(rig, BOARD, moving_board(rig, BOARD, frames, facing=pairs), NOISE_PX, 0.02)
        views = int(np.isfinite(seen.observations[..., 0]).any(2).sum())
        start = time.process_time()
        solved, report = calibrate_rig(seen.observations, BOARD, [(1920, 1080)] * cameras, rig.names, rig.cameras)
        total, adjust = time.process_time() - start, report.bundle.cpu_s
        worst = max(error.centre_mm for error in compare_rigs(solved, rig))
        print(f"{cameras:3} cameras x {frames} instants {views:6} views {total:8.2f} {adjust:8.2f} {1e3 * adjust / views:8.2f}"
              f"   worst centre {worst:.2f} mm", flush=True)  # fmt: skip


def rolling(_: ModuleType, seeds: int = 10) -> None:
    """Readouts found from a waved board, and what they are worth to a rig of three cameras whose lenses are known."""
    none, truth = waved_board.NO_READOUTS, waved_board.READOUTS_S
    off, rigs_mm = [], []
    for seed in range(seeds):
        seen = waved_board.waved(0.2, seed=seed)
        found = solve_readouts(waved_board.solved(seen, none), waved_board.BOARD, seen, [Readout(0.0)] * 3, [0, 1, 2])
        off += [(1e3 * (r.seconds - true_s), 1e3 * r.sigma_s) for r, true_s in zip(found, truth, strict=True)]
        choices = (none, tuple(r.seconds for r in found), truth)
        rigs_mm.append([waved_board.worst_mm(waved_board.solved(seen, readouts)) for readouts in choices])
    error_ms, sigma_ms = np.array(off).T
    seen_px, moved_px = (np.nanmax(waved_board.bent_px(waved_board.waved(0.0), readouts)) for readouts in (none, truth))
    print(f"\nrolling shutters, readouts 30, 12 and -20 ms, 0.2 px, 50 instants, {seeds} seeds")
    print(f"corners up to {seen_px:.1f} px off as seen, {moved_px:.2f} px when moved to the middle of their frame (no noise)")
    rms_ms, ratio = np.sqrt(np.mean(error_ms**2)), np.sqrt(np.mean((error_ms / sigma_ms) ** 2))
    print(f"readouts found: RMS error {rms_ms:.2f} ms, sigma {sigma_ms.mean():.2f} ms, RMS of error over sigma {ratio:.2f}")
    wrong_mm, found_mm, right_mm = np.mean(rigs_mm, axis=0)
    print(
        f"worst centre {wrong_mm:.1f} mm without readouts, {found_mm:.2f} mm with those found, {right_mm:.2f} mm with the true"
    )


PARTS: dict[str, Callable[..., None]] = {
    "accuracy": accuracy,
    "peers": peers,
    "order": order,
    "coverage": coverage,
    "growth": growth,
    "rolling": rolling,
}


def main() -> None:
    module = problems()
    for text in sys.argv[1:] or PARTS:
        name, _, seeds = text.partition("=")
        PARTS[name](module, *([int(seeds)] if seeds else []))


if __name__ == "__main__":
    main()
