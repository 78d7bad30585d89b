"""A bumped camera's pose solved anew from the people of a finished clip that the other cameras see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from calibration.errors import CalibrationError
from calibration.formats import save_rig
from calibration.recalibrate import Recalibration, recalibrate, standing_at
from calibration.rig import Rig
from calibration.triangulate import THRESHOLD_PX
from pipeline.bumps import Thinned, shared_joints
from pipeline.clip_rig import clip_rig
from pipeline.errors import InputError, StageError
from pipeline.pose_rows import SkeletonFile
from pipeline.reconstruct import instants_seen
from pipeline.rigs import read_rig
from pipeline.status import reconstructed
from pipeline.store import Ref
from pipeline.tables import instants_of
from pipeline.types import Artefact, Skeletons3D

NS = 1_000_000_000
# Summaries tell times to the millisecond: an instant so close before belongs to it.
ROUNDED_NS = 500_000


@dataclass(frozen=True, eq=False)
class Recalibrated:
    """The file of the new rig, from when on (s of the session's clock) people were looked at, at how many instants, and what
    was solved."""

    file: Path
    since_s: float
    instants: int
    solved: Recalibration


def recalibrate_camera(
    root: Path,
    clip: str,
    camera: str,
    since_s: float | None = None,
    out: Path | None = None,
    preset: str = "",
    settings: Sequence[str] = (),
) -> Recalibrated:
    """Solve one camera of a finished clip anew and write the rig to a new file, lens and other cameras as they were.

    since_s: only people from then on; None: from the last bump that reconstruct told of this camera, or the whole clip.
    out: the new file, by default below SESSION/rig. Raises InputError for a clip, camera, time or file that will not do,
    StageError when the people do not determine the pose.
    """
    ref, made = reconstructed(root, clip, preset, settings)
    seen = {artefact.summary["camera"]: artefact for artefact in ref.all("detect")}
    if camera not in seen:
        raise InputError(f"--camera: expected one of {', '.join(seen)} (they filmed {clip}), got {camera!r}")
    file = _new_file(root, clip, camera, out)
    since = since_s if since_s is not None else _last_bump_s(ref, made, camera)
    rig = clip_rig(ref, seen)
    times, skeletons = _people_since(ref, made, since)
    xy_px = shared_joints(rig, instants_seen(times, list(seen.values())), skeletons)[1]
    try:
        solved, report = recalibrate(rig, camera, xy_px, threshold_px=_threshold_px(rig))
    except CalibrationError as error:
        raise StageError(f"{root}: clip {clip} since {since:.3f} s: {error}") from error
    pose = solved[camera].cam_from_world
    save_rig(standing_at(read_rig(ref.only("calibrate")), camera, pose, report.pose_covariance), file)
    return Recalibrated(file, since, xy_px.shape[1], report)


def _new_file(root: Path, clip: str, camera: str, out: Path | None) -> Path:
    """The file asked for, or the first free name below the session's rig folder. Raises InputError where one stands already."""
    if out is not None:
        if out.exists():
            raise InputError(f"--out {out}: expected a new file, found one; nothing is overwritten: choose another name")
        return out
    names = (f"recalibrated-{camera}-{clip}{f'-{number}' if number > 1 else ''}.yaml" for number in range(1, 10_000))
    return next(file for name in names if not (file := root / "rig" / name).exists())


def _last_bump_s(ref: Ref, made: Artefact, camera: str) -> float:
    """When reconstruct saw this camera bumped last; the beginning of the clip when it did not."""
    told = [row["time_s"] for row in made.summary.get("bumps", ()) if camera in row["camera"].split(" or ")]
    return float(told[-1]) if told else instants_of(ref.only("ingest").path)[0] / NS


def _people_since(ref: Ref, made: Artefact, since_s: float) -> tuple[list[int], list[Skeletons3D]]:
    """Instants with people from since_s on, and the people. Raises InputError when there are none."""
    thinned = Thinned()
    for one in SkeletonFile(made.path):
        if one.t_ns >= since_s * NS - ROUNDED_NS:
            thinned.add(one)
    skeletons = thinned.instants
    if not skeletons:
        span = instants_of(ref.only("ingest").path)
        raise InputError(
            f"--since {since_s:g}: nobody was reconstructed in {ref.clip} from then on; the clip lasts from "
            f"{span[0] / NS:.3f} to {span[-1] / NS:.3f} s"
        )
    return [one.t_ns for one in skeletons], skeletons


def _threshold_px(rig: Rig) -> float:
    """Joints of the other cameras in conflict are left out beyond Pose2Sim's figure, which is for full-HD images."""
    return THRESHOLD_PX * max(max(camera.size_wh) for camera in rig.cameras) / 1920.0
