"""caliscope's camera_array.toml: a table [cameras.ID] per camera, x_cam = R x_world + t (its code says so, against its comment
"camera relative to world"), metres.

`rotation` is a Rodrigues vector; a matrix, as caliscope wrote before, is read too. Cameras have numbers there, not names: ID 3
is read as cam_3 (as in caliscope's own aniposelib file), and a camera of another name is written with an extra key `name`,
which caliscope passes over. Cameras marked `ignore` are left out, as caliscope leaves them out. Not held: stereo pairs,
covariances, rational lenses (refused).

Source: caliscope, src/caliscope/cameras/camera_array.py (CameraArray.from_toml, to_toml).
"""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

from calibration.camera import Camera
from calibration.errors import CalibrationError
from calibration.format_fields import flag, table_camera, toml_text, vector
from calibration.rig import Rig


def matches(content: dict[Any, Any]) -> bool:
    """Whether these are the tables of a caliscope camera array."""
    return isinstance(content.get("cameras"), dict)


def read(content: dict[Any, Any], path: Path) -> Rig:
    """The rig of the tables. CalibrationError naming file, camera and field, also for a camera without a pose."""
    cameras = []
    for key, table in content["cameras"].items():
        where = f"{path}: camera {key}"
        if not isinstance(table, dict):
            raise CalibrationError(f"{where}: expected a table, found {str(table)[:80]!r}")
        if not flag(table, "ignore", where):
            cameras.append(_camera(str(key), table, where))
    if not cameras:
        raise CalibrationError(f"{path}: cameras: none in it")
    return Rig(tuple(cameras))


def _camera(key: str, table: dict[Any, Any], where: str) -> Camera:
    for field in ("matrix", "rotation", "translation"):
        if field not in table:
            raise CalibrationError(
                f"{where}: {field}: missing; finish this camera's calibration in caliscope, or mark it `ignore`"
            )
    return table_camera(table, where, f"cam_{key}", partial(vector, size=3))


def write(rig: Rig) -> str:
    """The toml text of a rig. CalibrationError for a rational lens: caliscope knows five coefficients, or four of a fisheye."""
    lines = []
    for number, each in zip(_numbers_of(rig), rig.cameras, strict=True):
        if each.lens == "rational":
            raise CalibrationError(
                f"camera {each.name}: lens: caliscope has no rational lens; calibrate it as brown or fisheye"
            )
        lines += [
            f"[cameras.{number}]",
            f"cam_id = {number}",
            *([f"name = {toml_text(each.name)}"] if each.name != f"cam_{number}" else []),
            f"size = {json.dumps(list(each.size_wh))}",
            "rotation_count = 0",
            f"matrix = {json.dumps(each.K.tolist())}",
            f"distortions = {json.dumps(each.dist.tolist())}",
            f"translation = {json.dumps(each.cam_from_world.t.tolist())}",
            f"rotation = {json.dumps(each.cam_from_world.rvec.tolist())}",
            f"fisheye = {json.dumps(each.lens == 'fisheye')}",
            "",
        ]
    return "\n".join(lines)


def _numbers_of(rig: Rig) -> list[int]:
    """The numbers that the names end in where these differ, else the places in the rig."""
    found = [re.search(r"(\d{1,9})$", name) for name in rig.names]
    ends = [int(match[1]) for match in found if match]
    return ends if len(set(ends)) == len(rig) else list(range(len(rig)))
