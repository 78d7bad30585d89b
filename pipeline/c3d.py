"""Marker trajectories in C3D (ezc3d): millimetres, z-up, a gap has residual -1 as the format's standard says."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.atomic import write_atomically
from pipeline.errors import InputError
from pipeline.trc import METRES, Trajectories, frames_by_rate

MILLIMETRES = 1000.0
LONGEST_S, LATEST_NS = 120.0, 3.2e18
ROOT = Path(__file__).resolve().parent.parent  # where a child finds posemill
MOST_FRAMES = 65535  # the header counts them in 16 bits, and ezc3d reads no further


def write_c3d(track: Trajectories, path: Path) -> str:
    """Write a .c3d file (float32: 0.5 um at 5 m), atomic; returns what it does not keep, "" for nothing.

    A clip of more than MOST_FRAMES frames is told and not written. Raises StageError on a full disk.
    """
    if (count := len(track.t_ns)) > MOST_FRAMES:
        return f"left out: C3D counts up to {MOST_FRAMES} frames, this clip has {count}; take json or trc"
    import ezc3d

    file = ezc3d.c3d()
    point = file["parameters"]["POINT"]
    point["RATE"]["value"], point["UNITS"]["value"] = [track.rate_fps], ["mm"]
    point["LABELS"]["value"] = list(track.markers)
    file.add_parameter("POINT", "X_SCREEN", ["+X"])
    file.add_parameter("POINT", "Y_SCREEN", ["+Z"])  # what is up
    xyz_mm = track.xyz_m.transpose(2, 1, 0) * MILLIMETRES
    file["data"]["points"] = np.concatenate([xyz_mm, np.ones((1, *xyz_mm.shape[1:]))])
    gap = ~np.isfinite(xyz_mm).all(0)
    file["data"]["meta_points"]["residuals"] = np.where(gap, -1.0, 0.0)[None]
    file["header"]["points"]["first_frame"], late = _first_frame(track)
    with tempfile.TemporaryDirectory() as folder:
        file.write(str(Path(folder) / "written.c3d"))
        write_atomically(path, (Path(folder) / "written.c3d").read_bytes())
    return "; ".join(note for note in (frames_by_rate(track), late) if note)


def _first_frame(track: Trajectories) -> tuple[int, str]:
    """Number (from 0) of the first frame on the track's clock; 0, and what that loses, where it cannot be said."""
    first = round(track.t_ns[0] / 1e9 * track.rate_fps) if len(track.t_ns) else 0
    if 0 <= first <= MOST_FRAMES - len(track.t_ns):
        return first, ""
    return 0, f"begins at 0 s, not at {track.t_ns[0] / 1e9:.3f} s: the frame's number is out of range"


def read_c3d(path: Path) -> Trajectories:
    """A .c3d file in metres, its axes as they are (written by `write_c3d`: z-up); points with a negative residual are NaN.

    Raises InputError for a file that is none, has no points, or is in no unit of length.
    """
    if not path.is_file():
        raise InputError(f"{path}: not found; expected a .c3d file")
    words = [sys.executable, "-m", "pipeline.c3d_child", str(path.resolve())]
    try:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, timeout=LONGEST_S)
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{path}: expected a .c3d file (it is not read within {LONGEST_S:.0f} s)") from error
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        why = last[0] if last and done.returncode > 0 else f"its reader ended with status {done.returncode}"
        raise InputError(f"{path}: expected a .c3d file ({why:.300})")
    told, _, content = done.stdout.partition(b"\n")
    return _trajectories(path, json.loads(told), content)


def _trajectories(path: Path, told: dict[str, Any], content: bytes) -> Trajectories:
    (count, frames), unit, rate_fps = told["shape"], told["unit"], told["rate_fps"]
    values = np.frombuffer(content)
    whole = count * frames > 0 and len(values) == 5 * count * frames and count == len(told["labels"])
    if unit not in METRES or not 0 < rate_fps < np.inf or not whole:
        found = f"{unit[:80]!r}, {rate_fps:g} frames/s, {count} points and {len(told['labels'])} labels, {frames} frames"
        raise InputError(f"{path}: expected points over time in one of {', '.join(METRES)}, found {found}")
    points, residuals = np.split(values.reshape(5, count, frames), [4])
    xyz_m = points[:3].transpose(2, 1, 0) * METRES[unit]
    xyz_m[residuals[0].T < 0] = np.nan
    t_ns = np.rint((told["first_frame"] + np.arange(frames)) * 1e9 / rate_fps)
    if not np.abs(t_ns).max() < LATEST_NS:
        raise InputError(f"{path}: expected frames within a century, found the last at {t_ns.max() / 1e9:.3g} s")
    return Trajectories(tuple(told["labels"]), t_ns.astype(np.int64), xyz_m, rate_fps)
