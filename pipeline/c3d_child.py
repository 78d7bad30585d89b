"""`python -m pipeline.c3d_child FILE`: a .c3d file read by ezc3d, in a process that a broken file may end instead of ours.

On stdout a line of JSON (labels, unit, rate_fps, first_frame, shape) and the points (4, M, F) with their residuals (1, M, F),
float64.
"""

from __future__ import annotations

import json
import resource
import sys

import numpy as np

# Of address space; a file of 65,535 frames of a hundred points takes a tenth.
LARGEST_BYTES = 4 << 30


def main(path: str) -> None:
    """Write the answer; a file that cannot be read is an exception, whose last line the caller tells."""
    import ezc3d

    resource.setrlimit(resource.RLIMIT_AS, (LARGEST_BYTES, LARGEST_BYTES))
    file = ezc3d.c3d(path)
    point, points = file["parameters"]["POINT"], np.asarray(file["data"]["points"], dtype=np.float64)
    told = {
        "labels": list(point["LABELS"]["value"]),
        "unit": (list(point["UNITS"]["value"]) or ["mm"])[0].strip(),
        "rate_fps": float(file["header"]["points"]["frame_rate"]),
        "first_frame": int(file["header"]["points"]["first_frame"]),
        "shape": list(points.shape[1:]),
    }
    sys.stdout.buffer.write(json.dumps(told).encode() + b"\n" + points.tobytes())
    sys.stdout.buffer.write(np.asarray(file["data"]["meta_points"]["residuals"], dtype=np.float64).tobytes())


if __name__ == "__main__":
    main(sys.argv[1])
