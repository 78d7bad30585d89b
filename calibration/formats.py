"""Rigs as files, in the formats of posemill, Pose2Sim / aniposelib, OpenCV, Kalibr and caliscope. The only module here that
touches files; a module `format_*` per format says what that format holds."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from calibration import format_caliscope, format_kalibr, format_opencv, format_posemill, format_text, format_toml
from calibration.errors import CalibrationError
from calibration.rig import Rig
from calibration.transforms import Rigid

# No rig that films people is wider, and no stereo pair: a larger one was written in millimetres.
WIDEST_M = 500.0
WIDEST_PAIR_M = 10.0
UNITS_M = {"m": 1.0, "cm": 1e-2, "mm": 1e-3, "inch": 25.4e-3}


@dataclass(frozen=True)
class Format:
    """How one kind of rig file is known, read and written (by ending).

    metric: the format says metres; else the unit is the board's. holds: which optional parts of a Rig it keeps.
    """

    kind: str
    shows: str
    matches: Callable[[dict[Any, Any]], bool]
    read: Callable[[dict[Any, Any], Path], Rig]
    writers: dict[str, Callable[[Rig], str]]
    metric: bool
    holds: frozenset[str]


# In the order in which an unnamed kind is chosen: by content on reading, by ending on writing.
FORMATS = (
    Format(
        "posemill",
        "posemill's rig .yaml (posemill_rig: 1)",
        format_posemill.matches,
        format_posemill.read,
        {".yaml": format_posemill.write, ".yml": format_posemill.write},
        metric=True,
        holds=frozenset({"stereo_pairs", "covariance", "lens_covariance", "readout_s"}),
    ),
    Format(
        "caliscope",
        "caliscope's camera_array.toml (a table cameras.ID per camera)",
        format_caliscope.matches,
        format_caliscope.read,
        {".toml": format_caliscope.write},
        metric=True,
        holds=frozenset(),
    ),
    Format(
        "kalibr",
        "Kalibr's camchain .yaml (cam0, cam1, ... with camera_model)",
        format_kalibr.matches,
        format_kalibr.read,
        {".yaml": format_kalibr.write, ".yml": format_kalibr.write},
        metric=True,
        holds=frozenset(),
    ),
    Format(
        "opencv",
        "OpenCV's FileStorage .yml / .xml (camera_matrix; M1 D1 M2 D2 R T; or names with K_NAME, T_NAME)",
        format_opencv.matches,
        format_opencv.read,
        {".xml": format_opencv.write_xml, ".yaml": format_opencv.write_yaml, ".yml": format_opencv.write_yaml},
        metric=False,
        holds=frozenset({"stereo_pairs"}),
    ),
    Format(
        "pose2sim",
        "Pose2Sim / aniposelib .toml (a table per camera with matrix and distortions)",
        format_toml.matches,
        format_toml.read,
        {".toml": format_toml.write},
        metric=False,
        holds=frozenset({"stereo_pairs", "covariance"}),
    ),
)
KINDS = {each.kind: each for each in FORMATS}
# What an ending alone means on writing.
DEFAULT_KINDS = {".yaml": "posemill", ".yml": "posemill", ".toml": "pose2sim", ".xml": "opencv"}
KNOWN = "; ".join(each.shows for each in FORMATS)


def load_rig(path: Path | str, unit: str = "m") -> Rig:
    """The rig of a file, whatever known format it holds (chosen by content): metres, radians, pixels.

    unit: what lengths in the file are in (m, cm, mm, inch), for the formats that leave it open: OpenCV and aniposelib write the
    unit of the board. Raises CalibrationError naming the file, the camera and the field for a missing field, NaN, a wrong
    shape or a matrix that is no rotation, and listing the known formats for anything else. Text is parsed safely: no code is
    run, and nothing is unfolded beyond what stands there.
    """
    path = Path(path)
    content = _parse(path)
    known = next((each for each in FORMATS if each.matches(content)), None)
    if known is None:
        raise CalibrationError(f"{path}: no known rig format; known are {KNOWN}")
    try:
        return _in_metres(known.read(content, path), known, unit)
    except CalibrationError as error:
        raise error if str(path) in str(error) else CalibrationError(f"{path}: {error}") from error


def save_rig(rig: Rig, path: Path | str, kind: str = "") -> None:
    """Write a rig, in metres; atomic. Numbers are written so that they come back bit for bit.

    kind: posemill, pose2sim (aniposelib reads it too), opencv, kalibr or caliscope; without one the ending decides: .yaml and
    .yml are posemill's, .toml is Pose2Sim's, .xml is OpenCV's. Raises CalibrationError for an ending that is not the kind's,
    and for a camera that the format cannot hold; what else it cannot hold, `left_behind` tells.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if not len(rig):
        raise CalibrationError(f"{path}: a rig without cameras is not written")
    for name in rig.names:
        if not name or not name.isprintable():
            raise CalibrationError(f"{path}: camera {name!r}: expected a name of printable characters; rename the camera")
    if kind and kind not in KINDS:
        raise CalibrationError(f"{path}: expected a format of {', '.join(KINDS)}, got {kind!r}")
    endings = KINDS[kind].writers if kind else DEFAULT_KINDS
    if ending not in endings:
        of_kind = f" for {kind}" if kind else ""
        raise CalibrationError(
            f"{path}: expected a name that ends in {', '.join(endings)}{of_kind}, got {path.suffix or 'no ending'}"
        )
    _write_atomically(path, KINDS[kind or DEFAULT_KINDS[ending]].writers[ending](rig))


def left_behind(rig: Rig, kind: str) -> tuple[str, ...]:
    """What the rig has and a file of this kind does not keep: of stereo_pairs, covariance, lens_covariance, readout_s."""
    parts: dict[str, Any] = {
        "stereo_pairs": rig.stereo_pairs,
        "covariance": rig.covariance,
        "lens_covariance": rig.lens_covariance,
        "readout_s": [camera.name for camera in rig.cameras if camera.readout_s],
    }
    return tuple(part for part, value in parts.items() if value is not None and len(value) and part not in KINDS[kind].holds)


def _parse(path: Path) -> dict[Any, Any]:
    if not path.is_file():
        raise CalibrationError(f"{path}: no such file; expected a rig: {KNOWN}")
    try:
        if path.stat().st_size > format_text.LARGEST_BYTES:
            raise CalibrationError(f"{path.stat().st_size} bytes: no rig")
        return format_text.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CalibrationError(f"{path}: cannot be read as a rig: {error}; known formats are {KNOWN}") from error


def _in_metres(rig: Rig, known: Format, unit: str) -> Rig:
    """The rig with its lengths in metres, checked against lengths no rig has."""
    if not len(rig):
        raise CalibrationError(f"no cameras in it; expected a file of {known.kind}")
    if unit not in UNITS_M:
        raise CalibrationError(f"unit: expected one of {', '.join(UNITS_M)}, got {unit!r}")
    if known.metric and unit != "m":
        raise CalibrationError(f"unit: a file of {known.kind} is in metres, got {unit!r}")
    if unit != "m":
        rig = _scaled(rig, UNITS_M[unit])
    if known.kind != "posemill":
        _check_lengths(rig, known)
    return rig


def _scaled(rig: Rig, factor: float) -> Rig:
    cameras = tuple(each.with_pose(Rigid(each.cam_from_world.R, each.cam_from_world.t * factor)) for each in rig.cameras)
    sides = np.tile([1.0, 1.0, 1.0, factor, factor, factor], len(rig))
    covariance = None if rig.covariance is None else rig.covariance * np.outer(sides, sides)
    return replace(rig, cameras=cameras, covariance=covariance)


def _check_lengths(rig: Rig, known: Format) -> None:
    with np.errstate(all="ignore"):
        centres_m = np.stack([camera.centre_m for camera in rig.cameras])
        widest_m = float(np.linalg.norm(centres_m[:, None] - centres_m[None], axis=-1).max())
        pairs_m = {pair: float(np.linalg.norm(rig[pair[0]].centre_m - rig[pair[1]].centre_m)) for pair in rig.stereo_pairs}
    advice = "divide them by 1000" if known.metric else 'read the file with unit="mm" (`posemill convert --unit mm`)'
    advice = f"translations must be in metres; written in millimetres? {advice}"
    if not widest_m <= WIDEST_M:
        raise CalibrationError(f"translation: the cameras stand up to {widest_m:.0f} m apart; {advice}")
    for (left, right), apart_m in pairs_m.items():
        if not apart_m <= WIDEST_PAIR_M:
            raise CalibrationError(f"translation: the stereo pair {left}, {right} is {apart_m:.0f} m wide; {advice}")


def _write_atomically(path: Path, text: str) -> None:
    """A reader sees the old file or the new one: temporary name, fsync, rename."""
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)  # a link of that name would be written through
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
