"""The triangulation problem in aniposelib's hands; run by `bench_triangulate` with a Python that has it.

``PYTHON peer_triangulate.py METHOD PROBLEM.npz OUT.npz``. METHOD: triangulate or triangulate_ransac. The problem, in mm: xy_px
(C, N, 2), K (C, 3, 3), dist (C, 5), rvec, t (C, 3), sizes (C, 2). OUT: xyz_mm (N, 3) and the fewest CPU seconds of some calls
after the first, which compiles.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from aniposelib.cameras import Camera, CameraGroup

WARM = 20  # points of the call that compiles the robust search, which costs as much for every point


def main() -> None:
    method, source, out = sys.argv[1:]
    with np.load(source) as file:
        given = dict(file)
    fields = zip(given["K"], given["dist"], given["rvec"], given["t"], given["sizes"], strict=True)
    group = CameraGroup(
        [
            Camera(matrix=K, dist=dist, rvec=rvec, tvec=t, size=tuple(int(v) for v in size), name=f"cam{c}")
            for c, (K, dist, rvec, t, size) in enumerate(fields)
        ]
    )
    solve = getattr(group, method)
    robust = method == "triangulate_ransac"
    solve(given["xy_px"][:, :WARM] if robust else given["xy_px"])
    seconds = []
    for _ in range(1 if robust else 5):
        start = time.process_time()
        result = solve(given["xy_px"])
        seconds.append(time.process_time() - start)
    np.savez(out, xyz_mm=result[0] if robust else result, cpu_s=min(seconds))


if __name__ == "__main__":
    main()
