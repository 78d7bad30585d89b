"""Association: from part candidates against the labels of the Shelf, its time, and people who cross; figures beside bars.

Run: ``OMP_NUM_THREADS=1 python -m tests.benchmarks.bench_association``. The Shelf's candidates are `shelf_candidates` of the
folder in POSEMILL_TEST_DATA, by default ../shared/data. PCP as published with 4D association (Zhang et al. 2020): ten parts,
alpha 0.5, the head's ends made from shoulders, ears and the way the body faces, every label against the skeleton nearest to it,
the average over the actors; a label that no skeleton is left for counts as wrong here (there it does not count).
"""

from __future__ import annotations

import json
import os
import re
import resource
import time
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from calibration.camera import Camera
from calibration.rig import Rig
from calibration.transforms import Rigid
from calibration.triangulate import triangulate, triangulate_robust
from models.skeleton import Topology
from pipeline.association import Views, associate, pack, with_mirrored
from pipeline.candidates import Candidates, group_candidates
from pipeline.config import ReconstructConfig
from pipeline.evaluate import pcp
from pipeline.identities import distances_m, identity_figures
from pipeline.reconstruct import reconstruct, thresholds_px
from pipeline.tracking import Limits, Tracker
from pipeline.tracks import with_tracks
from pipeline.types import Poses2D, Skeletons3D
from pipeline.walkers import FPS, ring, see, time_ns, walk
from tests.benchmarks.crossing import MISSING, PEOPLE, SWAPPED, detected, studio_cameras, walkers
from tests.benchmarks.crossing import NOISE_PX as SPOILT_PX
from tests.benchmarks.geometry import ROOT
from tests.benchmarks.timing import best_of

# Published parts, by the names of the labels.
PARTS = (
    "LShoulder-LElbow", "RShoulder-RElbow", "LElbow-LWrist", "RElbow-RWrist", "LHip-LKnee", "RHip-RKnee", "LKnee-LAnkle",
    "RKnee-RAnkle", "BottomHead-TopHead", "BottomHead-MidHip",
)  # fmt: skip
NOISE_PX, INSTANTS, CROSSING, MINUTES = 2.0, 64, 1000, 10


def shelf() -> dict[str, Any]:
    folder = Path(os.environ.get("POSEMILL_TEST_DATA", ROOT.parent / "shared" / "data"))
    path = folder / "shelf_candidates" / "shelf_dev_000-059.json"
    if not path.is_file():
        raise SystemExit(f"{path} not found; set POSEMILL_TEST_DATA to the folder that holds shelf_candidates")
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def rig_of(cameras: dict[str, Any]) -> Rig:
    made = []
    for name, camera in cameras.items():
        pose, K = np.reshape(camera["RT"], (3, 4)), np.reshape(camera["K"], (3, 3))
        left, _, right = np.linalg.svd(pose[:, :3])  # printed with eight digits: not quite a rotation
        made.append(Camera(name, tuple(camera["imgSize"]), K, np.zeros(5), "brown", Rigid(left @ right, pose[:, 3])))
    return Rig(tuple(made))


def topology_of(names: list[str], limbs: list[list[int]]) -> Topology:
    """The file's joints in the house's words: RShoulder is right_shoulder."""
    sides = {"R": "right_", "L": "left_"}
    words = [sides[n[0]] + n[1:].lower() if re.match("[RL][A-Z]", n) else n.lower() for n in names]
    other = [w.replace("right_", "\0").replace("left_", "right_").replace("\0", "left_") for w in words]
    pairs = tuple((int(a), int(b)) for a, b in limbs)
    return Topology("shelf", tuple(words), pairs, tuple(words.index(w) for w in other), np.ones(len(words)))


def people_of(frames: list[dict[str, Any]], limbs: tuple[tuple[int, int], ...], joints: int) -> Views:
    """Every view's people, grouped by limb affinity."""
    found = [[group_candidates(candidates_of(view, limbs)) for view in frame["views"]] for frame in frames]
    most = max(len(score) for views in found for _, score in views)
    xy_px = np.full((len(found), len(found[0]), most, joints, 2), np.nan)
    score = np.zeros(xy_px.shape[:-1])
    for f, views in enumerate(found):
        for c, (xy, s) in enumerate(views):
            xy_px[f, c, : len(s)], score[f, c, : len(s)] = xy, s
    return Views(xy_px, score)


def candidates_of(view: dict[str, Any], limbs: tuple[tuple[int, int], ...]) -> Candidates:
    parts = tuple(np.array(part, dtype=float).reshape(-1, 3) for part in view["joints"])
    shapes = [(len(parts[a]), len(parts[b])) for a, b in limbs]
    return Candidates(parts, limbs, tuple(np.reshape(a, s).astype(float) for a, s in zip(view["limbs"], shapes, strict=True)))


def skeletons_of(rig: Rig, views: Views, topology: Topology) -> list[np.ndarray]:
    """Per instant the people (P, J, 3) m that association and robust triangulation make."""
    match_px, threshold_px = thresholds_px(rig, ReconstructConfig())
    doubled = with_mirrored(views, topology)
    made = []
    for f, groups in enumerate(associate(rig, doubled, match_px, threshold_px, topology)):
        cameras = np.arange(len(rig))[:, None]
        absent = groups.T < 0
        xy_px = np.where(absent[..., None, None], np.nan, doubled.xy_px[f, cameras, groups.T])
        score = np.where(absent[..., None], 0.0, doubled.score[f, cameras, groups.T])
        points = triangulate_robust(rig, xy_px.reshape(len(rig), -1, 2), score.reshape(len(rig), -1), threshold_px)
        made.append(points.xyz_m.reshape(len(groups), len(topology), 3))
    return made


def labelled(xyz_m: np.ndarray, names: list[str], wanted: list[str]) -> np.ndarray:
    """Skeletons (P, J, 3) with the joints of the labels; the head's ends as published, in metres."""
    at = {name: xyz_m[:, j] for j, name in enumerate(names)}
    shoulders, ears = (at["RShoulder"] + at["LShoulder"]) / 2, (at["REar"] + at["LEar"]) / 2
    facing = np.cross(at["Neck"] - at["MidHip"], at["RShoulder"] - at["LShoulder"])
    facing /= np.linalg.norm(facing, axis=-1, keepdims=True)
    at["BottomHead"] = (shoulders + ears) / 2
    at["TopHead"] = at["BottomHead"] + 0.125 * facing + [0.0, 0.0, 0.145]
    return np.stack([at[name] for name in wanted], axis=1)


def nearest(found_m: np.ndarray, truth_m: np.ndarray) -> np.ndarray:
    """(A, J, 3) the skeleton that stands for each label (A, J, 3); NaN where none is left."""
    out = np.full(truth_m.shape, np.nan)
    away = np.linalg.norm(found_m[None] - truth_m[:, None], axis=-1)
    known = np.isfinite(away)
    mean = np.where(known, away, 0.0).sum(-1) / np.maximum(known.sum(-1), 1)
    for a, p in zip(*linear_sum_assignment(np.where(known.any(-1), mean, 1e3)), strict=True):
        out[a] = found_m[p]
    return out


def shelf_figures() -> None:
    data = shelf()
    names, wanted, frames = data["joint_names"], data["gt_joint_names"], data["frames"]
    rig, topology = rig_of(data["cameras"]), topology_of(names, data["limb_pairs"])
    start = time.process_time()
    views = people_of(frames, topology.limbs, len(topology))
    grouped = time.process_time()
    skeletons = skeletons_of(rig, views, topology)
    seconds = time.process_time() - grouped
    pairs: dict[str, list[np.ndarray]] = {}
    for frame, xyz_m in zip(frames, skeletons, strict=True):
        actors = sorted(frame["gt"])
        truth_m = np.array([frame["gt"][actor] for actor in actors])
        for actor, pred, true in zip(actors, nearest(labelled(xyz_m, names, wanted), truth_m), truth_m, strict=True):
            pairs.setdefault(actor, []).append(np.stack([pred, true]))
    ends = [(wanted.index(a), wanted.index(b)) for a, b in (part.split("-") for part in PARTS)]
    print(f"shelf_candidates, {len(frames)} instants, {len(rig)} cameras, actors labelled here: {', '.join(pairs)}")
    scored = {actor: pcp(*np.stack(both, axis=1), ends) for actor, both in pairs.items()}
    print(f"{'part':22}" + "".join(f"actor {actor:5}" for actor in scored))
    for k, part in enumerate(PARTS):
        print(f"{part:22}" + "".join(f"{per_part[k]:11.3f}" for _, per_part in scored.values()))
    print(f"{'PCP':22}" + "".join(f"{mean:11.3f}" for mean, _ in scored.values()))
    print(f"average of the actors {np.mean([mean for mean, _ in scored.values()]):.3f}   bar 0.95")
    each = 1e3 / len(frames)
    print(f"CPU ms an instant: grouping {(grouped - start) * each:.2f}, association and triangulation {seconds * each:.2f}")


def speed_figures() -> None:
    print("\n4 people x 8 cameras, synthetic, 2 px noise: CPU ms of association an instant")
    starts = (((-0.9, 0.2), (0.5, 0.0)), ((0.8, -0.4), (-0.4, 0.1)), ((0.1, 0.9), (0.0, -0.2)), ((0.2, -1.0), (0.1, 0.3)))
    rig, times = ring(8), [time_ns(f) for f in range(INSTANTS)]
    people_m = np.stack([walk(at, speed, INSTANTS, float(i)) for i, (at, speed) in enumerate(starts)])
    seen = see(rig, people_m, NOISE_PX)
    match_px, pair_px = thresholds_px(rig, ReconstructConfig())

    def anew() -> list[Any]:
        return associate(rig, with_mirrored(pack(seen, people_m.shape[2])), match_px, pair_px)

    known = limited(rig)
    known.follow(times[:1], with_mirrored(pack(seen[:1], people_m.shape[2])))

    def followed() -> list[Any]:
        tracker = copy(known)
        return [whose[..., 0] for whose, _ in tracker.follow(times, with_mirrored(pack(seen, people_m.shape[2])))]

    for name, solve, bar in (("anew at each instant", anew, ""), ("with the instant before", followed, "bar 2")):
        seconds, groups = best_of(solve)
        whole = np.mean([g.shape == (4, 8) and bool((g >= 0).all()) for g in groups])
        print(f"{name:24} {1e3 * seconds / INSTANTS:8.2f} ms   all four in all views in {whole:.0%}   {bar}")


def limited(rig: Rig) -> Tracker:
    """A tracker with the limits of the default configuration."""
    config = ReconstructConfig()
    return Tracker(rig, Limits(*thresholds_px(rig, config), config.max_step_m, config.max_gap_ms * 1e6, config.min_joints))


def crossing_figures() -> None:
    people_m = walkers(CROSSING)
    between_m = np.linalg.norm(people_m[:, None, :, 11] - people_m[None, :, :, 11], axis=-1)[np.triu_indices(PEOPLE, 1)]
    print(f"\n{PEOPLE} people of the virtual studio cross for {CROSSING} instants, hips {100 * between_m.min():.0f} cm apart")
    print(f"{SPOILT_PX:.0f} px noise, {MISSING:.0%} of joints missing, {SWAPPED:.0%} of limbs exchanged")
    print("bars: no switch, IDF1 0.99, MPJPE 15 mm with 4 cameras, 20 mm with 3")
    for size_wh in ((640, 480), (1280, 960)):
        for cameras in (4, 3):
            rig = studio_cameras(cameras, size_wh)
            report_crossing(f"{cameras} cameras, {size_wh[0]} x {size_wh[1]}", rig, people_m)


def report_crossing(name: str, rig: Rig, people_m: np.ndarray) -> None:
    """Identities, errors of instants alone and of smoothed tracks, and errors that noise alone makes of all true joints."""
    config = ReconstructConfig()
    found = list(reconstruct(rig, ((time_ns(f), v) for f, v in enumerate(detected(rig, people_m))), config))
    instants = [(s.person, np.arange(PEOPLE), distances_m(s.xyz_m, people_m[:, f])) for f, s in enumerate(found)]
    figures = identity_figures(instants, 0.25)
    true = {predicted: who for who, predicted in figures.identity.items()}
    noisy_px = np.stack([c.project(people_m.reshape(-1, 3)) for c in rig.cameras])
    noisy_px += np.random.default_rng(9).normal(0, SPOILT_PX, noisy_px.shape)
    best_m = np.linalg.norm(triangulate(rig, noisy_px).xyz_m - people_m.reshape(-1, 3), axis=-1)
    print(f"{name}: switches {sum(figures.switches.values())}, IDF1 {figures.idf1:.4f}")
    print(f"  MPJPE {told(found, people_m, true, 'xyz_m')}; noise alone, nothing missing: {1e3 * best_m.mean():.1f} mm")
    for smooth in ("kalman", "butterworth", "spline", "one_euro"):
        tracks = list(with_tracks(found, config.model_copy(update={"smooth": smooth})))
        print(f"  {smooth:12} {told(tracks, people_m, true, 'smooth_m')}")


def told(found: list[Skeletons3D], people_m: np.ndarray, true: dict[int, int], which: str) -> str:
    """MPJPE and how many joints are not known."""
    off_m = [
        np.linalg.norm(getattr(s, which)[k] - people_m[true[int(p)], f], axis=-1)
        for f, s in enumerate(found) for k, p in enumerate(s.person) if int(p) in true
    ]  # fmt: skip
    return f"{1e3 * np.nanmean(off_m):.1f} mm, {np.isnan(off_m).mean():.1%} of joints not known"


def memory_figures() -> None:
    """What MINUTES of people who walk on the spot need beyond the first one, through reconstruction and smoothing."""
    rig, config, minute = studio_cameras(4), ReconstructConfig(), 60 * FPS
    second = see(rig, np.stack([walk((x, 0.0), (0.0, 0.0), minute // 60, x) for x in (-0.8, 0.8)]), NOISE_PX)
    views = ((time_ns(f), [at(pose, time_ns(f)) for pose in second[f % len(second)]]) for f in range(MINUTES * minute))
    start = time.process_time()
    for f, _ in enumerate(with_tracks(reconstruct(rig, views, config), config)):
        if f == minute:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    each = 1e3 * (time.process_time() - start) / (MINUTES * minute)
    print(
        f"\n{MINUTES} minutes of 4 views, 2 people: {grown_mb:.1f} MB more than one minute needs, {each:.1f} CPU ms an instant"
    )


def at(pose: Poses2D | None, t_ns: int) -> Poses2D | None:
    """The same people at another time."""
    return None if pose is None else replace(pose, t_ns=t_ns)


def main() -> None:
    shelf_figures()
    speed_figures()
    memory_figures()
    crossing_figures()


if __name__ == "__main__":
    main()
