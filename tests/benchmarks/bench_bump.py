"""Bumped cameras: what is found, what is reported though nothing happened, how exact the time is, and what it costs.

Run: ``python -m tests.benchmarks.bench_bump [RECORDINGS]`` (default 200 of each kind). Synthetic: a ring of four full-HD
cameras, one walking person of 17 joints, 300 frames, 3 px noise per coordinate (in every other recording 0.8 of it stays from
one frame to the next), 10 % gross outliers, 10 % missing. Bumps are 2 to 100 px (log-uniform), of any camera, 30 frames or more
from the ends. Drifts move a camera evenly by 5 to 40 px in the whole recording. Short recordings have 45 frames.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from numpy.typing import NDArray

from calibration.bump import Bump, find_bumps
from calibration.rig import Rig
from calibration.synthetic import ring_rig
from calibration.transforms import Rigid
from tests.calibration.people import filmed, knock, knocked_at, walking

FRAMES = 300


def reports(rig: Rig, poses: dict[str, list[Rigid]], seed: int, frames: int = FRAMES) -> tuple[tuple[Bump, ...], float]:
    """What is found in one recording, and the CPU seconds it took."""
    xy_px = filmed(rig, walking(frames, seed), poses, memory=0.8 * (seed % 2), seed=seed)
    start_s = time.process_time()
    found = find_bumps(rig, np.arange(frames) * 33_333_333, xy_px)
    return found, time.process_time() - start_s


def drifting(rig: Rig, name: str, shift_px: float, seed: int) -> list[Rigid]:
    """Poses of a camera that goes evenly to where a knock of shift_px would put it."""
    away = knock(rig[name], shift_px, seed) @ rig[name].cam_from_world.inverse()
    shares = np.linspace(0, 1, FRAMES)
    return [Rigid.from_rvec(s * away.rvec, s * away.t) @ rig[name].cam_from_world for s in shares]


def short_recordings(rig: Rig, count: int) -> None:
    """45 frames, as the demo has: errors that stay for most of them, and knocks of 10 to 100 px without such errors."""
    t_ns, rng = np.arange(45) * 33_333_333, np.random.default_rng(1)
    for memory in (0.9, 0.95, 0.98):
        quiet = [filmed(rig, walking(45, seed), noise_px=5.0, memory=memory, seed=seed) for seed in range(count)]
        alarms = [bool(find_bumps(rig, t_ns, xy_px)) for xy_px in quiet]
        print(f"45 frames, 5 px of which {memory:.0%} stays from frame to frame: false alarms {share(alarms)}", flush=True)
    told = []
    for seed in range(count):
        pose = knock(rig["cam3"], float(np.exp(rng.uniform(np.log(10), np.log(100)))), seed)
        xy_px = filmed(rig, walking(45, seed), {"cam3": knocked_at(rig["cam3"], 45, {22: pose})}, seed=seed)
        told.append([bump.camera for bump in find_bumps(rig, t_ns, xy_px)] == ["cam3"])
    print(f"45 frames, knocks of 10 to 100 px told, and nothing else: {share(told)}", flush=True)


def share(hits: NDArray | list[bool]) -> str:
    """A count and its share."""
    return f"{int(np.sum(hits))} of {len(hits)} ({100 * np.mean(hits):.1f} %)"


def main() -> None:
    """Print one line per question."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    rig, rng = ring_rig(4), np.random.default_rng(0)
    quiet = [bool(reports(rig, {}, seed)[0]) for seed in range(count)]
    print(f"false alarms on quiet recordings: {share(quiet)}", flush=True)
    found, right, late, alone, size_px, off_px = [], [], [], [], [], []
    for seed in range(count):
        name, frame = rig.names[rng.integers(4)], int(rng.integers(30, FRAMES - 30))
        size_px.append(float(np.exp(rng.uniform(np.log(2), np.log(100)))))
        poses = {name: knocked_at(rig[name], FRAMES, {frame: knock(rig[name], size_px[-1], seed)})}
        bumps, _ = reports(rig, poses, 1000 + seed)
        near = [bump for bump in bumps if abs(bump.frame - frame) <= 15]
        found.append(bool(near))
        if near:
            late.append(abs(near[0].frame - frame))
            right.append(near[0].camera == name)
            off_px.append(abs(near[0].size.shift_px - size_px[-1]) / size_px[-1])
        alone.append(len(bumps) <= 1)
        if not near or len(bumps) > 1:
            told = [(bump.camera, bump.frame, round(bump.size.shift_px, 1)) for bump in bumps]
            print(f"  seed {seed}: {name} {frame} {size_px[-1]:.1f} px: {told}")
    size = np.array(size_px)
    for low, high in ((2, 3), (3, 5), (5, 100)):
        print(f"found, {low} to {high} px: {share(np.array(found)[(size >= low) & (size < high)])}")
    print(f"right camera: {share(right)}; nothing else reported: {share(alone)}")
    print(f"size off by {100 * np.median(off_px):.0f} % (median)")
    print(f"time error: median {np.median(late):.0f}, 95 % {np.percentile(late, 95):.0f}, worst {max(late)} frames", flush=True)
    short_recordings(rig, count)
    drift = []
    for seed in range(count // 2):
        drift.append(bool(reports(rig, {"cam2": drifting(rig, "cam2", rng.uniform(5, 40), seed)}, 2000 + seed)[0]))
    print(f"drifts reported as bumps: {share(drift)}", flush=True)
    for what, bumps_at in (("no bump", {}), ("one bump", {400: knock(rig["cam2"], 8.0, 1)})):
        _, cpu_s = reports(rig, {"cam2": knocked_at(rig["cam2"], 1000, bumps_at)}, 3, 1000)
        print(f"4 cameras x 1000 frames x 17 joints, {what}: {cpu_s:.1f} CPU s")


if __name__ == "__main__":
    main()
