"""People in 3D over time, from whatever file holds them: our Parquet, or trajectories of one person a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.skeleton import COCO17
from pipeline.c3d import read_c3d
from pipeline.errors import InputError
from pipeline.parquet import opened, reading
from pipeline.pose_rows import skeletons3d_from_rows
from pipeline.trajectories_json import read_json
from pipeline.trc import Trajectories, read_trc

Array = NDArray[np.float64]

# Files of trajectories, by their ending.
READERS: dict[str, Callable[[Path], Trajectories]] = {".trc": read_trc, ".c3d": read_c3d, ".json": read_json}
# What `posemill export` calls the trajectories of one person of a clip.
PERSON_FILE = re.compile(r"(?P<clip>.*)-person(?P<person>\d+)")


@dataclass(frozen=True, eq=False)
class People3D:
    """F instants. joints: J names; t_ns (F,) ascending; person: per instant (P,) identities; xyz_m: per instant (P, J, 3) world
    metres with NaN for joints not known. A person of whom nothing is known at an instant is not in it."""

    joints: tuple[str, ...]
    t_ns: NDArray[np.int64]
    person: tuple[NDArray[np.int64], ...]
    xyz_m: tuple[Array, ...]

    def only(self, joints: Sequence[str]) -> People3D:
        """The same people with these joints, in this order; who has none of them is left out."""
        columns = [self.joints.index(joint) for joint in joints]
        cut = [xyz_m[:, columns] for xyz_m in self.xyz_m]
        known = [np.isfinite(xyz_m).all(-1).any(-1) for xyz_m in cut]
        person = tuple(who[kept] for who, kept in zip(self.person, known, strict=True))
        return People3D(tuple(joints), self.t_ns, person, tuple(x[kept] for x, kept in zip(cut, known, strict=True)))


def read_people(path: Path, fps: float | None = None) -> People3D:
    """A Parquet file of skeletons or of true joints, a file of trajectories, or a folder of them (each is one person).

    fps: frame rate of files of trajectories, instead of the times they state. Raises InputError for anything else.
    """
    if path.suffix == ".parquet":
        return _from_parquet(path)
    files = _trajectory_files(path)
    tracks = [_retimed(READERS[file.suffix.lower()](file), fps) for file in files]
    return _together([_person_of(file, number) for number, file in enumerate(files)], tracks)


def joint_name(marker: str) -> str:
    """A marker's name as COCO writes it: RShoulder and right_shoulder are one joint."""
    side = re.fullmatch(r"([RL])_?([A-Z].*)", marker.strip())
    named = f"{'right' if side[1] == 'R' else 'left'}_{side[2]}" if side else marker.strip()
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|\s+", "_", named).lower()


def _trajectory_files(path: Path) -> list[Path]:
    kinds = ", ".join(READERS)
    if not path.exists():
        raise InputError(f"{path}: not found; expected .parquet, {kinds} or a folder of files of one of these")
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in READERS) if path.is_dir() else [path]
    clips = {match["clip"] if (match := PERSON_FILE.fullmatch(file.stem)) else "" for file in files}
    endings = {file.suffix.lower() for file in files}
    if not files or not endings <= READERS.keys():
        raise InputError(
            f"{path}: expected .parquet, {kinds} or a folder of files of one of these, found {path.suffix or 'none'}"
        )
    if len(clips) > 1 or len(endings) > 1:
        found = ", ".join(sorted(clips if len(clips) > 1 else endings))
        raise InputError(
            f"{path}: expected people of one clip in files of one kind, found {found}; put one into a folder of its own"
        )
    return files


def _person_of(file: Path, number: int) -> int:
    match = PERSON_FILE.fullmatch(file.stem)
    return int(match["person"]) if match else number


def _retimed(track: Trajectories, fps: float | None) -> Trajectories:
    """The same frames at fps from the first one's time on."""
    if fps is None or not len(track.t_ns):
        return track
    t_ns = track.t_ns[0] + np.rint(np.arange(len(track.t_ns)) * 1e9 / fps).astype(np.int64)
    return Trajectories(track.markers, t_ns, track.xyz_m, fps)


def _together(persons: Sequence[int], tracks: Sequence[Trajectories]) -> People3D:
    """One person a track; joints that a track lacks are NaN in it."""
    joints = tuple(dict.fromkeys(joint_name(marker) for track in tracks for marker in track.markers))
    t_ns = np.unique(np.concatenate([track.t_ns for track in tracks]))
    xyz_m = np.full((len(t_ns), len(tracks), len(joints), 3), np.nan)
    for p, track in enumerate(tracks):
        columns = [joints.index(joint_name(marker)) for marker in track.markers]
        xyz_m[np.searchsorted(t_ns, track.t_ns)[:, None], p, columns] = track.xyz_m
    there = np.isfinite(xyz_m).all(-1).any(-1)
    who = np.array(persons, dtype=np.int64)
    person = tuple(who[present] for present in there)
    return People3D(joints, t_ns, person, tuple(x[present] for x, present in zip(xyz_m, there, strict=True)))


def _from_parquet(path: Path) -> People3D:
    """A table of SKELETONS3D or TRUTH_JOINTS."""
    with opened(path) as file:
        table = file.read()
    missing = [name for name in ("t_ns", "person", "x_m", "y_m", "z_m") if name not in table.column_names]
    if missing or not len(table):
        found = f"no column {', '.join(missing)}" if missing else "no row"
        raise InputError(f"{path}: expected skeletons as `reconstruct` writes them, found {found}")
    with reading(path):
        return _from_joints(table) if "joint" in table.column_names else _from_skeletons(path, table)


def _from_skeletons(path: Path, table: pa.Table) -> People3D:
    instants = skeletons3d_from_rows(table.to_pylist())
    if (count := instants[0].xyz_m.shape[1]) != len(COCO17):
        raise InputError(f"{path}: expected the {len(COCO17)} joints of {COCO17.name}, found {count}")
    return _people((each.t_ns, each.person, np.array(each.xyz_m)) for each in instants)


def _from_joints(table: pa.Table) -> People3D:
    rows = sorted(table.to_pylist(), key=lambda row: row["t_ns"])
    return _people(_instant(t_ns, list(group)) for t_ns, group in groupby(rows, key=lambda row: row["t_ns"]))


def _instant(t_ns: int, rows: Sequence[dict[str, float]]) -> tuple[int, NDArray[np.int64], Array]:
    person, place = np.unique([int(row["person"]) for row in rows], return_inverse=True)
    xyz_m = np.full((len(person), len(COCO17), 3), np.nan)
    xyz_m[place, [int(row["joint"]) for row in rows]] = [(row["x_m"], row["y_m"], row["z_m"]) for row in rows]
    return t_ns, person.astype(np.int64), xyz_m


def _people(instants: Iterable[tuple[int, NDArray[np.int64], Array]]) -> People3D:
    t_ns, person, xyz_m = zip(*instants, strict=True)
    return People3D(COCO17.joints, np.array(t_ns, dtype=np.int64), person, xyz_m).only(COCO17.joints)
