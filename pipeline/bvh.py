"""Motion in BVH: COCO-17 as a hierarchy of bones that turn, y-up, centimetres.

The body's axes are x left, y up, z forward. `spine` and `head` have no length: they turn the bones to the neck and to the nose
apart from the hips and the shoulders, whose own rotations are then free to follow them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from models.skeleton import COCO17
from pipeline.atomic import write_atomically
from pipeline.errors import InputError
from pipeline.trc import Trajectories, frames_by_rate, y_up_from_z_up

Array = NDArray[np.float64]
Points = dict[str, Array]

CENTIMETRES = 100.0
NOWHERE, LEFT, RIGHT, UP, DOWN = (0, 0, 0), (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0)
# Joint: its parent and the direction from it at rest (a T-pose); a parent stands before its children.
BONES: dict[str, tuple[str, tuple[int, int, int]]] = {
    "hips": ("", NOWHERE),
    "left_hip": ("hips", LEFT), "left_knee": ("left_hip", DOWN), "left_ankle": ("left_knee", DOWN),
    "right_hip": ("hips", RIGHT), "right_knee": ("right_hip", DOWN), "right_ankle": ("right_knee", DOWN),
    "spine": ("hips", NOWHERE), "neck": ("spine", UP),
    "left_shoulder": ("neck", LEFT), "left_elbow": ("left_shoulder", LEFT), "left_wrist": ("left_elbow", LEFT),
    "right_shoulder": ("neck", RIGHT), "right_elbow": ("right_shoulder", RIGHT), "right_wrist": ("right_elbow", RIGHT),
    "head": ("neck", NOWHERE), "nose": ("head", UP),
    "left_eye": ("nose", NOWHERE), "right_eye": ("nose", NOWHERE),
    "left_ear": ("nose", NOWHERE), "right_ear": ("nose", NOWHERE),
}  # fmt: skip
FACE = ("left_eye", "right_eye", "left_ear", "right_ear")  # rigid with the nose: where they are at rest is measured
TRUNK = ("left_hip", "right_hip", "left_shoulder", "right_shoulder")
CHILDREN = {joint: [child for child, (parent, _) in BONES.items() if parent == joint] for joint in BONES}
ROTATIONS = "Zrotation Xrotation Yrotation"


def write_bvh(track: Trajectories, path: Path) -> str:
    """Write a .bvh file, atomic; returns what was filled in or left out, "" for nothing.

    BVH has no gaps: joints not seen are interpolated over time and held before the first and after the last sight. Bones have
    their median length. A person whose hips or shoulders are never seen is told and not written. Raises InputError for markers
    that are not COCO-17's, StageError on a full disk.
    """
    if missing := [joint for joint in COCO17.joints if joint not in track.markers]:
        raise InputError(f"{path}: expected the joints of {COCO17.name} for a BVH, found no {', '.join(missing)}")
    seen = _points(track)
    filled = {joint: _filled(track.t_ns, xyz_cm) for joint, xyz_cm in seen.items()}
    never = [joint for joint in COCO17.joints if not np.isfinite(filled[joint]).any()]
    if set(never) & set(TRUNK):
        return f"left out: {', '.join(never)} never seen, and a BVH needs hips and shoulders"
    points = _with_middles(filled)
    turned = _world_rotations(points)
    offsets = _offsets(_with_middles(seen), points, turned)
    motion = np.concatenate([points["hips"], *(_angles_deg(turned, joint) for joint in BONES)], axis=1)
    lines = [*_hierarchy("hips", offsets), "MOTION", f"Frames: {len(motion)}", f"Frame Time: {1 / track.rate_fps:.9g}"]
    write_atomically(path, "\n".join([*lines, *(" ".join(f"{v:.5f}" for v in frame) for frame in motion)]) + "\n")
    return "; ".join(note for note in (_gaps(track, never), frames_by_rate(track)) if note)


def _points(track: Trajectories) -> Points:
    """COCO-17 joints (F, 3) in cm, y-up."""
    xyz_cm = y_up_from_z_up(track.xyz_m) * CENTIMETRES
    return {joint: xyz_cm[:, track.markers.index(joint)] for joint in COCO17.joints}


def _filled(t_ns: NDArray[np.int64], xyz: Array) -> Array:
    """Gaps of (F, 3) interpolated over time, ends held; a joint never seen stays NaN."""
    known = np.isfinite(xyz).all(1)
    if not known.any():
        return xyz
    return np.stack([np.interp(t_ns, t_ns[known], column[known]) for column in xyz.T], axis=1)


def _gaps(track: Trajectories, never: list[str]) -> str:
    seen = [j for j, marker in enumerate(track.markers) if marker in COCO17.joints and marker not in never]
    count = int((~np.isfinite(track.xyz_m[:, seen]).all((1, 2))).sum())
    told = f"{count} of {len(track.t_ns)} frames had gaps, interpolated or held" if count else ""
    return told + ("; " if told and never else "") + (f"{', '.join(never)} never seen, at rest" if never else "")


def _with_middles(points: Points) -> Points:
    hips = 0.5 * (points["left_hip"] + points["right_hip"])
    neck = 0.5 * (points["left_shoulder"] + points["right_shoulder"])
    return points | {"hips": hips, "spine": hips, "neck": neck, "head": neck}


def _world_rotations(points: Points) -> dict[str, Array]:
    """world_from_joint (F, 3, 3): hips, neck and nose by two directions each, a bone by the least turn from its parent."""
    up = points["neck"] - points["hips"]
    ears = points["left_ear"] - points["right_ear"]
    ahead = points["nose"] - 0.5 * (points["left_ear"] + points["right_ear"])
    framed = {
        "hips": _frame(points["left_hip"] - points["right_hip"], up),
        "neck": _frame(points["left_shoulder"] - points["right_shoulder"], up),
        "nose": _frame(ears, np.cross(ahead, ears)),
    }
    turned = {"": np.broadcast_to(np.eye(3), (len(up), 3, 3))}
    for joint, (parent, _) in BONES.items():
        ends = CHILDREN[joint]
        rotation = framed[joint] if joint in framed else turned[parent]
        if joint not in framed and ends:
            rest = np.array(BONES[ends[0]][1], dtype=np.float64)
            rotation = _swing(turned[parent] @ rest, points[ends[0]] - points[joint]) @ turned[parent]
        turned[joint] = np.where(np.isfinite(rotation).all((1, 2), keepdims=True), rotation, turned[parent])
    return turned


def _frame(left: Array, up: Array) -> Array:
    """Axes (F, 3, 3) whose x is along `left` and whose y is as near to `up` as it can be; NaN where they are one direction."""
    with np.errstate(invalid="ignore", divide="ignore"):
        x = left / np.linalg.norm(left, axis=-1, keepdims=True)
        z = np.cross(x, up)
        z = z / np.linalg.norm(z, axis=-1, keepdims=True)
    return np.stack([x, np.cross(z, x), z], axis=-1)


def _swing(start: Array, end: Array) -> Array:
    """The least rotation (F, 3, 3) that takes unit vectors start (F, 3) to the direction of end; NaN where end has none."""
    axis = np.cross(start, end)
    sine, cosine = np.linalg.norm(axis, axis=-1), (start * end).sum(-1)
    other = np.cross(start, np.eye(3)[np.abs(start).argmin(-1)])  # any axis will do for no turn and for half a turn
    axis = np.where(sine[:, None] > 1e-9 * np.abs(cosine)[:, None], axis, other)
    angle = np.where(np.linalg.norm(end, axis=-1) > 0, np.arctan2(sine, cosine), np.nan)
    known = np.isfinite(angle)
    vector = angle[:, None] * axis / np.linalg.norm(axis, axis=-1, keepdims=True)
    rotation = Rotation.from_rotvec(np.where(known[:, None], vector, 0.0)).as_matrix()
    return np.where(known[:, None, None], rotation, np.nan)


def _offsets(seen: Points, points: Points, turned: dict[str, Array]) -> dict[str, Array]:
    """Offset (3,) in cm of every joint from its parent at rest; of a joint never seen its mirror's."""
    offsets = {"hips": np.zeros(3)}
    for joint, (parent, rest) in list(BONES.items())[1:]:
        bone = seen[joint] - seen[parent]
        if joint in FACE:
            inside = np.einsum("fij,fi->fj", turned[parent], points[joint] - points[parent])
            offsets[joint] = _median(inside)
        else:
            offsets[joint] = np.array(rest) * _median(np.linalg.norm(bone, axis=-1, keepdims=True))
    for joint, offset in list(offsets.items()):
        if not np.isfinite(offset).all():
            mirror = COCO17.joints[COCO17.mirror[COCO17.index(joint)]]
            offsets[joint] = np.nan_to_num(offsets[mirror] * (-1, 1, 1))
    return offsets


def _median(values: Array) -> Array:
    """Median (D,) of the known rows of (F, D); NaN without any."""
    known = values[np.isfinite(values).all(1)]
    return np.median(known, axis=0) if len(known) else np.full(values.shape[1], np.nan)


def _angles_deg(turned: dict[str, Array], joint: str) -> Array:
    """(F, 3) turns about z, then x, then y, each in the axes that the one before left; without jumps of 360 degrees."""
    local = np.swapaxes(turned[BONES[joint][0]], 1, 2) @ turned[joint]
    angles = Rotation.from_matrix(local).as_euler("ZXY", degrees=True, suppress_warnings=True)
    return np.unwrap(angles, axis=0, period=360.0)


def _hierarchy(joint: str, offsets: dict[str, Array], depth: int = 0) -> list[str]:
    tab, place = "\t" * depth, " ".join(f"{v:.6f}" for v in offsets[joint])
    head = ["HIERARCHY", "ROOT hips"] if not depth else [f"{tab}JOINT {joint}"]
    channels = f"6 Xposition Yposition Zposition {ROTATIONS}" if not depth else f"3 {ROTATIONS}"
    inside = [line for child in CHILDREN[joint] for line in _hierarchy(child, offsets, depth + 1)]
    end = [f"{tab}\tEnd Site", f"{tab}\t{{", f"{tab}\t\tOFFSET 0 0 0", f"{tab}\t}}"]
    return [*head, f"{tab}{{", f"{tab}\tOFFSET {place}", f"{tab}\tCHANNELS {channels}", *(inside or end), f"{tab}}}"]
