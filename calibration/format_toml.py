"""The toml of Pose2Sim and aniposelib: a table per camera, `rotation` (Rodrigues, rad) and `translation` of cam_from_world.

Pose2Sim writes metres; aniposelib writes whatever unit its board was given in, and nothing in the file tells. Also read: the
older config.toml of caliscope (rotation as a matrix). Held besides the cameras, below [metadata] where both tools look for
nothing else: stereo pairs and the covariance of the poses. Not held: the covariance of the lenses.
"""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from calibration.camera import Camera
from calibration.errors import CalibrationError
from calibration.format_fields import numbers, square, stereo_pairs, table_camera, toml_text
from calibration.rig import Rig

# Tables of such a file that are no cameras (Pose2Sim's common.py, caliscope's config.toml).
NOT_CAMERAS = {"metadata", "capture_volume", "charuco", "checkerboard", "point_estimates"}


def matches(content: dict[Any, Any]) -> bool:
    """Whether these are tables of cameras."""
    return any(isinstance(table, dict) and "matrix" in table for table in content.values())


def read(content: dict[Any, Any], path: Path) -> Rig:
    """The rig of the tables, lengths as they stand there. CalibrationError naming file, camera and field."""
    tables = {key: table for key, table in content.items() if isinstance(table, dict) and key not in NOT_CAMERAS}
    cameras = tuple(_camera(str(key), table, f"{path}: camera {key}") for key, table in tables.items())
    extra = content.get("metadata", {})
    if not isinstance(extra, dict):
        raise CalibrationError(f"{path}: metadata: expected a table, found {str(extra)[:80]!r}")
    pairs = stereo_pairs(extra.get("stereo_pairs"), str(path))
    return Rig(cameras, pairs, square(extra, "covariance", str(path), 6 * len(cameras)))


def _camera(key: str, table: dict[Any, Any], where: str) -> Camera:
    return table_camera(table, where, key, partial(numbers, shape=(3,)))


def write(rig: Rig) -> str:
    """The toml text of a rig, in metres. CalibrationError for a camera called like a table that is no camera."""
    lines = []
    for each in rig.cameras:
        if each.name in NOT_CAMERAS:
            raise CalibrationError(f"camera {each.name}: Pose2Sim's toml has a table of that name; rename the camera")
        key = each.name if re.fullmatch(r"[A-Za-z0-9_-]+", each.name) else toml_text(each.name)
        lines += [
            f"[{key}]",
            f"name = {toml_text(each.name)}",
            f"size = {json.dumps([float(v) for v in each.size_wh])}",
            f"matrix = {json.dumps(each.K.tolist())}",
            f"distortions = {json.dumps(each.dist.tolist())}",
            f"rotation = {json.dumps(each.cam_from_world.rvec.tolist())}",
            f"translation = {json.dumps(each.cam_from_world.t.tolist())}",
            f"fisheye = {json.dumps(each.lens == 'fisheye')}",
            "",
        ]
    lines += ["[metadata]", "adjusted = false", "error = 0.0"]
    if rig.stereo_pairs:
        pairs = ", ".join(f"[{toml_text(left)}, {toml_text(right)}]" for left, right in rig.stereo_pairs)
        lines.append(f"stereo_pairs = [{pairs}]")
    if rig.covariance is not None:
        lines.append(f"covariance = {json.dumps(np.asarray(rig.covariance).tolist())}")
    return "\n".join(lines) + "\n"
