"""Whole sessions judged against themselves: how many clean skeletons are rejected, how many corrupted copies are found.

Recordings, and virtual sessions that have a detector's faults: its own definition of joints, noise that is uneven, heavy-tailed
and lasts, and a share of frames with gross errors. The p-values were chosen on the virtual ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from models.canonical_pose import headings, turned
from models.plausible import p_values, usual_latents
from models.prior_motion import HELD_OUT, clip_skeletons
from models.prior_score import SkeletonPrior
from models.puppet import Puppet
from pipeline.limbs import body_limbs, limb_lengths_m, median_known
from pipeline.pose_rows import SkeletonFile
from tests.benchmarks.corrupted_skeletons import CORRUPTIONS

Array = NDArray[np.float64]

FALSE_ALARM = 0.01
# A limb that is longer or shorter than usual by more is wrong, whatever the pose; and the joints that corruptions need.
CLEAN, BODY = 0.2, slice(5, None)
FRAMES, SHARES = 100, (0.0, 0.1, 0.25)
LASTS = 0.7  # correlation of the errors of one frame and the next


def measure_session(prior: SkeletonPrior, file: Path, rounds: int = 20) -> None:
    """The skeletons of a recording as they are, those whose limbs keep their length, and with one in twenty corrupted."""
    xyz_m = np.concatenate([instant.xyz_m for instant in SkeletonFile(file)])
    whole = np.flatnonzero(np.isfinite(xyz_m[:, BODY]).all((1, 2)))
    alarms = session_p(prior, xyz_m) < FALSE_ALARM
    print(f"{file.parent.name}: {len(xyz_m)} skeletons, {len(whole)} with all of the body; as recorded {alarms.sum()} rejected")
    clean = keep_lengths(xyz_m)
    others = f"{alarms[~clean].sum()} of {(~clean).sum()}"
    print(
        f"  limbs within {100 * CLEAN:g} % of their median: {clean.sum()}, of which {alarms[clean].sum()} rejected "
        f"({100 * alarms[clean].mean():.1f} %, stated {100 * FALSE_ALARM:g} %); others: {others}"
    )
    if len(whole):
        for name, found in find_corrupted(prior, xyz_m, whole, rounds, np.random.default_rng(0)).items():
            print(f"  corrupted copies found, {name}: {np.mean(found):.2f} of {len(found)}")


def measure_virtual(prior: SkeletonPrior, puppets: Sequence[Puppet]) -> None:
    """Sessions of movements that the prior never saw, by how many of their frames have gross errors."""
    for share in SHARES:
        rng, found = np.random.default_rng(11), dict[str, list[bool]]()
        alarms: list[float] = []
        for kind in HELD_OUT:
            for puppet in puppets:
                xyz_m, gross = virtual_session(puppet, kind, share, rng)
                alarms.append(float((session_p(prior, xyz_m) < FALSE_ALARM)[~gross].mean()))
                for name, some in find_corrupted(prior, xyz_m, np.flatnonzero(~gross), 1, rng).items():
                    found[name] = found.get(name, []) + some
        each = ", ".join(f"{name} {np.mean(some):.2f}" for name, some in found.items())
        uncertain = 100 * np.std(alarms) / len(alarms) ** 0.5
        print(f"gross errors in {100 * share:g} % of {FRAMES} frames, {len(alarms)} sessions: {100 * np.mean(alarms):.2f} +- "
              f"{uncertain:.2f} % of the others rejected (stated {100 * FALSE_ALARM:g} %)")  # fmt: skip
        print(f"  corrupted copies found: {each}")


def find_corrupted(
    prior: SkeletonPrior, xyz_m: Array, whole: NDArray[np.int64], rounds: int, rng: np.random.Generator
) -> dict[str, list[bool]]:
    """Whether each corrupted copy is rejected, by corruption: one in twenty of the `whole` skeletons of (N, J, 3) a round."""
    every: dict[str, list[bool]] = {}
    for name, change in CORRUPTIONS.items():
        every[name] = []
        for _ in range(rounds):
            picked = rng.permutation(whole)[: max(1, len(whole) // 20)]
            session = xyz_m.copy()
            session[picked], touched = change(xyz_m[picked], rng)
            moved = (touched & np.isfinite(xyz_m[picked]).all(-1)).any(1)
            every[name] += (session_p(prior, session)[picked] < FALSE_ALARM)[moved].tolist()
    return every


def keep_lengths(xyz_m: Array) -> NDArray[np.bool_]:
    """(N,) whether every known limb is as long as it is in the session's middle: a look at skeletons of another kind."""
    length_m = limb_lengths_m(xyz_m, body_limbs())
    return ~(np.abs(length_m / median_known(length_m) - 1) > CLEAN).any(1)


def session_p(prior: SkeletonPrior, xyz_m: Array) -> Array:
    """p-values as the audit gives them."""
    latent = prior.score(xyz_m).latent
    return p_values(usual_latents(latent).surprise(latent))


def virtual_session(puppet: Puppet, kind: str, share: float, rng: np.random.Generator) -> tuple[Array, NDArray[np.bool_]]:
    """Skeletons (F, J, 3) of frames of a clip as a detector may have them, and which have gross errors (F,)."""
    _, true_m = clip_skeletons(puppet, kind)
    xyz_m = true_m[np.sort(rng.choice(len(true_m), FRAMES, replace=len(true_m) < FRAMES))]
    body = torch.from_numpy(xyz_m)
    heading = headings(body, torch.ones(xyz_m.shape[:2], dtype=torch.bool))
    defined_m = torch.from_numpy(rng.normal(0, rng.choice([0.0, 0.015, 0.03]), xyz_m.shape[1:]))
    xyz_m = xyz_m + turned(defined_m.expand(xyz_m.shape), heading[:, None], back=True).numpy()
    noise_m = np.exp(rng.uniform(np.log(0.004), np.log(0.025))) * np.exp(rng.normal(0, 0.5, (xyz_m.shape[1], 1)))
    error = rng.standard_t(rng.choice([4.0, 8.0, 100.0]), xyz_m.shape)
    for frame in range(1, FRAMES):
        error[frame] = LASTS * error[frame - 1] + (1 - LASTS**2) ** 0.5 * error[frame]
    xyz_m += noise_m * error
    gross = rng.permutation(FRAMES) < share * FRAMES
    for frame in np.flatnonzero(gross):
        joints = rng.permutation(xyz_m.shape[1])[: rng.integers(1, 3)]
        away = rng.normal(size=(len(joints), 3))
        away *= rng.uniform(0.05, 0.2, (len(joints), 1)) / np.linalg.norm(away, axis=-1, keepdims=True)
        xyz_m[frame, joints] += away
    return Rotation.from_euler("z", rng.uniform(-np.pi, np.pi)).apply(xyz_m.reshape(-1, 3)).reshape(xyz_m.shape), gross
