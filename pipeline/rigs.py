"""Rigs as stages need them: imported under the session's camera names, read back, and held against a clip's videos."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from calibration.camera import Camera
from calibration.formats import load_rig
from calibration.rig import Rig
from pipeline.errors import InputError
from pipeline.types import Artefact


def read_rig(calibrate: Artefact) -> Rig:
    """The rig of a finished calibrate stage, in the pixels it was calibrated at; `clip_rig` has it in those of a clip."""
    return load_rig(calibrate.path / "rig.yaml")


def import_rig(path: Path, names: Sequence[str]) -> Rig:
    """The named cameras of a rig file; cam_01, Cam1 and cam01 are one name. Raises InputError or CalibrationError."""
    if not path.is_file():
        raise InputError(f"{path}: not found; expected a rig file")
    rig = load_rig(path)
    by_key = {_name_key(name): name for name in rig.names}
    found = {name: name if name in rig.names else by_key.get(_name_key(name)) for name in names}
    missing = [name for name, match in found.items() if match is None]
    if missing:
        raise InputError(
            f"{path}: camera {', '.join(missing)} is not in this rig; it has {', '.join(rig.names)}. Name the session's "
            "cameras like the rig's, or import the rig that has them"
        )
    return Rig(tuple(replace(rig[match], name=name) for name, match in found.items() if match))


def _name_key(name: str) -> tuple[str, ...]:
    return tuple(part.lstrip("0") for part in re.findall(r"[a-z]+|\d+", name.lower()))


def check_sizes(rig: Rig, ingest: Artefact, clip: str) -> None:
    """InputError naming every camera whose video is not of the size it was calibrated at, with the choices there are."""
    origins = ingest.summary["image_origin_px"]
    problems = [size_problem(rig[name], tuple(size), origins.get(name)) for name, size in ingest.summary["size_wh"].items()]
    if any(problems):
        raise InputError(f"clip {clip}: " + f"\nclip {clip}: ".join(problem for problem in problems if problem))


def size_problem(camera: Camera, size_wh: tuple[int, int], origin_px: Sequence[float] | None) -> str:
    """What is wrong with frames of size_wh for a calibrated camera, "" when nothing is."""
    (width, height), (wide, high) = size_wh, camera.size_wh
    if origin_px is None and size_wh == camera.size_wh:
        return ""
    if origin_px is not None:
        x, y = origin_px
        inside = min(0, wide - width) <= x <= max(0, wide - width) and min(0, high - height) <= y <= max(0, high - height)
        where = f"camera {camera.name}: image origin {x:g},{y:g}"
        return "" if inside else f"{where} puts its {by(size_wh)} frames outside the calibrated {by(camera.size_wh)}"
    centred = f"{(wide - width) / 2:g},{(high - height) / 2:g}"
    return (
        f"camera {camera.name}: the video is {by(size_wh)} px, its calibration {by(camera.size_wh)} px; it is not scaled or "
        f"shifted unasked. Choices: (1) if the video is a crop, say which pixel of the calibrated image its first pixel is: "
        f"`posemill new ... --image-origin {camera.name}=0,0` (cropped right and below) or {camera.name}={centred} (centred "
        f"crop); (2) calibrate this camera at {by(size_wh)}; (3) export the video again at {by(camera.size_wh)}, uncropped"
    )


def by(size_wh: tuple[int, int]) -> str:
    """A size as WIDTHxHEIGHT."""
    return f"{size_wh[0]}x{size_wh[1]}"
