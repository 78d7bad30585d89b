"""posemill's own yaml: all that a Rig holds, every number bit for bit. Metres, radians, pixels; cam_from_world as a matrix."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from calibration.camera import LENSES, Camera
from calibration.errors import CalibrationError
from calibration.format_fields import camera, get, name, numbers, square, stereo_pairs
from calibration.rig import Rig

SCHEMA_VERSION = 1


def matches(content: dict[Any, Any]) -> bool:
    """Whether these are the tables of a posemill rig."""
    return "posemill_rig" in content


def read(content: dict[Any, Any], path: Path) -> Rig:
    """The rig of the tables. CalibrationError naming file, camera and field."""
    if content["posemill_rig"] != SCHEMA_VERSION:
        found = str(content["posemill_rig"])[:80]
        raise CalibrationError(f"{path}: posemill_rig: this version reads schema {SCHEMA_VERSION}, found {found}")
    entries = content.get("cameras")
    if not isinstance(entries, list) or not entries:
        raise CalibrationError(f"{path}: cameras: expected a list of cameras, found {type(entries).__name__}")
    places = [f"{path}: camera {_label(entry, n)}" for n, entry in enumerate(entries)]
    cameras = [_camera(entry, where) for entry, where in zip(entries, places, strict=True)]
    lenses = [
        square(entry, "lens_covariance", where, 4 + LENSES[each.lens])
        for each, entry, where in zip(cameras, entries, places, strict=True)
    ]
    known = [block for block in lenses if block is not None]
    if known and len(known) < len(lenses):
        lacking = ", ".join(each.name for each, block in zip(cameras, lenses, strict=True) if block is None)
        raise CalibrationError(f"{path}: lens_covariance: expected for all cameras or none; camera {lacking} has none")
    pairs = stereo_pairs(content.get("stereo_pairs"), str(path))
    return Rig(tuple(cameras), pairs, square(content, "covariance", str(path), 6 * len(cameras)), tuple(known) or None)


def _camera(entry: Any, where: str) -> Camera:
    pose = get(entry, "cam_from_world", where)
    lens = get(entry, "lens", where)
    if lens not in tuple(LENSES):
        raise CalibrationError(f"{where}: lens: expected one of {', '.join(LENSES)}, found {str(lens)[:80]!r}")
    readout_s = float(numbers(entry, "readout_s", where, ())) if "readout_s" in entry else 0.0
    return replace(_seen_by(entry, where, lens, pose), readout_s=readout_s)


def _seen_by(entry: Any, where: str, lens: str, pose: Any) -> Camera:
    return camera(
        where,
        name=name(get(entry, "name", where), where),
        size=numbers(entry, "size_wh", where, (2,)),
        K=numbers(entry, "K", where, (3, 3)),
        dist=numbers(entry, "dist", where),
        lens=lens,
        R=numbers(pose, "R", f"{where}: cam_from_world", (3, 3)),
        t_m=numbers(pose, "t_m", f"{where}: cam_from_world", (3,)),
    )


def _label(entry: Any, number: int) -> str:
    named = isinstance(entry, dict) and isinstance(entry.get("name"), str | int)
    return str(entry["name"])[:80] if named else f"number {number + 1}"


def write(rig: Rig) -> str:
    """The yaml text of a rig."""
    content: dict[str, Any] = {"posemill_rig": SCHEMA_VERSION, "units": {"length": "m", "image": "px"}}
    content["cameras"] = [_entry(each) for each in rig.cameras]
    for entry, block in zip(content["cameras"], rig.lens_covariance or (), strict=False):
        entry["lens_covariance"] = block.tolist()
    content["stereo_pairs"] = [list(pair) for pair in rig.stereo_pairs]
    if rig.covariance is not None:
        content["covariance"] = np.asarray(rig.covariance).tolist()
    return yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)


def _entry(each: Camera) -> dict[str, Any]:
    return {
        "name": each.name,
        "size_wh": list(each.size_wh),
        "lens": each.lens,
        "K": each.K.tolist(),
        "dist": each.dist.tolist(),
        "cam_from_world": {"R": each.cam_from_world.R.tolist(), "t_m": each.cam_from_world.t.tolist()},
    } | ({"readout_s": float(each.readout_s)} if each.readout_s else {})
