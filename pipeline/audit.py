"""Audit: gates that a skeleton must pass before it becomes a label. Every rejected one says why, in words and numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.skeleton import Topology
from pipeline.config import AuditConfig
from pipeline.depth_check import DepthMaps, depth_maps
from pipeline.limbs import body_limbs, limb_lengths_m, median_known
from pipeline.plausibility import Plausibility, plausibility
from pipeline.pose_prior import prior_figures, told_of_prior
from pipeline.pose_rows import SkeletonFile
from pipeline.progress import progress
from pipeline.rows_file import rows_file
from pipeline.store import Ref, Store
from pipeline.tables import AUDIT
from pipeline.types import DEFAULT_TOPOLOGY, Array, Artefact, Skeletons3D

VERSION = "4"

GATES = ("joints", "views", "error", "limb length", "limb deviation", "angle", "depth", "pose")
# A knee whose hip axis runs along the thigh (legs spread wide) has no front to speak of: sine of the least angle between them.
LEAST_SIDE = 0.5


@dataclass(frozen=True)
class Verdict:
    """What the gates say of one person at one instant: gates not passed, the same in words, and the figures behind them."""

    t_ns: int
    person: int
    gates: tuple[str, ...]
    reasons: tuple[str, ...]
    error_px: float
    joints: int
    limb_deviation: float
    nats_per_joint: float | None = None
    p_value: float | None = None
    blamed: str | None = None

    @property
    def accepted(self) -> bool:
        """Whether every gate was passed."""
        return not self.gates


def audit(
    skeletons: Sequence[Skeletons3D] | SkeletonFile, config: AuditConfig, cameras: int = 3,
    topology: Topology = DEFAULT_TOPOLOGY, depth: DepthMaps | None = None, plausible: Plausibility | None = None,
) -> Iterator[Verdict]:  # fmt: skip
    """A verdict for every person at every instant; limb lengths are compared with the median of the same person.

    skeletons: a list, or a file that is read twice, for the medians and for the verdicts.

    cameras: how many filmed. Of the four coordinates of two views one alone is redundant, so a small error proves little: where
    more cameras film, more must agree. depth: what stereo pairs measured, where there are any. plausible: what a pose
    prior says of the same skeletons.
    """
    least_views = min(config.min_views, cameras)
    limbs = body_limbs(topology)
    names = [limb_name(limb, topology) for limb in limbs]
    usual_m = median_limbs_m(skeletons, limbs)
    judged = count()
    for instant in skeletons:
        for row, person in enumerate(instant.person.tolist()):
            pose = _pose(plausible, next(judged), topology)
            xyz_m = instant.xyz_m[row]
            length_m = limb_lengths_m(xyz_m, limbs)
            deviation = np.abs(length_m / usual_m[person] - 1.0)
            found = [
                *_joint_faults(xyz_m, config),
                *_view_faults(instant.n_views[row], least_views),
                *_error_faults(instant.error_px[row], config),
                *_length_faults(length_m, names, config),
                *_deviation_faults(length_m, usual_m[person], deviation, names, config),
                *_angle_faults(xyz_m, topology, config),
                *_depth_faults(depth, instant.t_ns, xyz_m, config),
                *_pose_faults(pose, config),
            ]
            yield Verdict(
                t_ns=instant.t_ns,
                person=person,
                gates=tuple(gate for gate in GATES if any(gate == fault for fault, _ in found)),
                reasons=tuple(reason for _, reason in found),
                error_px=_mean(instant.error_px[row]),
                joints=int(np.isfinite(xyz_m).all(-1).sum()),
                limb_deviation=float(np.nanmax(deviation)) if np.isfinite(deviation).any() else 0.0,
                **pose,
            )


def limb_name(limb: tuple[int, int], topology: Topology) -> str:
    """A limb by its joints, nearest the trunk first: `left hip to left knee`."""
    first, second = sorted(limb)
    return f"{topology.joints[first]} to {topology.joints[second]}".replace("_", " ")


def median_limbs_m(skeletons: Iterable[Skeletons3D], limbs: Sequence[tuple[int, int]]) -> dict[int, Array]:
    """Each person's median limb lengths (L,) in m over the clip; NaN for a limb never seen."""
    lengths: dict[int, list[Array]] = {}
    for instant in skeletons:
        for row, person in enumerate(instant.person.tolist()):
            lengths.setdefault(person, []).append(limb_lengths_m(instant.xyz_m[row], limbs))
    return {person: median_known(np.stack(rows)) for person, rows in lengths.items()}


def back_bend_deg(xyz_m: Array, topology: Topology) -> dict[str, float]:
    """How far each knee is bent backwards, in degrees: positive when the shin points to the front of the thigh, NaN unknown.

    The hip line l (right to left) and the thigh a give the thigh's front, a x l; the shin b is at atan2(b . (a x l), b . a) in
    the plane across the hip line. Elbows have no such rule: the shoulder turns, so the forearm may point anywhere.
    """
    hips = {side: xyz_m[topology.index(f"{side}_hip")] for side in ("left", "right")}
    leftwards = _unit(hips["left"] - hips["right"])
    bends = {}
    for side, hip in hips.items():
        knee, ankle = xyz_m[topology.index(f"{side}_knee")], xyz_m[topology.index(f"{side}_ankle")]
        thigh, shin = _unit(knee - hip), _unit(ankle - knee)
        front = np.cross(thigh, leftwards)
        clear = np.linalg.norm(front) >= LEAST_SIDE
        bends[f"{side} knee"] = float(np.degrees(np.arctan2(shin @ _unit(front), shin @ thigh))) if clear else np.nan
    return bends


def hinge_deg(xyz_m: Array, topology: Topology) -> dict[str, float]:
    """The inner angle of each knee and elbow in degrees, 180 when straight, NaN unknown."""
    angles = {}
    for joint, before, after in (("knee", "hip", "ankle"), ("elbow", "shoulder", "wrist")):
        for side in ("left", "right"):
            middle, one, other = (xyz_m[topology.index(f"{side}_{name}")] for name in (joint, before, after))
            cosine = _unit(one - middle) @ _unit(other - middle)
            angles[f"{side} {joint}"] = float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))
    return angles


Faults = Iterator[tuple[str, str]]


def _joint_faults(xyz_m: Array, config: AuditConfig) -> Faults:
    joints = int(np.isfinite(xyz_m).all(-1).sum())
    if joints < config.min_joints:
        yield "joints", f"{joints} joints, {config.min_joints} needed"


def _view_faults(n_views: NDArray[np.int64], least: float) -> Faults:
    views = float(n_views[n_views > 0].mean()) if (n_views > 0).any() else 0.0
    if views < least:
        yield "views", f"joints seen by {views:.1f} views on average, {least:g} needed"


def _error_faults(error_px: Array, config: AuditConfig) -> Faults:
    error = _mean(error_px)
    if error > config.max_error_px:  # NaN where no joint is known: the gate of joints says so
        yield "error", f"reprojection error {error:.1f} px above {config.max_error_px:g} px"


def _length_faults(length_m: Array, names: Sequence[str], config: AuditConfig) -> Faults:
    low, high = config.limb_range_m
    for name, length in zip(names, length_m, strict=True):
        if np.isfinite(length) and not low <= length <= high:
            yield "limb length", f"{name} {length:.2f} m outside {low:g} to {high:g} m"


def _deviation_faults(length_m: Array, usual_m: Array, deviation: Array, names: Sequence[str], config: AuditConfig) -> Faults:
    for name, length, usual, off in zip(names, length_m, usual_m, deviation, strict=True):
        if off > config.max_limb_deviation:
            limit = f"(limit {config.max_limb_deviation:.0%})"
            yield "limb deviation", f"{name} {length:.2f} m is {off:.0%} off this person's median {usual:.2f} m {limit}"


def _angle_faults(xyz_m: Array, topology: Topology, config: AuditConfig) -> Faults:
    for name, bend in back_bend_deg(xyz_m, topology).items():
        if bend > config.max_knee_back_deg:
            yield "angle", f"{name} bends backwards by {bend:.0f} degrees (limit {config.max_knee_back_deg:g})"
    for name, angle in hinge_deg(xyz_m, topology).items():
        if angle < config.min_hinge_deg:
            yield "angle", f"{name} folded to {angle:.0f} degrees (limit {config.min_hinge_deg:g})"


def _depth_faults(depth: DepthMaps | None, t_ns: int, xyz_m: Array, config: AuditConfig) -> Faults:
    for found in depth.floating(t_ns, xyz_m, config.max_float_m) if depth else ():
        if found.ghost:
            limit = f"(limit {config.max_float_m:g} m)"
            yield "depth", (f"{found.floating} of {found.judged} joints are in mid-air: {found.pair} sees what lies "
                            f"{found.median_m:.2f} m behind them {limit}")  # fmt: skip


def _pose(plausible: Plausibility | None, row: int, topology: Topology) -> dict[str, Any]:
    """What a verdict tells of a pose; nothing of one that the prior does not judge."""
    if plausible is None or not np.isfinite(plausible.nats[row]):
        return {}
    p_value, blamed = float(plausible.p[row]), int(plausible.blamed[row])
    return {
        "nats_per_joint": float(plausible.nats[row]),
        "p_value": p_value if np.isfinite(p_value) else None,
        "blamed": topology.joints[blamed] if blamed >= 0 else None,
    }


def _pose_faults(pose: dict[str, Any], config: AuditConfig) -> Faults:
    p_value = pose.get("p_value")
    if p_value is not None and p_value < config.false_alarm:
        blamed, limit = pose["blamed"].replace("_", " "), f"(limit {config.false_alarm:g})"
        yield "pose", f"pose unlike the clip's others (p = {p_value:.1g}), {blamed} most to blame {limit}"


def _unit(vector: Array) -> Array:
    length = np.linalg.norm(vector)
    return vector / length if length > 0 else np.full(3, np.nan)


def _mean(values: Array) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def run(store: Store, ref: Ref, config: AuditConfig) -> Artefact:
    """Audit one clip; AUDIT rows, one per row of its skeletons."""
    slot = store.slot("audit", VERSION, config, ref, given=told_of_prior(config.prior))
    if done := slot.done():
        return done
    made = ref.only("reconstruct")

    def write(path: Path) -> tuple[int, dict[str, Any]]:
        tally = Tally()
        skeletons, cameras = SkeletonFile(made.path), len(ref.all("detect"))
        plausible = plausibility(skeletons, config.prior) if config.prior else None
        verdicts = audit(skeletons, config, cameras, depth=depth_maps(ref), plausible=plausible)
        with rows_file(path, AUDIT) as file, progress(f"audit {ref.clip}", made.rows, "skeletons") as advance:
            for verdict in verdicts:
                file.write([_row(verdict)])
                tally.add(verdict)
                advance(1)
        return tally.accepted + tally.rejected, tally.figures() | prior_figures(config.prior)

    return slot.commit(write)


class Tally:
    """Figures for the result table: accepted, rejected, and how many failed each gate (one skeleton can fail several)."""

    def __init__(self) -> None:
        self.accepted = self.rejected = 0
        self.failed: Counter[str] = Counter()

    def add(self, verdict: Verdict) -> None:
        """Count a verdict."""
        self.accepted, self.rejected = self.accepted + verdict.accepted, self.rejected + (not verdict.accepted)
        self.failed.update(verdict.gates)

    def figures(self) -> dict[str, Any]:
        """What the stage's summary says."""
        by = {gate: self.failed[gate] for gate in GATES if self.failed[gate]}
        return {"accepted": self.accepted, "rejected": self.rejected, "rejected_by": by}


def _row(verdict: Verdict) -> dict[str, Any]:
    return {
        "t_ns": verdict.t_ns,
        "person": verdict.person,
        "accepted": verdict.accepted,
        "gates": list(verdict.gates),
        "reasons": list(verdict.reasons),
        "error_px": verdict.error_px,
        "joints": verdict.joints,
        "limb_deviation": verdict.limb_deviation,
        "nats_per_joint": verdict.nats_per_joint,
        "p_value": verdict.p_value,
        "blamed": verdict.blamed,
    }
