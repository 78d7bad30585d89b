"""Training the pose prior on virtual people and on the skeletons of finished sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import InputError
from pipeline.pose_rows import SkeletonFile
from pipeline.samples import accepted_people
from pipeline.status import finished
from pipeline.types import DEFAULT_TOPOLOGY, Array

# Beyond it a person's own size is lost in 32 bits, and further out numbers overflow.
FARTHEST_M = 1e6


def train_prior(
    settings: dict[str, Any], people: int, poses: int, sessions: Sequence[Path], report: Callable[[str], None] = print
) -> Path:
    """Train by `settings` of models.train_prior.PriorTraining; goes on where it was stopped. Returns the file of the weights.

    sessions: folders of finished sessions, of which accepted skeletons are taken, or SKELETONS3D files. Raises InputError for
    settings, sessions or checkpoints that cannot be used.
    """
    from models.prior_motion import HELD_OUT, clip_kinds, make_crowd
    from models.train_prior import PriorTraining, train

    try:
        config = PriorTraining(**settings)
        found = [skeleton for path in sessions for skeleton in whole_skeletons(path)]
        if sessions and not found:
            raise InputError(f"{', '.join(map(str, sessions))}: expected skeletons with all joints, found none")
        report(f"drawing {people} people in {poses} poses")
        crowd = make_crowd(people, poses, config.seed)
        about = {
            "people": people, "poses": poses, "clips": clip_kinds(held_out=False), "held_out": list(HELD_OUT),
            "sessions": [path.name for path in sessions], "session_skeletons": len(found),
        }  # fmt: skip
        return train(config, crowd, about, np.stack(found) if found else None, report)
    except (ValueError, ImportError) as error:
        raise error if isinstance(error, InputError) else InputError(str(error)) from error


def whole_skeletons(path: Path) -> Iterator[Array]:
    """Skeletons (J, 3) with every joint: those of a SKELETONS3D file, or those of a session that passed its audit."""
    if path.suffix == ".parquet":
        yield from _whole(path, None)
        return
    for ref, artefact in finished(path, ("reconstruct", "audit")):
        if artefact.kind == "audit":
            yield from _whole(ref.only("reconstruct").path, accepted_people(artefact.path))


def _whole(path: Path, kept: set[tuple[int, int]] | None) -> Iterator[Array]:
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a session's folder or a Parquet file of its skeletons")
    for instant in SkeletonFile(path):
        _check(path, instant.xyz_m)
        for person, xyz_m in zip(instant.person.tolist(), instant.xyz_m, strict=True):
            if np.isfinite(xyz_m).all() and (kept is None or (instant.t_ns, person) in kept):
                yield xyz_m


def _check(path: Path, xyz_m: Array) -> None:
    """Skeletons (P, J, 3) of our joints, in a world that a rig can be in."""
    if xyz_m.shape[1] != len(DEFAULT_TOPOLOGY):
        raise InputError(
            f"{path}: expected the {len(DEFAULT_TOPOLOGY)} joints of {DEFAULT_TOPOLOGY.name}, found {xyz_m.shape[1]}"
        )
    farthest_m = np.abs(xyz_m[np.isfinite(xyz_m)]).max(initial=0.0)
    if farthest_m > FARTHEST_M:
        raise InputError(f"{path}: expected joints within {FARTHEST_M:g} m of the world's origin, found {farthest_m:g} m")
