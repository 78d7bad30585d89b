"""Marker trajectories in C3D (ezc3d): millimetres, z-up, a gap has residual -1 as the format's standard says."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.atomic import write_atomically
from pipeline.errors import InputError
from pipeline.trc import METRES, Trajectories, frames_by_rate

MILLIMETRES = 1000.0
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
    import ezc3d

    if not path.is_file():
        raise InputError(f"{path}: not found; expected a .c3d file")
    try:
        file = ezc3d.c3d(str(path))
    except (OSError, RuntimeError, ValueError, IndexError) as error:
        raise InputError(f"{path}: expected a .c3d file ({error})") from error
    return _trajectories(path, file)


def _trajectories(path: Path, file: Any) -> Trajectories:
    point, rate_fps = file["parameters"]["POINT"], float(file["header"]["points"]["frame_rate"])
    unit = (point["UNITS"]["value"] or ["mm"])[0].strip()
    if unit not in METRES or rate_fps <= 0 or not file["data"]["points"].size:
        found = f"{unit!r}, {rate_fps:g} frames/s, {file['data']['points'].shape[1:]} points and frames"
        raise InputError(f"{path}: expected points over time in one of {', '.join(METRES)}, found {found}")
    xyz_m = file["data"]["points"][:3].transpose(2, 1, 0).astype(np.float64) * METRES[unit]
    xyz_m[file["data"]["meta_points"]["residuals"][0].T < 0] = np.nan
    frames = file["header"]["points"]["first_frame"] + np.arange(len(xyz_m))
    return Trajectories(tuple(point["LABELS"]["value"]), np.rint(frames * 1e9 / rate_fps).astype(np.int64), xyz_m, rate_fps)
