"""How well cameras' clocks are found, on streams whose true clocks are known.

python -m tests.benchmarks.bench_sync keypoints --trials 40    offset and drift over ten minutes (bars: 2 ms, 5 ppm, 93 to 97 %)
python -m tests.benchmarks.bench_sync motion                   from the motion in filmed pictures (bar: half a frame)
python -m tests.benchmarks.bench_sync audio                    from sound (bar: 1 ms)
python -m tests.benchmarks.bench_sync real --data FOLDER       keypoints of a real recording by one trigger: the truth is 0

keypoints: people of the virtual studio walk, reach and squat before a ring of four cameras with offsets up to 2 s and drifts
up to 100 ppm; their joints are projected at each camera's own times and spoilt as a detector spoils them: errors of 3 px that
last for some frames (correlation 0.7 from frame to frame), a tenth of the joints missing, people in any order.

motion: the virtual studio films two of them at each camera's own times, H.264. audio: one sound in a room that echoes
differently to each microphone, with noise of its own, AAC in mp4.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.signal import fftconvolve, lfilter

from calibration.camera import Camera
from calibration.clock_keypoints import keypoint_clocks
from calibration.clock_tracks import Tracks, image_tracks
from calibration.clocks import Clocks
from calibration.rig import Rig
from calibration.synthetic import ring_rig
from pipeline.clip_clock import measured_clock
from pipeline.new_session import Request, new_session
from pipeline.probe import Image
from pipeline.studio_people import Posed
from tests.pipeline.clocked_films import crowd_noise, write_film

Array = NDArray[np.float64]
CAMERAS, FPS, SIZE_WH = 4, 30.0, (1280, 720)
NOISE_PX, LASTING, MISSING = 3.0, 0.7, 0.1
MOTION_FPS = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", choices=("keypoints", "motion", "audio", "real"))
    parser.add_argument("--data", type=Path, help="folder with pose2sim_4cam")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=600.0, help="600 for keypoints and audio, 60 for motion are usual")
    asked = parser.parse_args()
    if asked.method == "keypoints":
        keypoints(asked.trials, asked.seconds)
    elif asked.method == "real":
        real(asked.data / "pose2sim_4cam")
    else:
        filmed(asked.method, asked.trials, asked.seconds)


def random_clocks(names: tuple[str, ...], seconds: float, rng: np.random.Generator) -> Clocks:
    """Offsets up to 2 s and drifts up to 100 ppm; the first camera's are zero."""
    offset_s, drift = rng.uniform(-2, 2, len(names)), rng.uniform(-1e-4, 1e-4, len(names))
    offset_s[0] = drift[0] = 0.0
    return Clocks(names, offset_s, drift, seconds / 2, np.zeros((2 * len(names),) * 2))


def keypoints(trials: int, seconds: float) -> None:
    """Worst and typical errors, and how often the 95 % intervals hold."""
    rig = ring_rig(CAMERAS, size_wh=SIZE_WH)
    offset_ms, drift_ppm, inside, took_s = [], [], [], []
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        truth = random_clocks(rig.names, seconds, rng)
        views = detected(rig, performance(seed, seconds), truth, seconds, rng)
        begin = time.perf_counter()
        found = keypoint_clocks(views, 2.5)
        took_s.append(time.perf_counter() - begin)
        true_s = truth.offset_s + truth.drift * (found.about_s - truth.about_s)
        off_s, off = (found.offset_s - true_s)[1:], (found.drift - truth.drift)[1:]
        offset_ms.append(1e3 * np.abs(off_s))
        drift_ppm.append(1e6 * np.abs(off))
        inside.append(np.abs(np.r_[off_s / found.sigma_s[1:], off / found.drift_sigma[1:]]) < 1.96)
        print(f"  {seed}: off by at most {offset_ms[-1].max():.3f} ms, {drift_ppm[-1].max():.2f} ppm", flush=True)
    off_ms, off_ppm = np.concatenate(offset_ms), np.concatenate(drift_ppm)
    print(f"keypoints, {trials} trials of {seconds:g} s, {CAMERAS} cameras, {np.median(took_s):.0f} s each:")
    print(f"  offset off by {np.median(off_ms):.3f} ms (median), {off_ms.max():.3f} ms (worst; bar 2)")
    print(f"  drift off by {np.median(off_ppm):.2f} ppm (median), {off_ppm.max():.2f} ppm (worst; bar 5)")
    print(f"  95 % intervals hold {100 * np.mean(inside):.1f} % of {np.size(inside)} (bar 93 to 97)")


def performance(seed: int, seconds: float) -> CubicSpline:
    """Joints (F, P, J, 3) m of two people of the virtual studio at any session time from -3 s to the end and 3 s more."""
    from models.body import load_body
    from models.motion import MOTIONS
    from pipeline.studio_people import make_actor

    rng, body = np.random.default_rng(seed), load_body()
    t_s = np.arange(-3.0, seconds + 3.0, 1 / MOTION_FPS)
    people = []
    for motion, home_m in (("walk", (0.3, -0.4)), (str(rng.choice(["reach", "squat"])), (-0.7, 0.6))):
        actor, cycle_s = make_actor(body, rng), rng.uniform(1.0, 1.5)
        phases = np.linspace(0, 2 * np.pi, 65)
        cycle_m = np.stack([actor.posed(MOTIONS[motion](float(p)), 0.0, np.zeros(2), 0).joints_m for p in phases[:-1]])
        local = CubicSpline(phases, np.concatenate([cycle_m, cycle_m[:1]]), bc_type="periodic")
        # Nobody repeats a movement exactly: the pace wanders.
        pace = 1 + 0.15 * wandering(len(t_s), 4.0, rng)
        joints_m = local(np.cumsum(pace) / MOTION_FPS * 2 * np.pi / cycle_s + rng.uniform(0, 6.3))
        people.append(placed(joints_m, motion, np.array(home_m), t_s, rng))
    return CubicSpline(t_s, np.stack(people, 1))


def placed(joints_m: Array, motion: str, home_m: Array, t_s: Array, rng: np.random.Generator) -> Array:
    """A walker follows a wandering path and faces along it; others stand and turn a little."""
    if motion == "walk":
        path_m = home_m + 0.9 * np.stack([wandering(len(t_s), 5.0, rng) for _ in "xy"], -1)
        speed = np.gradient(path_m, axis=0)
        yaw = np.unwrap(np.arctan2(speed[:, 0], -speed[:, 1]))
    else:
        path_m, yaw = home_m + 0.05 * np.stack([wandering(len(t_s), 4.0, rng) for _ in "xy"], -1), wandering(len(t_s), 6.0, rng)
    x, y = joints_m[..., 0], joints_m[..., 1]
    c, s = np.cos(yaw)[:, None], np.sin(yaw)[:, None]
    return np.stack([c * x - s * y + path_m[:, :1], s * x + c * y + path_m[:, 1:], joints_m[..., 2]], -1)


def wandering(count: int, within_s: float, rng: np.random.Generator) -> Array:
    """A smooth random path of standard deviation 1 that changes its mind within so many seconds."""
    width = round(within_s * MOTION_FPS)
    window = np.exp(-0.5 * (np.linspace(-3, 3, 3 * width)) ** 2)
    path = fftconvolve(rng.normal(0, 1, count + 3 * width), window, mode="same")[:count]
    return np.asarray((path - path.mean()) / path.std())


def detected(rig: Rig, joints: CubicSpline, truth: Clocks, seconds: float, rng: np.random.Generator) -> list[Tracks]:
    """What a detector says in every camera at its own times."""
    own_s = np.arange(round(seconds * FPS)) / FPS
    views = []
    for c, camera in enumerate(rig.cameras):
        joints_m = joints(truth.session_s(c, own_s))
        xy_px = camera.project(joints_m.reshape(-1, 3)).reshape(*joints_m.shape[:-1], 2)
        fresh = rng.normal(0, NOISE_PX * np.sqrt(1 - LASTING**2), xy_px.shape)
        xy_px += lfilter([1.0], [1.0, -LASTING], fresh, axis=0)
        xy_px[(rng.random(xy_px.shape[:-1]) < MISSING) | (xy_px < 0).any(-1) | (xy_px > np.array(SIZE_WH)).any(-1)] = np.nan
        views.append(image_tracks(camera, own_s, [people[rng.permutation(len(people))] for people in xy_px]))
    return views


def filmed(method: str, trials: int, seconds: float) -> None:
    """Errors in the middle of films by one method, through real files."""
    off_ms, sigma_ms = [], []
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        rig = Rig(ring_rig(CAMERAS, size_wh=(320, 240), focal_px=280.0).cameras)
        truth = random_clocks(rig.names, seconds, rng)
        with tempfile.TemporaryDirectory() as folder:
            film = film_sound if method == "audio" else film_motion
            paths = film(Path(folder), rig, truth, seconds, seed)
            request = Request(cameras=tuple(f"{name}={path}" for name, path in paths.items()), clip="film")
            session, _ = new_session(Path(folder) / "session", request)
            clock = measured_clock(Path(folder) / "session", session.clips[0], method, 2.5, [], lambda _: None)
        own_ns = round(1e9 * seconds / 2)
        for c, name in enumerate(rig.names[1:], 1):
            true_s = float(truth.session_s(c, np.array([seconds / 2]))[0])
            off_ms.append(1e3 * abs(clock.session_ns(name, [own_ns])[0] / 1e9 - true_s))
            sigma_ms.append(clock.sigma_ms[name])
        print(f"  {seed}: off by at most {max(off_ms[-3:]):.3f} ms", flush=True)
    bar_ms = 1.0 if method == "audio" else 0.5e3 / FPS
    told = f"off by {np.median(off_ms):.3f} ms (median), {max(off_ms):.3f} ms (worst; bar {bar_ms:.1f})"
    print(f"{method}, {trials} trials of {seconds:g} s: {told}; 1 sigma told {np.median(sigma_ms):.3f} ms")


def real(data: Path) -> None:
    """Four cameras that one trigger drives film somebody who balances for 1.7 s; our own detector looks at it."""
    from pipeline.config import session_config
    from pipeline.job import LocalRunner, StopAfter, build_dataset
    from pipeline.store import Store
    from tests.benchmarks.bench_flows import WITHOUT_IMAGES, balancing

    settings = [*WITHOUT_IMAGES, "detect.scales=[1.0]", "detect.size_px=320"]
    with tempfile.TemporaryDirectory() as folder:
        root = balancing(data, Path(folder) / "session")
        store = Store(root)
        with suppress(StopAfter):
            build_dataset(store, session_config(store.session, "", settings), LocalRunner(store, until="detect"))
        clock = measured_clock(root, store.session.clips[0], "keypoints", 1.0, settings, lambda _: None)
    for name, offset_s in clock.offset_s.items():
        middle_ms = 1e3 * (offset_s + 1e-6 * clock.drift_ppm[name] * 0.83)
        print(f"  {name}: {middle_ms:+.2f} ms in the middle, 1 sigma {clock.sigma_ms[name]:.2f} ms")


def film_sound(folder: Path, rig: Rig, truth: Clocks, seconds: float, seed: int) -> dict[str, Path]:
    """The sound of a crowd, as each microphone hears it."""
    rng, heard = np.random.default_rng(seed), crowd_noise(seed, seconds)
    paths = {}
    for c, name in enumerate(rig.names):
        echoes = [(rng.uniform(0.005, 0.08), rng.uniform(-0.4, 0.4)) for _ in range(6)]
        own = np.random.default_rng([seed, c])

        def room(t_s: Array, echoes: list[tuple[float, float]] = echoes, own: np.random.Generator = own) -> Array:
            direct = heard(t_s) + sum(gain * heard(t_s - late_s) for late_s, gain in echoes)
            return np.clip(direct + own.normal(0, 0.03, len(t_s)), -1, 1)

        paths[name] = write_film(folder / f"{name}.mp4", None, room, partial(truth.session_s, c), seconds)
    return paths


def film_motion(folder: Path, rig: Rig, truth: Clocks, seconds: float, seed: int) -> dict[str, Path]:
    """Two people of the virtual studio, drawn at every camera's own times."""
    from pipeline.render import Light, Renderer
    from pipeline.studio import laid_over
    from pipeline.studio_scene import room

    rng = np.random.default_rng(seed)
    paths: dict[str, Path] = {}
    with Renderer(rig.cameras[0].size_wh) as renderer:
        walls = [renderer.upload(mesh) for mesh in room(rng)]
        light, cast = Light(), performers(rng)
        for c, camera in enumerate(rig.cameras):
            renderer.shine(light, [])
            empty = renderer.draw(camera, walls)[..., :3].copy()

            def seen(t_s: float, camera: Camera = camera, empty: Image = empty) -> Image:
                drawables = [renderer.upload(mesh) for posed in cast(t_s) for mesh in posed.meshes]
                renderer.shine(light, drawables)
                picture = laid_over(renderer.draw(camera, drawables), empty)
                renderer.release(drawables)
                return np.clip(picture + rng.normal(0, 1.5, picture.shape), 0, 255).astype(np.uint8)

            path = folder / f"{camera.name}.mp4"
            paths[camera.name] = write_film(path, seen, None, partial(truth.session_s, c), seconds)
    return paths


def performers(rng: np.random.Generator) -> Callable[[float], list[Posed]]:
    """Two people at any session time: one walks a circle, one reaches or squats, at paces that wander."""
    from models.body import load_body
    from models.motion import MOTIONS
    from pipeline.studio_people import make_actor

    actors = [make_actor(load_body(), rng) for _ in range(2)]
    motions = [MOTIONS["walk"], MOTIONS[str(rng.choice(["reach", "squat"]))]]
    hz, phase = rng.uniform(0.05, 0.3, (2, 3)), rng.uniform(0, 6.3, (2, 3))

    def at(t_s: float) -> list[Posed]:
        turns = [0.8 * t_s + 0.4 * float(np.sin(2 * np.pi * hz[p] * t_s + phase[p]).sum()) for p in range(2)]
        angle = 0.3 * turns[0]
        floor_m = [0.8 * np.array([np.cos(angle), np.sin(angle)]), np.array([-0.6, 0.5])]
        yaw = [angle + np.pi, 0.2]
        return [actors[p].posed(motions[p](2 * np.pi * turns[p]), yaw[p], floor_m[p], p) for p in range(2)]

    return at


if __name__ == "__main__":
    main()
