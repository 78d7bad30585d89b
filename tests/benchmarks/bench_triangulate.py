"""Triangulation against the clock and against the peers, each figure beside its bar.

Run: ``OMP_NUM_THREADS=1 POSEMILL_PEERS=PYTHON python -m tests.benchmarks.bench_triangulate``; POSEMILL_PEERS names a Python
that has aniposelib. The problem (a ring of full-HD cameras, 100,000 points in a body's volume, 1 px noise) is `problems.py` of
the folder in POSEMILL_BENCH, by default ../shared/bench. Seconds are CPU seconds of one thread, the fewest of some runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from calibration.refine_points import refine_points
from calibration.rig import Rig
from calibration.triangulate import Points3D, triangulate, triangulate_robust
from calibration.uncertainty import point_covariance, sees
from tests.benchmarks.geometry import problems, rig_of
from tests.benchmarks.timing import best_of
from tests.calibration.rigs import drawn, uncertain

POINTS = 100_000
# aniposelib tries every subset of the views of every point in Python: 2 ms a subset, an hour for all points.
RANSAC_POINTS = 200
RIGS = 400
CHI2_95 = 7.815  # 95 % of a chi-square variable of three degrees of freedom


def svd_per_point(rig: Rig, xy_px: np.ndarray) -> np.ndarray:
    """The textbook loop: a 2C x 4 matrix per point, its smallest singular vector."""
    ideal = np.stack([camera.undistort(xy) for camera, xy in zip(rig.cameras, xy_px, strict=True)])
    P = np.stack([camera.cam_from_world.matrix[:3] for camera in rig.cameras])
    f = [(camera.K[0, 0], camera.K[1, 1]) for camera in rig.cameras]
    out = np.empty((xy_px.shape[1], 3))
    for n in range(xy_px.shape[1]):
        rows = []
        for p, (fx, fy), (x, y) in zip(P, f, ideal[:, n], strict=True):
            rows += [fx * (p[0] - x * p[2]), fy * (p[1] - y * p[2])]
        v = np.linalg.svd(np.array(rows))[2][-1]
        out[n] = v[:3] / v[3]
    return out


def line(what: str, seconds: float, xyz_m: np.ndarray, truth_mm: np.ndarray, bar: str = "") -> None:
    error_mm = np.linalg.norm(xyz_m * 1000.0 - truth_mm, axis=1)
    lost = int(np.isnan(error_mm).sum())
    median, p99 = np.nanmedian(error_mm), np.nanpercentile(error_mm, 99)
    print(f"{what:52} {seconds:8.2f} s   median {median:6.3f} mm   99 % {p99:7.3f} mm   lost {lost}   {bar}".rstrip())


def peer(method: str, cameras: list[dict[str, Any]], xy_px: np.ndarray) -> tuple[float, np.ndarray] | None:
    """CPU seconds and points (N, 3) m of aniposelib's method; None where POSEMILL_PEERS names no Python."""
    python = os.environ.get("POSEMILL_PEERS")
    if not python:
        print("POSEMILL_PEERS names no Python with aniposelib: nothing compared")
        return None
    fields = {name: np.stack([c[name] for c in cameras]) for name in ("K", "dist", "rvec", "t")}
    threads = {"OMP_NUM_THREADS": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"}
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder) / "problem.npz", Path(folder) / "out.npz"
        np.savez(given, xy_px=xy_px, sizes=[c["size"] for c in cameras], **fields)
        script = Path(__file__).with_name("peer_triangulate.py")
        subprocess.run([python, script, method, given, out], check=True, env={**os.environ, **threads}, stdout=sys.stderr)
        with np.load(out) as file:
            return float(file["cpu_s"]), file["xyz_mm"] / 1000.0


def linear(module: ModuleType) -> None:
    cameras, truth_mm, xy_px = module.points_problem(POINTS)
    rig, few = rig_of(cameras), POINTS // 20
    seconds, points = best_of(lambda: triangulate(rig, xy_px), 5)
    line("triangulate", seconds, points.xyz_m, truth_mm, "bar 0.15 s")
    svd_seconds, xyz_m = best_of(lambda: svd_per_point(rig, xy_px[:, :few]), 1)
    line(f"SVD per point (timed on {few:,}, no error_px)", svd_seconds * 20, xyz_m, truth_mm[:few])
    print(
        f"  ratio {svd_seconds * 20 / seconds:.0f}; largest difference {np.abs(xyz_m - points.xyz_m[:few]).max() * 1e3:.1e} mm"
    )
    if other := peer("triangulate", cameras, xy_px):
        line("aniposelib triangulate (no errors)", *other, truth_mm)
        print(f"  ratio {other[0] / seconds:.1f}   bar 8")


def robust_refined(rig: Rig, xy_px: np.ndarray) -> Points3D:
    return refine_points(rig, xy_px, triangulate_robust(rig, xy_px))


def one_wrong_view(module: ModuleType) -> None:
    print("\n10 % of the points with one wrong view")
    cameras, truth_mm, xy_px = module.points_problem(POINTS, outlier=0.1)
    rig = rig_of(cameras)
    both = "bar 1.0 s, 2.12 mm, 5 mm"
    runs: tuple[tuple[str, Callable[[Rig, np.ndarray], Points3D], str], ...] = (
        ("triangulate", triangulate, ""),
        ("triangulate_robust", triangulate_robust, ""),
        ("triangulate_robust + refine_points", robust_refined, both),
    )
    for name, solve, bar in runs:
        seconds, points = best_of(lambda solve=solve: solve(rig, xy_px))
        line(name, seconds, points.xyz_m, truth_mm, bar)
    if other := peer("triangulate_ransac", cameras, xy_px[:, :RANSAC_POINTS]):
        all_s = other[0] * POINTS / RANSAC_POINTS
        line(f"aniposelib triangulate_ransac ({RANSAC_POINTS} points, scaled)", all_s, other[1], truth_mm[:RANSAC_POINTS])
        print(f"  ratio {all_s / seconds:.0f}   bar 50")


def half_wrong(module: ModuleType, n_cameras: int, n: int) -> tuple[Rig, np.ndarray, np.ndarray]:
    cameras, truth_mm, xy_px = module.points_problem(n, n_cameras)
    rng = np.random.default_rng(1)
    wrong = np.argsort(rng.random((n_cameras, n)), axis=0) < n_cameras // 2
    xy_px[wrong] += rng.uniform(30, 200, (int(wrong.sum()), 2)) * rng.choice([-1, 1], (int(wrong.sum()), 2))
    return rig_of(cameras), truth_mm, xy_px


def many_wrong(module: ModuleType) -> None:
    print(f"\nhalf of the cameras wrong, triangulate_robust, timed on {POINTS // 10:,} points, x 10")
    spent: dict[int, float] = {}
    for n_cameras in (8, 16, 32):
        rig, truth_mm, xy_px = half_wrong(module, n_cameras, POINTS // 10)
        seconds, points = best_of(lambda rig=rig, xy_px=xy_px: triangulate_robust(rig, xy_px), 2)
        spent[n_cameras] = seconds * 10
        line(f"{n_cameras} cameras", seconds * 10, points.xyz_m, truth_mm, "bar 10 s" if n_cameras == 16 else "")
    for few, many in ((8, 16), (16, 32)):
        print(f"  {few} to {many} cameras: {spent[many] / spent[few]:.2f} times the time   bar 4 (square)")


def inside(xyz_m: np.ndarray, truth_mm: np.ndarray, covariance_m2: np.ndarray) -> float:
    """Share of the points whose 95 % ellipsoid holds the truth."""
    known = np.isfinite(covariance_m2).all((1, 2)) & np.isfinite(xyz_m).all(1)
    off_m, covariance_m2 = (xyz_m - truth_mm / 1000.0)[known], covariance_m2[known]
    distance = np.einsum("ni,nij,nj->n", off_m, np.linalg.inv(covariance_m2), off_m)
    return float((distance < CHI2_95).mean())


def ellipsoids(module: ModuleType) -> None:
    print(f"\n95 % ellipsoids, {POINTS // 5:,} points: share that holds the truth   bar 93 to 97 %")
    cameras, truth_mm, xy_px = module.points_problem(POINTS // 5, outlier=0.1)
    rig = rig_of(cameras)
    points = robust_refined(rig, xy_px)
    assert points.covariance_m2 is not None
    print(
        f"{'noise of the detections, 10 % with one wrong view':52} {inside(points.xyz_m, truth_mm, points.covariance_m2):8.2%}"
    )
    stated, seconds, held = uncertain(rig), [], []
    for seed in range(RIGS):  # a rig's error is common to its points: the coverage is that of many rigs
        truth, xy = filmed(drawn(stated, np.random.default_rng(seed)), POINTS // 5 // RIGS, seed)
        points = triangulate(stated, xy)
        timed, covariance_m2 = best_of(lambda points=points: point_covariance(stated, points.xyz_m), 1)
        seconds.append(timed)
        held.append((inside(refine_points(stated, xy, points).xyz_m, truth, covariance_m2), inside_pixels(stated, xy, truth)))
    both, pixels = np.mean(held, axis=0)
    print(f"{f'noise and rig together, {RIGS} rigs off by 1 mrad, 3 mm':52} {both:8.2%}   ({sum(seconds) * 5:.2f} s)")
    print(f"{'the same by the noise alone, to compare':52} {pixels:8.2%}")


def inside_pixels(rig: Rig, xy_px: np.ndarray, truth_mm: np.ndarray) -> float:
    points = robust_refined(rig, xy_px)
    assert points.covariance_m2 is not None
    return inside(points.xyz_m, truth_mm, points.covariance_m2)


def filmed(rig: Rig, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 3) mm of the body volume and their pixels, where they fall into the frame, in a rig with 1 px noise."""
    rng = np.random.default_rng(seed)
    xyz_m = rng.uniform([-0.7, -0.7, 0.0], [0.7, 0.7, 1.9], (n, 3))
    xy_px = np.stack([np.where(sees(c, xyz_m)[:, None], c.project(xyz_m), np.nan) for c in rig.cameras])
    return xyz_m * 1000.0, xy_px + rng.normal(0.0, 1.0, xy_px.shape)


def main() -> None:
    module = problems()
    print(f"CPU seconds per {POINTS:,} points x 4 cameras, 1 px noise")
    linear(module)
    one_wrong_view(module)
    many_wrong(module)
    ellipsoids(module)


if __name__ == "__main__":
    main()
