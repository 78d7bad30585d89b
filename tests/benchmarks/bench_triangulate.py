"""Triangulation against the clock and against a plain SVD per point.

Run: ``python -m tests.benchmarks.bench_triangulate``. The problem (a ring of four full-HD cameras, 100,000 points in a body's
volume, 1 px noise) is `problems.py` of the folder in POSEMILL_BENCH, by default ../shared/bench.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np

from calibration.refine_points import refine_points
from calibration.rig import Rig
from calibration.triangulate import Points3D, triangulate, triangulate_robust
from tests.benchmarks.geometry import best_of, problems, rig_of

POINTS = 100_000


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


def line(what: str, seconds: float, xyz_m: np.ndarray, truth_mm: np.ndarray) -> None:
    error_mm = np.linalg.norm(xyz_m * 1000.0 - truth_mm, axis=1)
    lost = int(np.isnan(error_mm).sum())
    median, p99 = np.nanmedian(error_mm), np.nanpercentile(error_mm, 99)
    print(f"{what:52} {seconds:8.2f} s   median {median:6.3f} mm   99 % {p99:7.3f} mm   lost {lost}")


def half_wrong(module: ModuleType, n_cameras: int, n: int) -> tuple[Rig, np.ndarray, np.ndarray]:
    cameras, truth_mm, xy_px = module.points_problem(n, n_cameras)
    rng = np.random.default_rng(1)
    wrong = np.argsort(rng.random((n_cameras, n)), axis=0) < n_cameras // 2
    xy_px[wrong] += rng.uniform(30, 200, (int(wrong.sum()), 2)) * rng.choice([-1, 1], (int(wrong.sum()), 2))
    return rig_of(cameras), truth_mm, xy_px


def main() -> None:
    module = problems()
    cameras, truth_mm, xy_px = module.points_problem(POINTS)
    rig, few = rig_of(cameras), POINTS // 20
    print(f"CPU seconds per {POINTS:,} points x {len(rig)} cameras, 1 px noise")
    seconds, points = best_of(lambda: triangulate(rig, xy_px))
    line("triangulate", seconds, points.xyz_m, truth_mm)
    svd_seconds, xyz_m = best_of(lambda: svd_per_point(rig, xy_px[:, :few]), 1)
    line(f"SVD per point (timed on {few:,}, no error_px)", svd_seconds * 20, xyz_m, truth_mm[:few])
    print(f"ratio {svd_seconds * 20 / seconds:.0f}; largest difference {np.abs(xyz_m - points.xyz_m[:few]).max() * 1e3:.1e} mm")

    cameras, truth_mm, xy_px = module.points_problem(POINTS, outlier=0.1)
    rig = rig_of(cameras)
    robust = triangulate_robust(rig, xy_px)
    seconds, points = best_of(lambda: refine_points(rig, xy_px, robust))
    line("refine_points after triangulate_robust (alone)", seconds, points.xyz_m, truth_mm)
    for name, solve in (("triangulate", triangulate), ("triangulate_robust", triangulate_robust)):
        timed: tuple[float, Points3D] = best_of(lambda solve=solve: solve(rig, xy_px))
        line(f"{name}, 10 % of points with one wrong view", timed[0], timed[1].xyz_m, truth_mm)
    for n_cameras in (8, 16):
        rig, truth_mm, xy_px = half_wrong(module, n_cameras, POINTS // 10)
        seconds, points = best_of(lambda rig=rig, xy_px=xy_px: triangulate_robust(rig, xy_px), 1)
        line(f"triangulate_robust, {n_cameras} cameras, half wrong (x 10)", seconds * 10, points.xyz_m, truth_mm)


if __name__ == "__main__":
    main()
