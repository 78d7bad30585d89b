"""Marker trajectories in OpenSim's .trc format: y-up in the file, z-up metres in posemill."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.atomic import write_atomically
from pipeline.errors import InputError

Array = NDArray[np.float64]

METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}


@dataclass(frozen=True, eq=False)
class Trajectories:
    """F instants of M named markers: t_ns (F,), xyz_m (F, M, 3) world z-up with NaN for gaps, rate_fps."""

    markers: tuple[str, ...]
    t_ns: NDArray[np.int64]
    xyz_m: Array
    rate_fps: float

    def __post_init__(self) -> None:
        if self.xyz_m.shape != (len(self.t_ns), len(self.markers), 3):
            expected = f"(F={len(self.t_ns)}, M={len(self.markers)}, 3)"
            raise ValueError(f"Trajectories.xyz_m: expected {expected}, got {self.xyz_m.shape}")


def z_up_from_y_up(xyz: Array) -> Array:
    """File axes (x, y up, z) to world axes: (z, x, y), Pose2Sim's convention."""
    return xyz[..., [2, 0, 1]]


def y_up_from_z_up(xyz: Array) -> Array:
    """World axes to file axes: the inverse of `z_up_from_y_up`."""
    return xyz[..., [1, 2, 0]]


def read_trc(path: Path) -> Trajectories:
    """A .trc file in world axes and metres; an empty cell is NaN. Raises InputError naming the line that is wrong."""
    lines = _lines(path)
    header = dict(zip(lines[1].split("\t"), lines[2].split("\t"), strict=False))
    unit, rate = header.get("Units", "").strip(), header.get("DataRate", "").strip()
    if unit not in METRES:
        raise InputError(f"{path}: Units: expected one of {', '.join(METRES)}, found {unit!r}")
    markers = tuple(name.strip() for name in lines[3].split("\t")[2:] if name.strip())
    rows = [_row(path, n, line, len(markers)) for n, line in enumerate(lines[5:], start=6) if line.strip()]
    if not rows:
        raise InputError(f"{path}: no line of coordinates below the header")
    table = np.array(rows)
    xyz_m = z_up_from_y_up(table[:, 1:].reshape(len(table), len(markers), 3)) * METRES[unit]
    try:
        return Trajectories(markers, np.rint(table[:, 0] * 1e9).astype(np.int64), xyz_m, float(rate))
    except ValueError as error:
        raise InputError(f"{path}: DataRate: expected a number, found {rate!r}") from error


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if len(lines) < 5 or not lines[0].startswith("PathFileType"):
        raise InputError(f"{path}: expected a .trc file, whose first line begins with PathFileType")
    return lines


def _row(path: Path, number: int, line: str, n_markers: int) -> list[float]:
    """Time and 3 M coordinates of one line; cells missing at its end are gaps."""
    cells = line.rstrip("\n").split("\t")[1 : 2 + 3 * n_markers]
    cells += [""] * (1 + 3 * n_markers - len(cells))
    try:
        return [float(cell) if cell.strip() else float("nan") for cell in cells]
    except ValueError as error:
        raise InputError(f"{path}: line {number}: expected numbers separated by tabs ({error})") from error


def write_trc(trajectories: Trajectories, path: Path) -> None:
    """Write a .trc file in metres, y-up, gaps as empty cells; atomic. Raises StageError on a full disk."""
    count, rate = len(trajectories.t_ns), f"{trajectories.rate_fps:.10g}"
    markers = len(trajectories.markers)
    axes = "\t".join(f"X{m}\tY{m}\tZ{m}" for m in range(1, markers + 1))
    head = [
        f"PathFileType\t4\t(X/Y/Z)\t{path.name}",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"{rate}\t{rate}\t{count}\t{markers}\tm\t{rate}\t1\t{count}",
        "Frame#\tTime\t" + "\t\t\t".join(trajectories.markers) + "\t\t",
        "\t\t" + axes,
    ]
    flat = y_up_from_z_up(trajectories.xyz_m).reshape(count, -1)
    body = (
        f"{number}\t{t_ns / 1e9!r}\t" + "\t".join("" if np.isnan(v) else repr(float(v)) for v in row)
        for number, (t_ns, row) in enumerate(zip(trajectories.t_ns.tolist(), flat, strict=True), start=1)
    )
    write_atomically(path, "\n".join([*head, *body]) + "\n")


def frames_by_rate(track: Trajectories) -> str:
    """What a format that numbers frames loses of their times: "" when they are at the frame rate to a tenth of a frame."""
    frames = np.arange(len(track.t_ns)) * 1e9 / track.rate_fps
    off_ns = np.abs(track.t_ns - track.t_ns[:1] - frames).max(initial=0.0)
    return (
        ""
        if off_ns * track.rate_fps < 1e8
        else f"frames are up to {off_ns / 1e6:.0f} ms off their {track.rate_fps:g} per second"
    )
