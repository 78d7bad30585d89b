"""OpenCV's FileStorage, yaml or xml: one camera, a stereo pair, or a rig of C cameras; x_cam = R x_world + T.

FileStorage is a container without a schema; what stands in it by custom is read:

* one camera: camera_matrix, distortion_coefficients, image_width, image_height (OpenCV's calibration sample; ROS camera_info
  without tags); the camera stands at the origin and is called like the file, or by `camera_name`;
* a stereo pair: M1 D1 M2 D2 R T (OpenCV's stereo_calib; K1 and K2 too) in one file with image_width and image_height, which the
  sample forgets to write; the cameras are called left and right, and left stands at the origin. E F R1 R2 P1 P2 Q follow from
  the rest and are not read;
* a rig: `names`, then K_NAME dist_NAME R_NAME (Rodrigues) Rot_NAME (matrix) T_NAME H_NAME W_NAME (EasyMocap's intri.yml and
  extri.yml, here in one file: the most common layout of many cameras).

A rig is written in the last layout, and one camera or one stereo pair in the first or second as well, for OpenCV's own readers.
Lengths are in whatever unit the board was given in, and nothing in the file tells; metres are written. Fisheye lenses have four
coefficients like the oldest brown ones: `fisheye_model: 1` (OpenCV's sample), or `fisheye_NAME: 1` in a rig, tells them apart.
Held besides: stereo pairs. Not held: covariances, and names of other characters than A-Z a-z 0-9 - _ (refused).

Source: OpenCV's samples calibration.cpp and stereo_calib.cpp; EasyMocap, easymocap/mytools/camera_utils.py.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from calibration.camera import Camera
from calibration.errors import CalibrationError
from calibration.format_fields import Array, camera, flag, get, lens_of, name, numbers, rotation, rotation_defect, vector
from calibration.rig import Rig

# EasyMocap writes six digits: such a matrix is a rotation to 1e-6 only, and its Rodrigues vector gives an exact one.
WORST_MATRIX = 1e-9
# A camera's name inside a key, and as a text that yaml must not take for a truth value.
NAME = re.compile(r"(?!(?:yes|no|on|off|true|false|null|y|n)\Z)[A-Za-z0-9_][A-Za-z0-9_-]*", re.IGNORECASE | re.ASCII)
# OpenCV's words for what is no number, which Python does not read.
NO_NUMBERS = {".Nan": "nan", ".NaN": "nan", ".Inf": "inf", "-.Inf": "-inf"}
MATRIX = ("camera_matrix", "cameraMatrix", "Camera_Matrix")
COEFFICIENTS = ("distortion_coefficients", "distCoeffs", "Distortion_Coefficients")
SIZES = ("image_size", "imageSize", "size")


def matches(content: dict[Any, Any]) -> bool:
    """Whether the nodes are those of one camera, a stereo pair or a rig."""
    return _is_rig(content) or _pair_letter(content) != "" or any(field in content for field in MATRIX)


def read(content: dict[Any, Any], path: Path) -> Rig:
    """The rig of the nodes, lengths as they stand there. CalibrationError naming file, camera and field."""
    if _is_rig(content):
        return _read_rig(content, path)
    if letter := _pair_letter(content):
        return _read_pair(content, letter, path)
    return Rig((_read_single(content, path),))


def _is_rig(content: dict[Any, Any]) -> bool:
    return "names" in content and any(str(key).startswith("K_") for key in content)


def _pair_letter(content: dict[Any, Any]) -> str:
    return next((letter for letter in "MK" if f"{letter}1" in content and f"{letter}2" in content), "")


def _read_single(content: dict[Any, Any], path: Path) -> Camera:
    title = name(content.get("camera_name") or path.stem, str(path), "camera_name")
    where = f"{path}: camera {title}"
    fisheye = flag(content, "fisheye_model", where) or content.get("distortion_model") in ("equidistant", "fisheye")
    field = _first(content, COEFFICIENTS)
    lens, dist = lens_of(_matrix(content, field, where).reshape(-1), fisheye, where, field)
    K = _matrix(content, _first(content, MATRIX), where, (3, 3))
    size = _size(content, where)
    return camera(where, name=title, size=size, K=K, dist=dist, lens=lens, R=np.eye(3), t_m=np.zeros(3))


def _read_pair(content: dict[Any, Any], letter: str, path: Path) -> Rig:
    where = f"{path}: camera right"
    R = rotation(_matrix(content, "R", where), where, "R")
    T = _vector(content, "T", where)
    fisheye = flag(content, "fisheye_model", str(path))
    cameras = []
    for n, title, pose in ((1, "left", (np.eye(3), np.zeros(3))), (2, "right", (R, T))):
        where = f"{path}: camera {title}"
        lens, dist = lens_of(_matrix(content, f"D{n}", where).reshape(-1), fisheye, where, f"D{n}")
        K = _matrix(content, f"{letter}{n}", where, (3, 3))
        size = _size(content, where)
        cameras.append(camera(where, name=title, size=size, K=K, dist=dist, lens=lens, R=pose[0], t_m=pose[1]))
    return Rig(tuple(cameras), (("left", "right"),))


def _read_rig(content: dict[Any, Any], path: Path) -> Rig:
    names = _texts(content, "names", path)
    pairs = _texts(content, "stereo_pairs", path) if "stereo_pairs" in content else []
    if len(pairs) % 2:
        raise CalibrationError(f"{path}: stereo_pairs: expected left and right in turn, found {len(pairs)} names")
    cameras = tuple(_read_named(content, each, f"{path}: camera {each}") for each in names)
    return Rig(cameras, tuple(zip(pairs[::2], pairs[1::2], strict=True)))


def _read_named(content: dict[Any, Any], title: str, where: str) -> Camera:
    if f"T_{title}" not in content:
        raise CalibrationError(f"{where}: T_{title}: missing; EasyMocap keeps poses in extri.yml: put both files into one")
    field = f"dist_{title}" if f"dist_{title}" in content else f"D_{title}"
    dist = _matrix(content, field, where).reshape(-1)
    lens, dist = lens_of(dist, flag(content, f"fisheye_{title}", where), where, field)
    size = [float(numbers(content, f"{side}_{title}", where, ())) for side in "WH"]
    return camera(
        where,
        name=title,
        size=np.array(size),
        K=_matrix(content, f"K_{title}", where, (3, 3)),
        dist=dist,
        lens=lens,
        R=_orientation(content, title, where),
        t_m=_vector(content, f"T_{title}", where),
    )


def _orientation(content: dict[Any, Any], title: str, where: str) -> Array:
    """From Rot_ where it is a rotation to the last digits, else from the Rodrigues vector R_ beside it."""
    if f"Rot_{title}" not in content:
        return rotation(_matrix(content, f"R_{title}", where), where, f"R_{title}")
    R = _matrix(content, f"Rot_{title}", where, (3, 3))
    if f"R_{title}" in content and not rotation_defect(R) < WORST_MATRIX:
        return rotation(_matrix(content, f"R_{title}", where), where, f"R_{title}")
    return rotation(R, where, f"Rot_{title}")


def _size(content: dict[Any, Any], where: str) -> Array:
    for field in SIZES:
        if field in content:
            return _vector(content, field, where, 2)
    if "image_width" not in content or "image_height" not in content:
        raise CalibrationError(f"{where}: image_width, image_height: missing; add them to the file, in px")
    return np.array([float(numbers(content, field, where, ())) for field in ("image_width", "image_height")])


def _texts(content: dict[Any, Any], field: str, path: Path) -> list[str]:
    found = content[field]
    return [name(each, str(path), field) for each in (found if isinstance(found, list) else [found])]


def _first(content: dict[Any, Any], fields: tuple[str, ...]) -> str:
    return next((field for field in fields if field in content), fields[0])


def _vector(content: dict[Any, Any], field: str, where: str, size: int = 3) -> Array:
    return vector({field: _matrix(content, field, where)}, field, where, size)


def _matrix(content: dict[Any, Any], field: str, where: str, shape: tuple[int, ...] | None = None) -> Array:
    """An opencv-matrix (rows, cols, data), or plain nested lists."""
    node = get(content, field, where)
    if isinstance(node, dict):
        rows, cols = (float(numbers(node, side, f"{where}: {field}", ())) for side in ("rows", "cols"))
        data = get(node, "data", f"{where}: {field}")
        words = (
            [NO_NUMBERS.get(each, each) if isinstance(each, str) else each for each in data] if isinstance(data, list) else data
        )
        node = numbers({field: words}, field, where)
        if node.size != rows * cols:
            raise CalibrationError(f"{where}: {field}: expected rows x cols = {rows:g} x {cols:g} numbers, found {node.size}")
        node = node.reshape(int(rows), int(cols))
    return numbers({field: node}, field, where, shape)


# --- writing ---


def write_yaml(rig: Rig) -> str:
    """The FileStorage yaml of a rig, in metres. CalibrationError for a name that OpenCV cannot have in a key."""
    return _write(rig, ".yml")


def write_xml(rig: Rig) -> str:
    """The FileStorage xml of a rig, in metres. CalibrationError for a name that OpenCV cannot have in a key."""
    return _write(rig, ".xml")


def _write(rig: Rig, ending: str) -> str:
    for title in rig.names:
        if not NAME.fullmatch(title):
            raise CalibrationError(
                f"camera {title}: OpenCV's keys hold letters, digits, - and _ (no bare yes, no, null); rename it"
            )
    storage = cv2.FileStorage(ending, cv2.FileStorage_WRITE | cv2.FileStorage_MEMORY)
    _write_texts(storage, "names", rig.names)
    if rig.stereo_pairs:
        _write_texts(storage, "stereo_pairs", tuple(title for pair in rig.stereo_pairs for title in pair))
    for each in rig.cameras:
        _write_named(storage, each)
    if len(rig) == 1:
        _write_single(storage, rig.cameras[0])
    elif len(rig) == 2 and len(rig.stereo_pairs) == 1:
        _write_pair(storage, *(rig[title] for title in rig.stereo_pairs[0]))
    return str(storage.releaseAndGetString())


def _write_texts(storage: cv2.FileStorage, key: str, texts: tuple[str, ...]) -> None:
    storage.startWriteStruct(key, cv2.FileNode_SEQ)
    for text in texts:
        storage.write("", text)
    storage.endWriteStruct()


def _write_named(storage: cv2.FileStorage, each: Camera) -> None:
    pose = each.cam_from_world
    storage.write(f"K_{each.name}", each.K)
    storage.write(f"dist_{each.name}", each.dist[None])
    storage.write(f"W_{each.name}", each.size_wh[0])
    storage.write(f"H_{each.name}", each.size_wh[1])
    storage.write(f"R_{each.name}", pose.rvec[:, None])
    storage.write(f"Rot_{each.name}", pose.R)
    storage.write(f"T_{each.name}", pose.t[:, None])
    if each.lens == "fisheye":
        storage.write(f"fisheye_{each.name}", 1)


def _write_single(storage: cv2.FileStorage, each: Camera) -> None:
    _write_shared(storage, each)
    storage.write("camera_matrix", each.K)
    storage.write("distortion_coefficients", each.dist[:, None])


def _write_pair(storage: cv2.FileStorage, left: Camera, right: Camera) -> None:
    """The stereo nodes, where both cameras share a size and a lens: the layout has one of each."""
    if (left.size_wh, left.lens) != (right.size_wh, right.lens):
        return
    _write_shared(storage, left)
    right_from_left = right.cam_from_world @ left.cam_from_world.inverse()
    for n, each in ((1, left), (2, right)):
        storage.write(f"M{n}", each.K)
        storage.write(f"D{n}", each.dist[None])
    storage.write("R", right_from_left.R)
    storage.write("T", right_from_left.t[:, None])


def _write_shared(storage: cv2.FileStorage, each: Camera) -> None:
    storage.write("image_width", each.size_wh[0])
    storage.write("image_height", each.size_wh[1])
    storage.write("fisheye_model", int(each.lens == "fisheye"))
