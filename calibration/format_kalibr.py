"""Kalibr's camchain yaml: cam0, cam1, ... with `T_cn_cnm1`, which maps coordinates in the camera before to those in this one.

Pinhole cameras with radtan (k1 k2 p1 p2: a brown lens with k3 = 0), equidistant (Kannala & Brandt 2006: our fisheye) or no
distortion; metres. Kalibr has no world: cam0 is its origin. A world of our own is kept the way mrcal keeps it, as a T_cn_cnm1
of cam0 (cam0_from_world), which Kalibr does not read. Cameras are named by their keys, or by an extra key `name`, which Kalibr
passes over. Not held: k3, rational lenses and a skewed K (refused), stereo pairs, covariances. IMU fields are not read.

Source: Kalibr's wiki page "yaml formats" and kalibr_common/ConfigReader.py; mrcal-to-kalibr(1).
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from calibration.camera import Camera
from calibration.errors import CalibrationError
from calibration.format_fields import Array, camera, get, name, numbers, rotation
from calibration.rig import Rig
from calibration.transforms import Rigid

LENS_OF = {"radtan": "brown", "equidistant": "fisheye", "equi": "fisheye", "none": "brown"}


def matches(content: dict[Any, Any]) -> bool:
    """Whether these are the tables of a camchain."""
    return any("camera_model" in content[key] for key in _keys(content) if isinstance(content[key], dict))


def read(content: dict[Any, Any], path: Path) -> Rig:
    """The rig of the tables, cam0 first. CalibrationError naming file, camera and field, also for a gap in the chain."""
    keys = _keys(content)
    if keys != [f"cam{n}" for n in range(len(keys))]:
        raise CalibrationError(f"{path}: expected cam0, cam1, ... without a gap, found {', '.join(keys)[:200]}")
    pose, cameras = Rigid.identity(), []
    for key in keys:
        where = f"{path}: camera {key}"
        table = content[key]
        if not isinstance(table, dict):
            raise CalibrationError(f"{where}: expected a table, found {str(table)[:80]!r}")
        if key != "cam0" or "T_cn_cnm1" in table:
            pose = _motion(table, where) @ pose
        cameras.append(_camera(key, table, pose, where))
    return Rig(tuple(cameras))


def _keys(content: dict[Any, Any]) -> list[str]:
    found = [key for key in content if isinstance(key, str) and re.fullmatch(r"cam\d{1,4}", key, re.ASCII)]
    return sorted(found, key=lambda key: int(key[3:]))


def _motion(table: dict[Any, Any], where: str) -> Rigid:
    T = numbers(table, "T_cn_cnm1", where, (4, 4))
    if (T[3] != (0, 0, 0, 1)).any():
        raise CalibrationError(f"{where}: T_cn_cnm1: expected a last row 0 0 0 1, found {T[3].tolist()}")
    return Rigid(rotation(T[:3, :3], where, "T_cn_cnm1"), T[:3, 3])


def _camera(key: str, table: dict[Any, Any], pose: Rigid, where: str) -> Camera:
    model, distortion = get(table, "camera_model", where), get(table, "distortion_model", where)
    if model != "pinhole":
        raise CalibrationError(
            f"{where}: camera_model: {str(model)[:80]}: posemill has no such camera; calibrate with the model "
            "pinhole-radtan or pinhole-equi"
        )
    if distortion not in tuple(LENS_OF):
        raise CalibrationError(f"{where}: distortion_model: expected radtan, equidistant or none, found {str(distortion)[:80]}")
    fx, fy, cx, cy = numbers(table, "intrinsics", where, (4,))
    return camera(
        where,
        name=name(table.get("name", key), where),
        size=numbers(table, "resolution", where, (2,)),
        K=np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]),
        dist=np.zeros(5) if distortion == "none" else numbers(table, "distortion_coeffs", where, (4,)),
        lens=LENS_OF[distortion],
        R=pose.R,
        t_m=pose.t,
    )


def write(rig: Rig) -> str:
    """The camchain of a rig, in rig order. CalibrationError naming the camera and what Kalibr cannot hold."""
    content = {f"cam{n}": _entry(each, n) for n, each in enumerate(rig.cameras)}
    first = rig.cameras[0].cam_from_world
    if (first.matrix != np.eye(4)).any():
        content["cam0"]["T_cn_cnm1"] = first.matrix.tolist()
    for n, (before, each) in enumerate(pairwise(rig.cameras), start=1):
        content[f"cam{n}"]["T_cn_cnm1"] = (each.cam_from_world @ before.cam_from_world.inverse()).matrix.tolist()
    return yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)


def _entry(each: Camera, number: int) -> dict[str, Any]:
    K, key = each.K, f"cam{number}"
    if K[0, 1] != 0:
        raise CalibrationError(f"camera {each.name}: K: Kalibr has no skew, found {K[0, 1]:g}; write another format")
    entry: dict[str, Any] = {
        "camera_model": "pinhole",
        "intrinsics": [float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])],
        "distortion_model": "equidistant" if each.lens == "fisheye" else "radtan",
        "distortion_coeffs": _coefficients(each).tolist(),
        "resolution": list(each.size_wh),
        "rostopic": f"/{key}/image_raw",  # Kalibr's tools refuse a camera without one
    }
    return entry if each.name == key else {"name": each.name, **entry}


def _coefficients(each: Camera) -> Array:
    if each.lens == "rational":
        raise CalibrationError(f"camera {each.name}: lens: Kalibr has no rational lens; calibrate it as fisheye or without k3")
    if each.lens == "brown" and each.dist[4] != 0:
        raise CalibrationError(
            f"camera {each.name}: dist: Kalibr's radtan has no k3, and this lens has k3 = {each.dist[4]:g}; calibrate it with "
            "k3 = 0, or write another format"
        )
    return each.dist[:4]
