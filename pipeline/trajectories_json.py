"""Trajectories of one person as JSON: names, times, metres z-up, null for a gap."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.atomic import write_atomically
from pipeline.errors import InputError
from pipeline.plain_text import json_of
from pipeline.trc import Trajectories

GAP = (float("nan"),) * 3


def write_json(track: Trajectories, path: Path) -> str:
    """Write {joints, rate_fps, t_ns, xyz_m (F, J, 3)} with coordinates to a micrometre, atomic; returns "": all is kept.

    Raises StageError on a full disk.
    """
    known: Any = np.isfinite(track.xyz_m).all(-1).tolist()  # bools of (F, J)
    rows = [
        [xyz if there else None for xyz, there in zip(instant, here, strict=True)]
        for instant, here in zip(np.round(track.xyz_m, 6).tolist(), known, strict=True)
    ]
    told = {"unit": "m", "up": "z", "rate_fps": track.rate_fps, "joints": track.markers, "t_ns": track.t_ns.tolist()}
    write_atomically(path, json.dumps(told | {"xyz_m": rows}, separators=(",", ":")) + "\n")
    return ""


def read_json(path: Path) -> Trajectories:
    """What `write_json` wrote. Raises InputError for anything else."""
    try:
        told = json_of(path)
        xyz_m = np.array([[xyz or GAP for xyz in instant] for instant in told["xyz_m"]], dtype=np.float64)
        if not all(isinstance(name, str) for name in told["joints"]):
            raise ValueError("joints: expected names")
        return Trajectories(tuple(told["joints"]), np.array(told["t_ns"], dtype=np.int64), xyz_m, float(told["rate_fps"]))
    except (InputError, ValueError, LookupError, TypeError, OverflowError, AttributeError) as error:
        wanted = "expected trajectories as `posemill export --format json` writes them"
        raise InputError(f"{path}: {wanted} ({type(error).__name__}: {str(error)[:300]})") from error
