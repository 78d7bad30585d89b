"""What the rig formats share: fields of a table, and a camera from its fields. Every error names file, camera and field."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.camera import LENSES, Camera
from calibration.errors import CalibrationError
from calibration.transforms import Rigid

Array = NDArray[np.float64]

# A hundred times the sides of a film camera; a larger size is a broken file.
LARGEST_PX = 1_000_000


def get(table: Any, field: str, where: str) -> Any:
    """A field of a table. CalibrationError saying what there is instead."""
    if not isinstance(table, dict) or field not in table:
        has = ", ".join(map(str, table)) if isinstance(table, dict) else repr(table)
        raise CalibrationError(f"{where}: {field}: missing; found only {has[:200] or 'an empty table'}")
    return table[field]


def numbers(table: Any, field: str, where: str, shape: tuple[int, ...] | None = None) -> Array:
    """A field as finite float64 of a shape (any length, flattened, when shape is None). CalibrationError else."""
    value = get(table, field, where)
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise CalibrationError(f"{where}: {field}: expected numbers, found {str(value)[:80]}") from None
    array = array.reshape(-1) if shape is None else array
    if shape is not None and array.shape != shape:
        raise CalibrationError(f"{where}: {field}: expected shape {shape}, found {array.shape}")
    if not np.isfinite(array).all():
        raise CalibrationError(f"{where}: {field}: NaN or infinity; calibrate this camera again or mend the file")
    return array


def vector(table: Any, field: str, where: str, size: int) -> Array:
    """A field of `size` numbers, written as a row or as a column."""
    found = numbers(table, field, where)
    if found.size != size:
        raise CalibrationError(f"{where}: {field}: expected {size} numbers, found {found.size}")
    return found


def flag(table: dict[Any, Any], field: str, where: str) -> bool:
    """A yes-or-no field, written as a boolean or as 0 and 1; a missing one is no."""
    if field not in table:
        return False
    value = float(numbers(table, field, where, ()))
    if value not in (0.0, 1.0):
        raise CalibrationError(f"{where}: {field}: expected true or false, found {value:g}")
    return bool(value)


def name(value: Any, where: str, field: str = "name") -> str:
    """A camera's name: text, or the number that yaml made of it."""
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise CalibrationError(f"{where}: {field}: expected a name, found {str(value)[:80]!r}")
    return str(value)


def rotation(values: Array, where: str, field: str) -> Array:
    """R (3, 3) from a rotation matrix, or from a Rodrigues vector of three numbers in radians."""
    if values.size not in (3, 9):
        raise CalibrationError(f"{where}: {field}: expected 3 numbers (Rodrigues) or 3 x 3, found {values.size}")
    if values.size == 3:
        with np.errstate(all="ignore"):
            try:
                return Rigid.from_rvec(values.reshape(3), np.zeros(3)).R
            except CalibrationError as error:
                raise CalibrationError(f"{where}: {field}: no Rodrigues vector: {values.reshape(-1).tolist()}") from error
    R = values.reshape(3, 3)
    if not rotation_defect(R) <= 1e-6 or np.linalg.det(R) < 0:
        raise CalibrationError(
            f"{where}: {field}: not a rotation (R R' differs from the identity by {rotation_defect(R):.1e}, "
            f"determinant {np.linalg.det(R):.3f})"
        )
    return R


def rotation_defect(R: Array) -> float:
    """How far R R' (3, 3) is from the identity; NaN where the numbers overflow."""
    with np.errstate(all="ignore"):
        return float(np.abs(R @ R.T - np.eye(3)).max())


def lens_of(dist: Array, fisheye: bool, where: str, field: str) -> tuple[str, Array]:
    """Lens and its coefficients from OpenCV's (n,): 4 or 5 brown, 8 rational, 4 fisheye where the file says so.

    12 and 14 coefficients are rational when their thin-prism and tilt parts are zero (OpenCV fills them up), else refused.
    """
    lens = "fisheye" if fisheye else "rational" if dist.size > 5 else "brown"
    if dist.size not in {"fisheye": (4,), "rational": (8, 12, 14), "brown": (4, 5)}[lens]:
        raise CalibrationError(
            f"{where}: {field}: found {dist.size} coefficients; a brown lens has 4 or 5, a rational one 8, a fisheye 4"
        )
    if dist[8:].any():
        raise CalibrationError(f"{where}: {field}: thin-prism or tilted-sensor coefficients; posemill has no such lens")
    return lens, dist[: LENSES[lens]]


def camera(where: str, *, name: str, size: Array, K: Array, dist: Array, lens: str, R: Array, t_m: Array) -> Camera:
    """A camera from fields that were read with `numbers`: size (2,) px, K (3, 3), R (3, 3), t_m (3,)."""
    if (size != np.rint(size)).any() or (np.abs(size) > LARGEST_PX).any():
        raise CalibrationError(f"{where}: size: expected whole pixels below {LARGEST_PX}, found {size.tolist()}")
    if K[1, 0] != 0 or (K[2] != (0, 0, 1)).any():
        raise CalibrationError(f"{where}: K: expected [[fx, s, cx], [0, fy, cy], [0, 0, 1]], found {K.tolist()} (transposed?)")
    try:
        return Camera(name, (int(size[0]), int(size[1])), K, dist, lens, Rigid(rotation(R, where, "R"), t_m))
    except CalibrationError as error:
        raise error if str(error).startswith(where) else CalibrationError(f"{where}: {error}") from error


def table_camera(table: dict[Any, Any], where: str, key: str, vector_m: Callable[..., Array]) -> Camera:
    """The camera of a toml table as aniposelib began and others go on writing it; called `key` where it has no name.

    vector_m: reads a vector as this format writes it, from (table, field, where).
    """
    lens, dist = lens_of(numbers(table, "distortions", where), flag(table, "fisheye", where), where, "distortions")
    return camera(
        where,
        name=name(table.get("name", key), where),
        size=numbers(table, "size", where, (2,)),
        K=numbers(table, "matrix", where, (3, 3)),
        dist=dist,
        lens=lens,
        R=rotation(numbers(table, "rotation", where), where, "rotation"),
        t_m=vector_m(table, "translation", where),
    )


def stereo_pairs(value: Any, where: str) -> tuple[tuple[str, str], ...]:
    """Pairs (left, right) of camera names; nothing there is no pair."""
    pairs = value or []
    if not isinstance(pairs, list) or any(not isinstance(pair, list) or len(pair) != 2 for pair in pairs):
        raise CalibrationError(f"{where}: stereo_pairs: expected pairs of camera names, found {str(pairs)[:80]}")
    return tuple((name(left, where, "stereo_pairs"), name(right, where, "stereo_pairs")) for left, right in pairs)


def square(table: dict[Any, Any], field: str, where: str, size: int) -> Array | None:
    """A covariance (size, size), or None where there is none."""
    if field not in table:
        return None
    found = numbers(table, field, where)
    if found.size != size * size:
        raise CalibrationError(f"{where}: {field}: expected {size} x {size} numbers, found {found.size}")
    return found.reshape(size, size)


def toml_text(text: str) -> str:
    """A text as toml writes it. (json would cut characters beyond 16 bits into two, which toml refuses.)"""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
