"""The demo: a virtual session made from simulated recordings, and how far its results are from the truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from calibration.formats import load_rig
from calibration.quality import compare_rigs
from calibration.rig import Rig
from calibration.transforms import Rigid, align
from pipeline.evaluate import mpjpe, pa_mpjpe, share_found
from pipeline.identities import assign, distances_m
from pipeline.new_session import Request, new_session
from pipeline.parquet import reading
from pipeline.pose_rows import SkeletonFile
from pipeline.rigs import read_rig
from pipeline.samples import accepted_people, keep_accepted
from pipeline.session import load_session, save_session
from pipeline.store import Made
from pipeline.studio import StudioConfig, simulate
from pipeline.tables import read_rows
from pipeline.types import Array, Artefact, Skeletons3D

# Small enough that the whole demo takes a few minutes on two cores.
DEMO_STUDIO = StudioConfig(people_instants=45, board_instants=60)
SAME_PERSON_M = 0.5  # a skeleton further than this from everybody, in the mean over joints, is nobody


@dataclass(frozen=True)
class PeopleError:
    """How far skeletons are from the true people. people: true ones, over all instants; found: those matched to a skeleton;
    ghosts: skeletons that are nobody; joints: share of the joints of found people; mpjpe_mm over those joints, without any
    alignment of the person, and pa_mpjpe_mm after each person's best similarity."""

    skeletons: str
    people: int
    found: int
    ghosts: int
    joints: float
    mpjpe_mm: float
    pa_mpjpe_mm: float


def make_demo_session(root: Path, studio: StudioConfig = DEMO_STUDIO) -> bool:
    """Film a virtual session into `root` and write its session.yaml, from the tiled four-way file and the side-by-side stereo
    file as a recorder would have written them. False when that was done before. Raises InputError for a folder in use."""
    if (root / "session.yaml").is_file() and (root / "truth").is_dir():
        return False
    if not (root / "truth").is_dir():
        simulate(root, studio)
    new_session(root, _request(root, "board", board=studio.board, board_clip=True))
    new_session(root, _request(root, "people"))
    session = load_session(root)
    save_session(session.model_copy(update={"preset": "demo", "config": {"calibrate": {"floor_instant": 0}}}), root)
    return True


def _request(root: Path, clip: str, **more: Any) -> Request:
    folder = root / "raw" / clip
    tiled, stereo = str(folder / "fourway.mp4"), str(folder / "stereo.mp4")
    return Request(tiled=tiled, layout="2x2", stereo=stereo, stereo_layout="side-by-side", clip=clip, **more)


def compare_cameras(truth: Path, made: Made) -> list[dict[str, Any]]:
    """Rotation (deg) and centre (mm) error of every camera of a run, after the best rigid motion of the world."""
    rig = read_rig(_of_stage(made, "calibrate"))
    return [asdict(error) for error in compare_rigs(rig, load_rig(truth / "rig.yaml"))]


def compare_people(truth: Path, made: Made) -> list[dict[str, Any]]:
    """Errors (mm) of the skeletons of a run before and after the audit, in the world of the truth."""
    made = list(made)
    truth_from_world = world_motion(read_rig(_of_stage(made, "calibrate")), load_rig(truth / "rig.yaml"))
    skeletons = list(SkeletonFile(_of_stage(made, "reconstruct").path))
    accepted = list(keep_accepted(skeletons, accepted_people(_of_stage(made, "audit").path)))
    with reading(truth / "joints.parquet"):
        people = true_joints(read_rows(truth / "joints.parquet"))
    kinds = {"reconstructed": skeletons, "accepted": accepted}
    errors = []
    for name, kind in kinds.items():
        errors.append(people_error(name, [s.take(s.n_views.any(1)) for s in kind], people, truth_from_world))
        smooth = [replace(s, xyz_m=s.smooth_m) for s in kind if s.smooth_m is not None]
        errors += [people_error(f"{name}, smoothed", smooth, people, truth_from_world)] if smooth else []
    return [asdict(error) for error in errors]


def _of_stage(made: Made, stage: str) -> Artefact:
    return next(artefact for _, artefact in made if artefact.kind == stage)


def world_motion(rig: Rig, truth: Rig) -> Rigid:
    """truth_from_world: the rigid motion that brings the camera centres of `rig` closest to those of `truth`."""
    names = [name for name in rig.names if name in truth.names]
    ours, theirs = ([each[name].centre_m for name in names] for each in (rig, truth))
    return align(np.stack(ours), np.stack(theirs))


def true_joints(rows: Iterable[dict[str, Any]]) -> dict[int, Array]:
    """TRUTH_JOINTS rows as t_ns -> (P, J, 3) in m, true world."""
    found: dict[int, dict[tuple[int, int], tuple[float, float, float]]] = {}
    for row in rows:
        found.setdefault(row["t_ns"], {})[row["person"], row["joint"]] = (row["x_m"], row["y_m"], row["z_m"])
    return {t_ns: _grid(joints) for t_ns, joints in found.items()}


def _grid(joints: dict[tuple[int, int], tuple[float, float, float]]) -> Array:
    people, count = (1 + max(key[axis] for key in joints) for axis in (0, 1))
    grid = np.full((people, count, 3), np.nan)
    for key, xyz in joints.items():
        grid[key] = xyz
    return grid


def people_error(name: str, skeletons: Sequence[Skeletons3D], truth: dict[int, Array], truth_from_world: Rigid) -> PeopleError:
    """Skeletons of a clip against the true people (t_ns -> (P, J, 3)); an instant is matched to the nearest true one."""
    times = np.array(sorted(truth))
    found: list[tuple[Array, Array]] = []
    for instant in skeletons:
        nearest = int(times[np.argmin(np.abs(times - instant.t_ns))])
        found += match_people(truth_from_world.apply(instant.xyz_m), truth[nearest])
    pred, true = (np.stack(side) if found else np.zeros((0, 17, 3)) for side in (list(zip(*found, strict=True)) or [(), ()]))
    return PeopleError(
        skeletons=name,
        people=sum(len(people) for people in truth.values()),
        found=len(found),
        ghosts=sum(map(len, skeletons)) - len(found),
        joints=share_found(pred, true),
        mpjpe_mm=mpjpe(pred, true),
        pa_mpjpe_mm=pa_mpjpe(pred, true),
    )


def match_people(pred: Array, truth: Array) -> list[tuple[Array, Array]]:
    """Pairs (J, 3), (J, 3) of skeletons (P, J, 3) and true people (Q, J, 3) that are the same person: the assignment of least
    total distance, without pairs further apart than SAME_PERSON_M."""
    return [(pred[p], truth[q]) for p, q in assign(distances_m(pred, truth), SAME_PERSON_M)]
