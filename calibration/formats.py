"""Rigs as files: posemill's yaml, and the toml of Pose2Sim and aniposelib. The only module here that touches files."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from calibration.camera import Camera
from calibration.errors import CalibrationError
from calibration.rig import Rig
from calibration.transforms import Rigid

Array = NDArray[np.float64]

SCHEMA_VERSION = 1
KNOWN = "posemill's rig .yaml (posemill_rig: 1), Pose2Sim / aniposelib .toml (a table per camera with matrix and distortions)"
# Tables of a Pose2Sim or aniposelib file that are no cameras (Pose2Sim, common.py).
NOT_CAMERAS = {"metadata", "capture_volume", "charuco", "checkerboard"}
# No rig that films people is wider: a larger one was written in millimetres.
WIDEST_M = 500.0


def load_rig(path: Path | str) -> Rig:
    """The rig of a file, whatever known format it holds (chosen by content): metres, radians, pixels.

    Raises CalibrationError naming the file, the camera and the field for a missing field, NaN, a wrong shape or a matrix
    that is no rotation, and listing the known formats for anything else.
    """
    path = Path(path)
    content = _parse(path)
    try:
        if "posemill_rig" in content:
            return _from_yaml(content, path)
        if any(isinstance(table, dict) and "matrix" in table for table in content.values()):
            return _from_toml(content, path)
    except CalibrationError as error:
        raise error if str(path) in str(error) else CalibrationError(f"{path}: {error}") from error
    raise CalibrationError(f"{path}: no known rig format; known are {KNOWN}")


def save_rig(rig: Rig, path: Path | str) -> None:
    """Write a rig as posemill's .yaml (every number comes back bit for bit) or Pose2Sim's .toml, chosen by the ending; atomic.

    Raises CalibrationError for another ending.
    """
    path = Path(path)
    writers = {".yaml": _to_yaml, ".yml": _to_yaml, ".toml": _to_toml}
    if path.suffix.lower() not in writers:
        raise CalibrationError(f"{path}: expected a name that ends in {', '.join(writers)}, got {path.suffix or 'no ending'}")
    _write_atomically(path, writers[path.suffix.lower()](rig))


def _parse(path: Path) -> dict[str, Any]:
    """The file as nested dictionaries: toml if it is toml, else yaml."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(f"{path}: cannot be read as a rig ({error}); known formats are {KNOWN}") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as toml_error:
        try:
            content = yaml.safe_load(text)
        except yaml.YAMLError as yaml_error:
            broken = toml_error if path.suffix == ".toml" else " ".join(str(yaml_error).split())
            raise CalibrationError(f"{path}: neither toml nor yaml ({broken}); known formats are {KNOWN}") from yaml_error
    if not isinstance(content, dict):
        raise CalibrationError(f"{path}: no known rig format; known are {KNOWN}")
    return content


# --- posemill's yaml ---


def _from_yaml(content: dict[str, Any], path: Path) -> Rig:
    if content["posemill_rig"] != SCHEMA_VERSION:
        found = content["posemill_rig"]
        raise CalibrationError(f"{path}: posemill_rig: this version reads schema {SCHEMA_VERSION}, found {found!r}")
    entries = content.get("cameras")
    if not isinstance(entries, list) or not entries:
        raise CalibrationError(f"{path}: cameras: expected a list of cameras, found {type(entries).__name__}")
    cameras = [_yaml_camera(entry, f"{path}: camera {_name_of(entry, n)}") for n, entry in enumerate(entries)]
    return _rig(cameras, content, str(path))


def _yaml_camera(entry: Any, where: str) -> Camera:
    pose = _get(entry, "cam_from_world", where)
    return _camera(
        where,
        name=str(_get(entry, "name", where)),
        size=_numbers(entry, "size_wh", where, (2,)),
        K=_numbers(entry, "K", where, (3, 3)),
        dist=_numbers(entry, "dist", where),
        lens=str(_get(entry, "lens", where)),
        R=_numbers(pose, "R", f"{where}: cam_from_world", (3, 3)),
        t_m=_numbers(pose, "t_m", f"{where}: cam_from_world", (3,)),
    )


def _to_yaml(rig: Rig) -> str:
    content: dict[str, Any] = {"posemill_rig": SCHEMA_VERSION, "units": {"length": "m", "image": "px"}}
    content["cameras"] = [
        {
            "name": camera.name,
            "size_wh": list(camera.size_wh),
            "lens": camera.lens,
            "K": camera.K.tolist(),
            "dist": camera.dist.tolist(),
            "cam_from_world": {"R": camera.cam_from_world.R.tolist(), "t_m": camera.cam_from_world.t.tolist()},
        }
        for camera in rig.cameras
    ]
    content["stereo_pairs"] = [list(pair) for pair in rig.stereo_pairs]
    if rig.covariance is not None:
        content["covariance"] = np.asarray(rig.covariance).tolist()
    return yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)


# --- Pose2Sim and aniposelib toml ---


def _from_toml(content: dict[str, Any], path: Path) -> Rig:
    tables = {key: table for key, table in content.items() if key not in NOT_CAMERAS}
    cameras = [_toml_camera(key, table, f"{path}: camera {key}") for key, table in tables.items()]
    rig = _rig(cameras, content.get("metadata", {}), str(path))
    centres = np.stack([camera.centre_m for camera in rig.cameras])
    widest = float(np.linalg.norm(centres[:, None] - centres[None], axis=-1).max())
    if widest > WIDEST_M:
        raise CalibrationError(
            f"{path}: translation: the cameras stand up to {widest:.0f} m apart; translations must be in metres "
            "(written in millimetres? divide them by 1000)"
        )
    return rig


def _toml_camera(key: str, table: Any, where: str) -> Camera:
    dist = _numbers(table, "distortions", where)
    lens = "fisheye" if table.get("fisheye") else "rational" if dist.size == 8 else "brown"
    return _camera(
        where,
        name=str(table.get("name", key)),
        size=_numbers(table, "size", where, (2,)),
        K=_numbers(table, "matrix", where, (3, 3)),
        dist=dist,
        lens=lens,
        R=Rigid.from_rvec(_numbers(table, "rotation", where, (3,)), np.zeros(3)).R,
        t_m=_numbers(table, "translation", where, (3,)),
    )


def _to_toml(rig: Rig) -> str:
    lines = []
    for camera in rig.cameras:
        key = camera.name if re.fullmatch(r"[A-Za-z0-9_-]+", camera.name) else json.dumps(camera.name)
        lines += [
            f"[{key}]",
            f"name = {json.dumps(camera.name)}",
            f"size = {json.dumps([float(v) for v in camera.size_wh])}",
            f"matrix = {json.dumps(camera.K.tolist())}",
            f"distortions = {json.dumps(camera.dist.tolist())}",
            f"rotation = {json.dumps(camera.cam_from_world.rvec.tolist())}",
            f"translation = {json.dumps(camera.cam_from_world.t.tolist())}",
            f"fisheye = {json.dumps(camera.lens == 'fisheye')}",
            "",
        ]
    lines += ["[metadata]", "adjusted = false", "error = 0.0"]
    if rig.stereo_pairs:
        lines.append(f"stereo_pairs = {json.dumps(rig.stereo_pairs)}")
    if rig.covariance is not None:
        lines.append(f"covariance = {json.dumps(np.asarray(rig.covariance).tolist())}")
    return "\n".join(lines) + "\n"


# --- what the formats share ---


def _name_of(entry: Any, number: int) -> str:
    return str(entry["name"]) if isinstance(entry, dict) and "name" in entry else f"number {number + 1}"


def _get(table: Any, field: str, where: str) -> Any:
    if not isinstance(table, dict) or field not in table:
        has = ", ".join(map(str, table)) if isinstance(table, dict) else repr(table)
        raise CalibrationError(f"{where}: {field}: missing; found only {has or 'an empty table'}")
    return table[field]


def _numbers(table: Any, field: str, where: str, shape: tuple[int, ...] | None = None) -> Array:
    """A field as finite float64 of a shape (any length when shape is None)."""
    value = _get(table, field, where)
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise CalibrationError(f"{where}: {field}: expected numbers, found {str(value)[:80]}") from None
    array = array.reshape(-1) if shape is None else array
    if shape is not None and array.shape != shape:
        raise CalibrationError(f"{where}: {field}: expected shape {shape}, found {array.shape}")
    if not np.isfinite(array).all():
        raise CalibrationError(f"{where}: {field}: NaN or infinity; calibrate this camera again or mend the file")
    return array


def _camera(where: str, *, name: str, size: Array, K: Array, dist: Array, lens: str, R: Array, t_m: Array) -> Camera:
    if (size != np.rint(size)).any():
        raise CalibrationError(f"{where}: size: expected whole pixels, found {size.tolist()}")
    worst = float(np.abs(R @ R.T - np.eye(3)).max())
    if worst > 1e-6 or np.linalg.det(R) < 0:
        raise CalibrationError(
            f"{where}: R: not a rotation (R R' differs from the identity by {worst:.1e}, determinant {np.linalg.det(R):.3f})"
        )
    try:
        return Camera(name, (int(size[0]), int(size[1])), K, dist, lens, Rigid(R, t_m))
    except CalibrationError as error:
        raise CalibrationError(f"{where}: {error}") from error


def _rig(cameras: Iterable[Camera], table: dict[str, Any], where: str) -> Rig:
    pairs = table.get("stereo_pairs") or []
    if not isinstance(pairs, list) or any(not isinstance(p, list) or len(p) != 2 for p in pairs):
        raise CalibrationError(f"{where}: stereo_pairs: expected pairs of camera names, found {pairs!r}")
    covariance = _numbers(table, "covariance", where) if "covariance" in table else None
    cameras = tuple(cameras)
    if covariance is not None:
        size = 6 * len(cameras)
        if covariance.size != size * size:
            raise CalibrationError(f"{where}: covariance: expected {size} x {size} numbers, found {covariance.size}")
        covariance = covariance.reshape(size, size)
    return Rig(cameras, tuple((str(left), str(right)) for left, right in pairs), covariance)


def _write_atomically(path: Path, text: str) -> None:
    """A reader sees the old file or the new one: temporary name, fsync, rename."""
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
