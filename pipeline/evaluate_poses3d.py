"""People in 3D against truth, or against another tool's result: position, parts, people found, identities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.skeleton import COCO17
from pipeline.errors import InputError
from pipeline.evaluate import defined, mpjpe, mpjpe_per_joint, pa_mpjpe, pcp, share_found
from pipeline.identities import Instant, assign, distances_m, identity_figures
from pipeline.people3d import People3D

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Poses3DReport:
    """Figures over the instants that both have.

    mpjpe_mm, pa_mpjpe_mm and joints_found over people matched at an instant (nearest by mean joint distance, within match_m);
    pcp over all true people, in which a person who was not found is wrong; precision and recall of people at instants;
    idf1, idp, idr, id_switches of identities. per_joint, per_limb and per_person: rows with a name each.
    """

    instants: int
    instants_of_truth_missed: int
    joints: tuple[str, ...]
    people_true: int
    people_predicted: int
    people_matched: int
    precision: float
    recall: float
    mpjpe_mm: float
    pa_mpjpe_mm: float
    joints_found: float
    pcp: float
    idf1: float
    idp: float
    idr: float
    id_switches: int
    per_joint: tuple[dict[str, Any], ...]
    per_limb: tuple[dict[str, Any], ...]
    per_person: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; None where a figure is not defined."""
        told: dict[str, Any] = defined({name: getattr(self, name) for name in self.__dataclass_fields__})
        return told


def evaluate_poses3d(pred: People3D, truth: People3D, match_m: float = 0.5) -> Poses3DReport:
    """Predicted against true people of one world: joints by name, frames by time, nothing aligned.

    An instant of the truth is compared with the nearest predicted one within half a frame; without one its people are missed.
    Raises InputError when they have no joint or no instant in common.
    """
    joints = _common_joints(pred, truth)
    pred, truth = pred.only(joints), truth.only(joints)
    frames = _same_instants(pred.t_ns, truth.t_ns)
    instants = [_instant(pred, truth, p, t) for t, p in enumerate(frames)]
    # (instant of the truth, predicted person, true person): rows of their arrays
    pairs = [(t, p, q) for t, (_, _, distance) in enumerate(instants) for p, q in assign(distance, match_m)]
    return _report(pred, truth, frames, instants, pairs, match_m)


def _report(
    pred: People3D,
    truth: People3D,
    frames: Sequence[int],
    instants: Sequence[Instant],
    pairs: Sequence[tuple[int, int, int]],
    match_m: float,
) -> Poses3DReport:
    empty = np.zeros((0, len(truth.joints), 3))
    found = np.stack([pred.xyz_m[frames[t]][p] for t, p, _ in pairs]) if pairs else empty
    true = np.stack([truth.xyz_m[t][q] for t, _, q in pairs]) if pairs else empty
    people_true, people_pred = (sum(len(instant[side]) for instant in instants) for side in (1, 0))
    identities = identity_figures(instants, match_m)
    parts, per_limb = _parts(pred, truth, frames, pairs)
    return Poses3DReport(
        instants=sum(p >= 0 for p in frames),
        instants_of_truth_missed=sum(p < 0 for p in frames),
        joints=truth.joints,
        people_true=people_true,
        people_predicted=people_pred,
        people_matched=len(pairs),
        precision=len(pairs) / people_pred if people_pred else float("nan"),
        recall=len(pairs) / people_true if people_true else float("nan"),
        mpjpe_mm=mpjpe(found, true),
        pa_mpjpe_mm=pa_mpjpe(found, true),
        joints_found=share_found(found, true),
        pcp=parts,
        idf1=identities.idf1,
        idp=identities.idp,
        idr=identities.idr,
        id_switches=sum(identities.switches.values()),
        per_joint=_per_joint(truth.joints, found, true),
        per_limb=per_limb,
        per_person=_per_person(instants, truth, pairs, identities.identity, identities.switches),
    )


def _common_joints(pred: People3D, truth: People3D) -> list[str]:
    common = [joint for joint in truth.joints if joint in pred.joints]
    if not common:
        raise InputError(
            f"expected joints of one name in both, found {', '.join(pred.joints)} predicted and {', '.join(truth.joints)} true"
        )
    return common


def _same_instants(pred_ns: NDArray[np.int64], truth_ns: NDArray[np.int64]) -> list[int]:
    """Per instant of the truth the predicted one within half a frame of it, -1 without; no predicted one serves twice."""
    steps = np.diff(truth_ns) if len(truth_ns) > 1 else np.diff(pred_ns)
    half_ns = 0.5 * float(np.median(steps)) if len(steps) else 0.0
    nearest, back = _nearest(truth_ns, pred_ns), _nearest(pred_ns, truth_ns)
    within = (np.abs(pred_ns[nearest] - truth_ns) <= half_ns) & (back[nearest] == np.arange(len(truth_ns)))
    if not within.any():
        spans = [f"{t[0] / 1e9:.3f} to {t[-1] / 1e9:.3f} s" for t in (pred_ns, truth_ns)]
        raise InputError(
            f"expected instants within {half_ns / 1e6:.1f} ms of each other, found none: predicted {spans[0]}, "
            f"true {spans[1]}; both must be on one clock (--fps takes the frames of .trc, .c3d and .json at one rate)"
        )
    return [int(p) if ok else -1 for p, ok in zip(nearest, within, strict=True)]


def _nearest(of: NDArray[np.int64], among: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index into `among` (ascending) of the value nearest to each of `of`."""
    right = np.clip(np.searchsorted(among, of), 1 if len(among) > 1 else 0, len(among) - 1)
    left = np.maximum(right - 1, 0)
    return np.where(np.abs(among[left] - of) <= np.abs(among[right] - of), left, right)


def _instant(pred: People3D, truth: People3D, p: int, t: int) -> Instant:
    if p < 0:
        return np.zeros(0, np.int64), truth.person[t], np.zeros((0, len(truth.person[t])))
    return pred.person[p], truth.person[t], distances_m(pred.xyz_m[p], truth.xyz_m[t])


def _parts(
    pred: People3D, truth: People3D, frames: Sequence[int], pairs: Sequence[tuple[int, int, int]]
) -> tuple[float, tuple[dict[str, Any], ...]]:
    """PCP over every true person at every instant, and per limb; the head's parts are too short to be judged."""
    limbs = [limb for limb in COCO17.limbs if set(limb) <= set(COCO17.limb_joints)]
    named = [(COCO17.joints[a], COCO17.joints[b]) for a, b in limbs]
    named = [(a, b) for a, b in named if a in truth.joints and b in truth.joints]
    matched = {(t, q): p for t, p, q in pairs}
    people = [(t, q) for t, xyz_m in enumerate(truth.xyz_m) for q in range(len(xyz_m))]
    if not people or not named:
        return float("nan"), ()
    nobody = np.full((len(truth.joints), 3), np.nan)
    found = np.stack([pred.xyz_m[frames[t]][matched[t, q]] if (t, q) in matched else nobody for t, q in people])
    ends = [(truth.joints.index(a), truth.joints.index(b)) for a, b in named]
    share, each = pcp(found, np.stack([truth.xyz_m[t][q] for t, q in people]), ends)
    rows = ({"limb": f"{a} - {b}", "pcp": float(value)} for (a, b), value in zip(named, each, strict=True))
    return share, tuple(rows)


def _per_joint(joints: Sequence[str], found: Array, true: Array) -> tuple[dict[str, Any], ...]:
    off_mm = mpjpe_per_joint(found, true)
    shares = [share_found(found[:, [j]], true[:, [j]]) for j in range(len(joints))]
    return tuple(
        {"joint": joint, "mpjpe_mm": float(off), "found": share}
        for joint, off, share in zip(joints, off_mm, shares, strict=True)
    )


def _per_person(
    instants: Sequence[Instant],
    truth: People3D,
    pairs: Sequence[tuple[int, int, int]],
    identity: dict[int, int],
    switches: dict[int, int],
) -> tuple[dict[str, Any], ...]:
    there = np.concatenate([true for _, true, _ in instants])
    matched = np.array([truth.person[t][q] for t, _, q in pairs], dtype=np.int64)
    return tuple(
        {
            "person": who,
            "instants": int((there == who).sum()),
            "found": int((matched == who).sum()),
            "identity": identity[who],
            "switches": switches[who],
        }
        for who in sorted(identity)
    )
