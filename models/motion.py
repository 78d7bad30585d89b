"""Poses and motions for virtual people: gait, reaching, squatting, random poses in joint limits, and DeepMimic clips.

A pose is (S, 3, 3): absolute rotations of `models.body.SEGMENTS` in the body frame (left +x, front -y, up +z); identities
stand straight with hanging arms. Angles in radians. Clips come with the optional package pybullet (zlib licence).
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from models.body import SEGMENTS

Array = NDArray[np.float64]

# DeepMimic's axes (x forward, y up, z right) as columns in the body frame.
_BODY_FROM_CLIP = np.array([[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
# DeepMimic's frames hold 44 numbers; the right side starts at 16, the left at 30: hip 4, knee 1, ankle 4, shoulder 4, elbow 1.
_CLIP_NUMBERS, _CLIP_SIDES = 44, {"right": 16, "left": 30}
_SIGN = {"left": 1.0, "right": -1.0}


def forward(angle_rad: float) -> Array:
    """A hanging limb swung forward, or a torso bent backward."""
    return Rotation.from_euler("x", -angle_rad).as_matrix()


def sideways(angle_rad: float, side: str) -> Array:
    """A hanging limb of that side lifted away from the body."""
    return Rotation.from_euler("y", -_SIGN[side] * angle_rad).as_matrix()


def turned(angle_rad: float) -> Array:
    """A turn to the left about the vertical."""
    return Rotation.from_euler("z", angle_rad).as_matrix()


def assemble(parts: dict[str, Array]) -> Array:
    """A pose (S, 3, 3) from pelvis, chest, head and limbs; waist and neck follow halfway between their neighbours."""
    parts = {**parts, "waist": _halfway(parts["pelvis"], parts["chest"]), "neck": _halfway(parts["chest"], parts["head"])}
    return np.stack([parts[segment] for segment in SEGMENTS])


def _halfway(a: Array, b: Array) -> Array:
    return a @ Rotation.from_rotvec(Rotation.from_matrix(a.T @ b).as_rotvec() / 2).as_matrix()


def walk(phase_rad: float) -> Array:
    """One instant of a gait of a metre per second; 0 is the left heel's strike, pi the right's."""
    parts = {"pelvis": turned(-0.08 * np.cos(phase_rad)), "chest": forward(-0.06) @ turned(0.1 * np.cos(phase_rad))}
    parts["head"] = forward(-0.03)
    for side, phase in (("left", phase_rad), ("right", phase_rad + np.pi)):
        swing = max(0.0, -np.sin(phase))
        hip, knee = 0.42 * np.cos(phase) + 0.12, 0.12 + 0.95 * swing**1.5
        parts[f"{side}_thigh"] = forward(hip)
        parts[f"{side}_shin"] = forward(hip - knee)
        parts[f"{side}_foot"] = forward(0.25 * max(0.0, np.cos(phase)) ** 4 - 0.6 * max(0.0, -np.sin(phase + 0.6)))
        arm = -0.4 * np.cos(phase) + 0.05
        parts[f"{side}_upper_arm"] = forward(arm) @ sideways(0.12, side)
        parts[f"{side}_forearm"] = forward(arm + 0.35 + 0.2 * max(0.0, -np.cos(phase))) @ sideways(0.1, side)
    return assemble(parts)


def reach(phase_rad: float) -> Array:
    """Standing and reaching up in turn: the left arm is highest at pi / 2, the right at 3 pi / 2."""
    lean = 0.12 * np.sin(phase_rad)
    torso = Rotation.from_euler("y", lean).as_matrix() @ forward(-0.1)
    parts = {"pelvis": np.eye(3), "chest": torso, "head": torso @ turned(4 * lean)}
    for side, share in (("left", np.sin(phase_rad)), ("right", -np.sin(phase_rad))):
        lift = 0.3 + 1.0 * (1 + share)
        parts[f"{side}_upper_arm"] = torso @ sideways(0.15 + 0.25 * (1 + share), side) @ forward(lift)
        parts[f"{side}_forearm"] = parts[f"{side}_upper_arm"] @ forward(0.9 - 0.35 * (1 + share))
        parts |= _stance(side, bend_rad=0.06)
    return assemble(parts)


def squat(phase_rad: float) -> Array:
    """Going down with arms held forward: standing at 0, lowest at pi."""
    depth = (1 - np.cos(phase_rad)) / 2
    parts = {"pelvis": forward(-0.5 * depth), "chest": forward(-0.6 * depth), "head": forward(-0.15 * depth)}
    for side in _SIGN:
        parts |= _stance(side, bend_rad=0.05 + 1.25 * depth)
        parts[f"{side}_upper_arm"] = sideways(0.1, side) @ forward(0.1 + 1.2 * depth)
        parts[f"{side}_forearm"] = sideways(0.05, side) @ forward(0.35 + 1.1 * depth)
    return assemble(parts)


def _stance(side: str, bend_rad: float) -> dict[str, Array]:
    """A leg whose knee bends by twice bend_rad while the foot stays flat."""
    open_leg = sideways(0.08, side)
    return {
        f"{side}_thigh": open_leg @ forward(bend_rad),
        f"{side}_shin": open_leg @ forward(-0.9 * bend_rad),
        f"{side}_foot": np.eye(3),
    }


# Motions by name: each maps a phase in radians to a pose and repeats every 2 pi.
MOTIONS = {"walk": walk, "reach": reach, "squat": squat}


def random_pose(rng: np.random.Generator) -> Array:
    """A pose drawn within human joint limits: mostly standing, one in four sitting, arms anywhere they can be."""
    u = rng.uniform
    pelvis = _jitter(rng, 0.1)
    chest = pelvis @ _jitter(rng, 0.2)
    parts = {"pelvis": pelvis, "chest": chest, "head": chest @ _jitter(rng, 0.35)}
    sits = rng.random() < 0.25
    for side in _SIGN:
        hip = u(1.2, 1.7) if sits else abs(rng.normal(0, 0.35))
        knee = u(1.0, 1.8) if sits else abs(rng.normal(0, 0.5))
        parts[f"{side}_thigh"] = pelvis @ forward(hip) @ sideways(u(0, 0.35), side) @ turned(u(-0.3, 0.3))
        parts[f"{side}_shin"] = parts[f"{side}_thigh"] @ forward(-knee)
        parts[f"{side}_foot"] = parts[f"{side}_shin"] @ forward(u(-0.3, 0.2))
        lift = u(-0.5, 0.7) if rng.random() < 0.65 else u(0.7, 2.8)
        spread = u(0.05, 0.5) if rng.random() < 0.65 else u(0.5, 2.4)
        parts[f"{side}_upper_arm"] = chest @ forward(lift) @ sideways(spread, side) @ turned(u(-0.8, 0.8))
        parts[f"{side}_forearm"] = parts[f"{side}_upper_arm"] @ forward(u(0, 2.2))
    return assemble(parts)


def jittered(pose: Array, rng: np.random.Generator, spread_rad: float = 0.12) -> Array:
    """The same pose (S, 3, 3) with arms, legs and head turned a little, children following their parents."""
    out = pose.copy()
    for root, follower in (("upper_arm", "forearm"), ("thigh", "shin")):
        for side in _SIGN:
            turn = _jitter(rng, spread_rad)
            for segment in (f"{side}_{root}", f"{side}_{follower}"):
                out[SEGMENTS.index(segment)] = turn @ out[SEGMENTS.index(segment)]
    out[SEGMENTS.index("head")] = _jitter(rng, spread_rad) @ out[SEGMENTS.index("head")]
    return out


def _jitter(rng: np.random.Generator, spread_rad: float) -> Array:
    return Rotation.from_rotvec(rng.normal(0, spread_rad, 3)).as_matrix()


@lru_cache(maxsize=1)
def clips() -> dict[str, Array]:
    """pybullet's DeepMimic clips by name (`run`, `dance_a` ...), frames (F, 44) for `clip_pose`, of which the first number is
    how long the frame lasts in s; none where pybullet is not installed."""
    try:
        import pybullet_data
    except ImportError:
        return {}
    folder = Path(pybullet_data.getDataPath()) / "data" / "motions"
    found = {path.stem.removeprefix("humanoid3d_"): path for path in sorted(folder.glob("humanoid3d_*.txt"))}
    read = {name: json.loads(path.read_text())["Frames"] for name, path in found.items()}
    return {name: np.array([f for f in frames if len(f) == _CLIP_NUMBERS]) for name, frames in read.items()}


def clip_frames() -> Array:
    """Every frame (F, 44) of `clips`; F = 0 where pybullet is not installed."""
    return np.concatenate([np.zeros((0, _CLIP_NUMBERS)), *clips().values()])


def clip_pose(frame: Array) -> Array:
    """A DeepMimic frame (44,) (Peng et al. 2018: quaternions w x y z, hinge angles rad) as a pose (S, 3, 3)."""
    pelvis = _quaternion(frame[4:8])
    chest = pelvis @ _quaternion(frame[8:12])
    parts = {"pelvis": pelvis, "chest": chest, "head": chest @ _quaternion(frame[12:16])}
    for side, start in _CLIP_SIDES.items():
        hip, knee, ankle, shoulder, elbow = np.split(frame[start : start + 14], [4, 5, 9, 13])
        parts[f"{side}_thigh"] = pelvis @ _quaternion(hip)
        parts[f"{side}_shin"] = parts[f"{side}_thigh"] @ _hinge(knee[0])
        parts[f"{side}_foot"] = parts[f"{side}_shin"] @ _quaternion(ankle)
        parts[f"{side}_upper_arm"] = chest @ _quaternion(shoulder)
        parts[f"{side}_forearm"] = parts[f"{side}_upper_arm"] @ _hinge(elbow[0])
    return assemble({name: _BODY_FROM_CLIP @ part @ _BODY_FROM_CLIP.T for name, part in parts.items()})


def _quaternion(wxyz: Array) -> Array:
    return Rotation.from_quat(np.roll(wxyz, -1)).as_matrix()


def _hinge(angle_rad: float) -> Array:
    return Rotation.from_euler("z", angle_rad).as_matrix()
