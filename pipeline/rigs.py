"""Rigs as stages need them: imported under the session's camera names, read back, and held against a clip's videos."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from calibration.camera import Camera
from calibration.errors import CalibrationError
from calibration.formats import DEFAULT_KINDS, left_behind, load_rig, save_rig
from calibration.rig import Rig
from calibration.transforms import Rigid
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


def convert_rig(path: Path, out: Path, kind: str = "", unit: str = "m") -> tuple[Rig, str, tuple[str, ...]]:
    """A rig file written again in another format (`save_rig`'s kind; "" by the ending of `out`), its lengths read in `unit`.

    Returns the rig, the kind written and what of the rig that kind does not keep. Never writes over a file. Raises InputError
    naming the file, the camera and what is wrong or cannot be held.
    """
    if out.exists():
        raise InputError(f"{out}: is there already and is never written over; name a new file")
    try:
        rig = load_rig(path, unit)
        save_rig(rig, out, kind)
    except CalibrationError as error:
        raise InputError(str(error)) from error
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error})") from error
    written = kind or DEFAULT_KINDS[out.suffix.lower()]
    return rig, written, left_behind(rig, written)


def _name_key(name: str) -> tuple[str, ...]:
    return tuple(part.lstrip("0") for part in re.findall(r"[a-z]+|\d+", name.lower()))


def posed_like(lens: Camera, imported: Camera) -> Camera:
    """`lens` (solved anew) at the imported centre, turned so that its pixels see the directions they saw in `imported`.

    A pose belongs to the lens it was solved with: a principal point 27 px further left is answered by a camera turned by a
    degree. Least squares over a grid of unit rays (Kabsch 1976); the same lens keeps the imported pose.
    """
    xs, ys = (np.linspace(0, side - 1, 9) for side in imported.size_wh)
    grid_px = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
    rays = [np.insert(camera.undistort(grid_px), 2, 1.0, axis=1) for camera in (imported, lens)]
    before, after = (ray / np.linalg.norm(ray, axis=1, keepdims=True) for ray in rays)
    u, _, vt = np.linalg.svd(after.T @ before)
    turn = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    return lens.with_pose(Rigid(turn, np.zeros(3)) @ imported.cam_from_world)


def check_sizes(rig: Rig, ingest: Artefact, clip: str) -> None:
    """InputError naming every camera whose video is not of the size it was calibrated at, with the choices there are."""
    told = {**ingest.summary["image_origin_px"], **ingest.summary["image_scale"]}
    sizes = ingest.summary["size_wh"]
    problems = {name: size_problem(rig[name], tuple(size)) for name, size in sizes.items() if name not in told}
    wrong = [name for name, problem in problems.items() if problem]
    if wrong:
        found = "\n".join(f"  {problem}" for problem in problems.values() if problem)
        raise InputError(f"clip {clip}: videos of another size than their calibration:\n{found}\n{_choices(rig, sizes, wrong)}")


def size_problem(camera: Camera, size_wh: tuple[int, int]) -> str:
    """The two sizes, when a video is not of the size its camera was calibrated at; else ""."""
    differs = f"camera {camera.name}: the video is {by(size_wh)} px, its calibration {by(camera.size_wh)} px"
    return "" if size_wh == camera.size_wh else differs


def _choices(rig: Rig, sizes: Mapping[str, Sequence[int]], wrong: Sequence[str]) -> str:
    """What a user may do about videos that are not of the calibrated size."""
    corner = " ".join(f"--image-origin {name}=0,0" for name in wrong)
    middles = {name: (np.array(rig[name].size_wh) - sizes[name]) / 2 for name in wrong}
    centred = " ".join(f"--image-origin {name}={x:g},{y:g}" for name, (x, y) in middles.items())
    fitted = " ".join(f"--image-fit {name}=contain" for name in wrong)
    return (
        "Nothing is scaled or shifted unasked. Choices, as options of the same `posemill new` once more:\n"
        f"  1. the video is a crop, its first pixel that pixel of the calibrated image: {corner}, or centred: {centred}\n"
        f"  2. the video is the whole image, resized: {fitted} (black bars), or =stretch (none, sides scaled apart)\n"
        "  3. calibrate these cameras at the video's size\n"
        "  4. export the video again at the calibrated size"
    )


def fit(calibrated_wh: tuple[int, int], size_wh: tuple[int, int], how: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """image_origin_px and image_scale of a video of size_wh that shows the whole calibrated image: `contain` keeps its shape
    between black bars, `stretch` fills the frame. Raises InputError on another word."""
    whole, frame = np.array(calibrated_wh, dtype=float), np.array(size_wh, dtype=float)
    if how not in ("contain", "stretch"):
        raise InputError(f"--image-fit: expected contain or stretch, got {how!r}")
    scale = frame / whole
    if how == "contain":
        scale[:] = scale.min()
    x, y = (whole - frame / scale) / 2  # the bars are even on both sides
    return (float(x), float(y)), (float(scale[0]), float(scale[1]))


def by(size_wh: tuple[int, int]) -> str:
    """A size as WIDTHxHEIGHT."""
    return f"{size_wh[0]}x{size_wh[1]}"
