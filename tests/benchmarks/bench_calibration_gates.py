"""Wrong calibrations that must be refused, and good ones that must not.

Run: ``python -m tests.benchmarks.bench_calibration_gates [COUNT [FIRST]]``: COUNT (200) wrong ones, evenly of each kind, and as
many good ones, drawn with seeds from FIRST (0) on. A rig is refused when solving it raises CalibrationError or a gate fails.
What is wrong with the recording goes through `calibrate_rig`; what is wrong with a finished rig (another tool's, or one solved
with a wrong square) goes through `verify_rig`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from calibration.board import Board
from calibration.errors import CalibrationError
from calibration.extrinsics import calibrate_rig
from calibration.planar import board_candidates
from calibration.quality import Gate, failures
from calibration.rig import Rig
from calibration.synthetic import moving_board, project_board, ring_rig
from calibration.transforms import Rigid
from calibration.verify import verify_rig

Array = NDArray[np.float64]
BOARDS = (
    Board("charuco", 9, 6, 0.06, 0.045, "DICT_4X4_50"),
    Board("charuco", 5, 7, 0.12, 0.09, "DICT_4X4_50"),
    Board("chessboard", 7, 5, 0.08),
)
SIZES = ((1920, 1080), (1280, 720), (640, 480), (1080, 1920))


@dataclass(frozen=True, eq=False)
class Session:
    """A rig with its truth, what it recorded of a board carried smoothly through its volume, and whether lenses are known."""

    rig: Rig
    board: Board
    observations: Array
    lenses_known: bool
    rng: np.random.Generator


def session(seed: int, smooth: bool = False) -> Session:
    """Two to six cameras of one size around a volume, 0.1 to 0.6 px noise at 1920 px, up to 10 % of the corners of
    marker boards misread."""
    rng = np.random.default_rng(seed)
    board, size, count = BOARDS[rng.integers(len(BOARDS))], SIZES[rng.integers(len(SIZES))], int(rng.integers(2, 7))
    focal_px = max(size) * rng.uniform(0.6, 1.0)
    arc_deg = float(rng.uniform(25, 35) * count)
    rig = ring_rig(
        count, rng.uniform(2.2, 3.5), rng.uniform(0.8, 2.0), size_wh=size, focal_px=focal_px, arc_deg=arc_deg, seed=seed
    )
    known = bool(rng.random() < 0.7)
    poses = moving_board(rig, board, 36 if known else 60, facing=neighbours(rig), seed=seed)
    poses = between(poses[:24], 4) if smooth else poses
    noise_px = rng.uniform(0.1, 0.6) * max(size) / 1920
    # A chessboard is found whole or not at all: single corners are not misread.
    misread = 0.0 if board.kind == "chessboard" else rng.uniform(0, 0.1)
    seen = project_board(rig, board, poses, noise_px, misread, rng.uniform(0, 0.1), seed)
    return Session(rig, board, seen.observations, known, rng)


def neighbours(rig: Rig) -> list[tuple[str, ...]]:
    """The board is turned to two or three cameras at a time, as a person does who walks around with it."""
    return [rig.names[k : k + 3] for k in range(max(1, len(rig) - 2))]


def between(poses: tuple[Rigid, ...], steps: int) -> tuple[Rigid, ...]:
    """A smooth path: some centimetres and degrees between one instant and the next."""
    at = np.linspace(0, len(poses) - 1, (len(poses) - 1) * steps + 1)
    turns = Slerp(np.arange(len(poses)), Rotation.from_matrix(np.stack([p.R for p in poses])))(at).as_matrix()
    shifts = np.stack([np.interp(at, np.arange(len(poses)), axis) for axis in np.stack([p.t for p in poses]).T], axis=1)
    return tuple(Rigid(R, t) for R, t in zip(turns, shifts, strict=True))


def solved(given: Session, observations: Array, sizes: list[tuple[int, int]] | None = None) -> tuple[Gate, ...]:
    cameras = given.rig.cameras
    intrinsics = [replace(c, size_wh=s) for c, s in zip(cameras, sizes, strict=True)] if sizes else list(cameras)
    _, report = calibrate_rig(
        observations, given.board, [c.size_wh for c in intrinsics], given.rig.names, intrinsics if given.lenses_known else None
    )
    return report.gates


def good(seed: int) -> tuple[Gate, ...]:
    given = session(seed, smooth=bool(seed % 2))
    return (*solved(given, given.observations), *verify_rig(given.rig, given.observations, given.board))


def mirrored(seed: int) -> tuple[Gate, ...]:
    """The images of all cameras, or of one, are mirrored left to right."""
    given = session(seed)
    wrong = given.observations.copy()
    chosen = slice(None) if seed % 2 else int(given.rng.integers(len(given.rig)))
    wrong[chosen, ..., 0] = given.rig.cameras[0].size_wh[0] - 1 - wrong[chosen, ..., 0]
    return solved(given, wrong)


def swapped_cameras(seed: int) -> tuple[Gate, ...]:
    """A finished rig in which two cameras carry each other's names."""
    given = session(seed)
    a, b = given.rng.choice(len(given.rig), 2, replace=False)
    cameras = list(given.rig.cameras)
    cameras[a], cameras[b] = replace(cameras[b], name=cameras[a].name), replace(cameras[a], name=cameras[b].name)
    return verify_rig(Rig(tuple(cameras)), given.observations, given.board)


def wrong_square(seed: int) -> tuple[Gate, ...]:
    """A rig solved with a square 2 to 60 % too large or small, held against a board of known size."""
    given = session(seed)
    factor = float(np.exp(given.rng.choice([-1, 1]) * given.rng.uniform(np.log(1.02), np.log(1.6))))
    cameras = (c.with_pose(Rigid(c.cam_from_world.R, c.cam_from_world.t * factor)) for c in given.rig.cameras)
    return verify_rig(Rig(tuple(cameras)), given.observations, given.board)


def duplicated_block(seed: int) -> tuple[Gate, ...]:
    """Two cameras were given one recording."""
    given = session(seed)
    a, b = given.rng.choice(len(given.rig), 2, replace=False)
    wrong = given.observations.copy()
    wrong[a] = wrong[b]
    return solved(given, wrong)


def wrong_image_size(seed: int) -> tuple[Gate, ...]:
    """The images are smaller or larger than was said."""
    given = session(seed)
    factor = float(given.rng.choice([0.5, 2 / 3, 0.75, 1.5, 2.0]))
    sizes = [(round(c.size_wh[0] * factor), round(c.size_wh[1] * factor)) for c in given.rig.cameras]
    return solved(replace(given, lenses_known=False), given.observations, sizes)


def stuck_offset(seed: int) -> tuple[Gate, ...]:
    """One camera is one to five instants late throughout."""
    given = session(seed, smooth=True)
    late, wrong = int(given.rng.integers(1, 6)), given.observations.copy()
    camera = int(given.rng.integers(len(given.rig)))
    wrong[camera] = np.roll(wrong[camera], late, axis=0)
    wrong[camera, :late] = np.nan
    return solved(given, wrong)


def planar_flip(seed: int) -> tuple[Gate, ...]:
    """A rig from one view of the board in which one camera was given the mirrored planar pose."""
    given = session(seed)
    camera = int(given.rng.integers(len(given.rig)))
    lens, views = given.rig.cameras[camera], given.observations[camera]
    flips = [(f, found) for f, view in enumerate(views) if len(found := board_candidates(lens, given.board, view)) == 2]
    frame, candidates = flips[int(given.rng.integers(len(flips)))]
    right = min(candidates, key=lambda c: c.rms_px).cam_from_board
    wrong = max(candidates, key=lambda c: c.rms_px).cam_from_board
    cameras = list(given.rig.cameras)
    cameras[camera] = lens.with_pose(wrong @ right.inverse() @ lens.cam_from_world)
    return verify_rig(Rig(tuple(cameras)), given.observations, given.board)


WRONG: tuple[Callable[[int], tuple[Gate, ...]], ...] = (
    mirrored, swapped_cameras, wrong_square, duplicated_block, wrong_image_size, stuck_offset, planar_flip
)  # fmt: skip


def refusal(case: Callable[[int], tuple[Gate, ...]], seed: int) -> str:
    """Why a case was refused, "" when it was not."""
    try:
        return " | ".join(f"{gate.name}: {gate.found}" for gate in failures(case(seed)))
    except CalibrationError as error:
        return f"refused: {error}"


def main() -> None:
    count, first = (int(text) for text in (*sys.argv[1:], *("200", "0")[len(sys.argv) - 1 :]))
    start = time.process_time()
    total = 0
    for number, case in enumerate(WRONG):
        seeds = range(number, count, len(WRONG))
        passed = [seed for seed in seeds if not refusal(case, 1000 + first + seed)]
        total += len(seeds) - len(passed)
        print(
            f"{case.__name__:18} {len(seeds) - len(passed)} of {len(seeds)} refused"
            + f"; NOT refused: {passed}" * bool(passed),
            flush=True,
        )
    told = {seed: reason for seed in range(first, first + count) if (reason := refusal(good, seed))}
    for seed, reason in told.items():
        print(f"good {seed} was refused: {reason[:300]}")
    print(f"wrong: {total} of {count} refused; good: {len(told)} of {count} refused; {time.process_time() - start:.0f} CPU s")


if __name__ == "__main__":
    main()
