"""The rig problem in other tools' hands; run by `bench_calibration` with a Python that has aniposelib and pyceres.

``PYTHON peer_calibration.py TOOL PROBLEM.npz OUT.npz``. The problem: p (C, F, M, 2) px, obj (M, 3) mm, sizes (C, 2), and for
pyceres the cameras and boards it starts from (rvec, t in mm; lens rows fx, fy, cx, cy, k1, k2). OUT: cameras (C, 12) as rvec,
t, fx, fy, cx, cy, k1, k2, and the CPU seconds of the solve.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
from typing import Any

import cv2
import numpy as np


def aniposelib(given: dict[str, np.ndarray]) -> np.ndarray:
    """`CameraGroup.calibrate_rows` as its documentation calls it."""
    from aniposelib.boards import CharucoBoard
    from aniposelib.cameras import Camera, CameraGroup

    board = CharucoBoard(9, 6, 60.0, 45.0, 4, 50)
    cameras = [Camera(name=f"cam{c}", size=tuple(int(v) for v in size)) for c, size in enumerate(given["sizes"])]
    rows = []
    for views in given["p"]:
        found = []
        for frame, view in enumerate(views):
            ids = np.flatnonzero(np.isfinite(view).all(1))
            if len(ids) >= 8:
                found.append({"framenum": frame, "corners": view[ids].astype(np.float32)[:, None], "ids": ids[:, None]})
        rows.append(found)
    group = CameraGroup(cameras)
    group.calibrate_rows(rows, board, verbose=False)
    return np.stack([camera_row(c) for c in group.cameras])


def camera_row(camera: Any) -> np.ndarray:
    K, dist = camera.get_camera_matrix(), np.ravel(camera.get_distortions())
    lens = [K[0, 0], K[1, 1], K[0, 2], K[1, 2], *dist[:2]]
    return np.concatenate([np.ravel(camera.get_rotation()), np.ravel(camera.get_translation()), lens])


def pyceres(given: dict[str, np.ndarray]) -> np.ndarray:
    """View blocks with exact derivatives (cv2.composeRT, cv2.projectPoints), least squares, Schur complement by Ceres."""
    import pyceres as ceres

    class View(ceres.CostFunction):
        """Residuals of one view by camera pose (6), board pose (6) and lens (6)."""

        def __init__(self, xyz: np.ndarray, xy: np.ndarray) -> None:
            super().__init__()
            self.xyz, self.xy = np.ascontiguousarray(xyz), xy
            self.set_num_residuals(2 * len(xy))
            self.set_parameter_block_sizes([6, 6, 6])

        def Evaluate(self, parameters: Any, residuals: Any, jacobians: Any) -> bool:  # noqa: N802
            cam, pose, lens = parameters
            rvec, tvec, *parts = cv2.composeRT(pose[:3], pose[3:], cam[:3], cam[3:])
            K = np.array([[lens[0], 0, lens[2]], [0, lens[1], lens[3]], [0, 0, 1.0]])
            px, table = cv2.projectPoints(self.xyz, rvec, tvec, K, np.array([lens[4], lens[5], 0, 0, 0]))
            residuals[:] = (px.reshape(-1, 2) - self.xy).ravel()
            if jacobians is not None:
                by_r, by_t = table[:, :3], table[:, 3:6]
                r_by_board, _, r_by_cam, _, _, t_by_board, t_by_cam, t_by_shift = parts
                if jacobians[0] is not None:
                    jacobians[0][:] = np.hstack([by_r @ r_by_cam + by_t @ t_by_cam, by_t @ t_by_shift]).ravel()
                if jacobians[1] is not None:
                    jacobians[1][:] = np.hstack([by_r @ r_by_board, by_t @ t_by_board]).ravel()
                if jacobians[2] is not None:
                    jacobians[2][:] = table[:, 6:12].ravel()
            return True

    cams, boards, lenses = given["cams"].copy(), given["boards"].copy(), given["lenses"].copy()
    problem = ceres.Problem()
    costs = []
    for c, views in enumerate(given["p"]):
        for f, view in enumerate(views):
            seen = np.isfinite(view).all(1)
            if seen.sum() >= 6 and np.isfinite(boards[f]).all():
                costs.append(View(given["obj"][seen], view[seen]))
                problem.add_residual_block(costs[-1], ceres.TrivialLoss(), [cams[c], boards[f], lenses[c]])
    problem.set_parameter_block_constant(cams[0])
    options = ceres.SolverOptions()
    options.linear_solver_type = ceres.LinearSolverType.DENSE_SCHUR
    options.max_num_iterations, options.num_threads = 100, 1
    ceres.solve(options, problem, ceres.SolverSummary())
    return np.hstack([cams, lenses])


def main() -> None:
    tool, source, out = sys.argv[1:]
    with np.load(source) as file:
        given = dict(file)
    start = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        cameras = {"aniposelib": aniposelib, "pyceres": pyceres}[tool](given)
    np.savez(out, cameras=cameras, cpu_s=time.process_time() - start)


if __name__ == "__main__":
    main()
