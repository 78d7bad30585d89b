"""Measures how the clocks of a clip's cameras differ, by the way that is surest, and keeps it in session.yaml."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from calibration.clock_keypoints import keypoint_clocks
from calibration.clock_signals import even_signal, flash_clock, flash_times, signal_clock
from calibration.clock_tracks import Tracks, image_tracks
from calibration.clocks import Clocks, PairClock, solve_clocks
from calibration.errors import CalibrationError
from calibration.rig import Rig
from pipeline.clip_rig import clip_rig
from pipeline.errors import InputError
from pipeline.film_signals import light, sound
from pipeline.pose_rows import stream_poses2d
from pipeline.probe import NS
from pipeline.session import Clip, ClipClock, Session, Source, load_session, resolve, save_session
from pipeline.sources import by_file, open_source
from pipeline.status import finished
from pipeline.store import Ref
from pipeline.tables import frames_of
from pipeline.types import DEFAULT_TOPOLOGY, Artefact

METHODS = ("audio", "keypoints", "flash", "motion")
MOTION_HZ, MOTION_WINDOW_S, SOUND_WINDOW_S = 120.0, 15.0, 8.0
# A clock that is not known to half a frame orders no frames.
MAX_SIGMA_FRAMES = 0.5


def sync_clip(
    root: Path, name: str, method: str, max_offset_s: float, settings: Sequence[str], say: Callable[[str], None]
) -> ClipClock:
    """Measure the clocks of one clip and write them to session.yaml. method: one of METHODS, or auto: each in turn, the surest
    of those that are sure. Raises InputError where none is."""
    session = load_session(root)
    clock = measured_clock(root, session.clip(name), method, max_offset_s, settings, say)
    clips = tuple(clip.model_copy(update={"clock": clock}) if clip.name == name else clip for clip in session.clips)
    save_session(Session.model_validate(session.model_copy(update={"clips": clips}).model_dump()), root)
    return clock


def measured_clock(
    root: Path, clip: Clip, method: str, max_offset_s: float, settings: Sequence[str], say: Callable[[str], None]
) -> ClipClock:
    """The clocks of a clip, measured without what session.yaml says of them. Raises InputError as `sync_clip`."""
    if method not in (*METHODS, "auto"):
        raise InputError(f"--method: expected auto or one of {', '.join(METHODS)}, got {method!r}")
    files = by_file(root, clip.sources)
    if len(files) < 2:
        raise InputError(f"clip {clip.name}: all cameras are in {next(iter(files))}: they are on one clock already")
    found: list[ClipClock] = []
    unsure: list[str] = []
    for way in METHODS if method == "auto" else (method,):
        try:
            shared = list(files.values())
            clocks = _by_method(way, root, clip, shared, max_offset_s, settings)
            clock = _as_clip_clock(way, clocks, shared)
            _require_sure(root, clip, clock)
        except (CalibrationError, InputError) as error:
            unsure.append(f"{way}: {error}")
            continue
        say(f"{clip.name}: {way} is sure to {max(clock.sigma_ms.values()):.2f} ms{_contradictions(clocks)}")
        found.append(clock)
    if not found:
        told = "\n".join(f"  {line}" for line in unsure)
        raise InputError(f"clip {clip.name}: no method is sure of its clocks:\n{told}\nFilm something that all cameras sense "
                         "at once (a clap, a flash, somebody walking), or trigger the cameras together")  # fmt: skip
    return min(found, key=lambda clock: max(clock.sigma_ms.values()))


def _by_method(
    method: str, root: Path, clip: Clip, shared: Sequence[Sequence[str]], max_offset_s: float, settings: Sequence[str]
) -> Clocks:
    """shared: cameras by clock; those in one file have one."""
    first = [cameras[0] for cameras in shared]
    if method == "keypoints":
        views, clock_of = _tracks(root, clip, shared, settings)
        return keypoint_clocks(views, max_offset_s, clock_of)
    pairs = _PAIRS[method](root, {name: clip.sources[name] for name in first}, max_offset_s)
    return solve_clocks(first, pairs, float(np.mean([pair.about_s for pair in pairs])))


def _contradictions(clocks: Clocks) -> str:
    """What a user should look at: pairs that say another offset than all others together do."""
    told = [f"{pair.a}-{pair.b} ({1e3 * pair.offset_s:+.1f} ms)" for pair in clocks.left_out]
    return f"; left out because they contradict the other pairs: {', '.join(told)}" if told else ""


def _sound_pairs(root: Path, sources: dict[str, Source], max_offset_s: float) -> list[PairClock]:
    heard = [sound(name, resolve(root, source.path)) for name, source in sources.items()]
    return _all_pairs(lambda i, j: signal_clock(heard[i], heard[j], max_offset_s, SOUND_WINDOW_S, 1.0), list(sources))


def _motion_pairs(root: Path, sources: dict[str, Source], max_offset_s: float) -> list[PairClock]:
    seen = []
    for name, source in sources.items():
        own_s, _, change = light(root, name, source)
        seen.append(even_signal(name, own_s, change, MOTION_HZ))
    return _all_pairs(lambda i, j: signal_clock(seen[i], seen[j], max_offset_s, MOTION_WINDOW_S, 0.0), list(sources))


def _flash_pairs(root: Path, sources: dict[str, Source], max_offset_s: float) -> list[PairClock]:
    seen = {name: light(root, name, source) for name, source in sources.items()}
    flashes = [flash_times(own_s, level) for own_s, level, _ in seen.values()]
    frame_s = max(float(np.median(np.diff(own_s))) for own_s, _, _ in seen.values())
    names = list(sources)
    return _all_pairs(lambda i, j: flash_clock(names[i], names[j], flashes[i], flashes[j], max_offset_s, frame_s), names)


_PAIRS: dict[str, Callable[[Path, dict[str, Source], float], list[PairClock]]] = {
    "audio": _sound_pairs, "motion": _motion_pairs, "flash": _flash_pairs,
}  # fmt: skip


def _all_pairs(measure: Callable[[int, int], PairClock], names: Sequence[str]) -> list[PairClock]:
    """Every pair that says something; those that do not may be connected through others. Raises CalibrationError when none
    does."""
    pairs, unsure = [], []
    for i, j in combinations(range(len(names)), 2):
        try:
            pairs.append(measure(i, j))
        except CalibrationError as error:
            unsure.append(str(error))
    if not pairs:
        raise CalibrationError("; ".join(unsure))
    return pairs


def _tracks(root: Path, clip: Clip, shared: Sequence[Sequence[str]], settings: Sequence[str]) -> tuple[list[Tracks], list[int]]:
    """People of every camera of a finished detection by the camera's own times, and the clock of each camera."""
    made = finished(root, ("ingest", "calibrate", "detect"), "", settings)
    found = [(ref, artefact) for ref, artefact in made if artefact.kind == "detect" and ref.clip == clip.name]
    if not found:
        raise InputError(f"clip {clip.name}: shows no people; its detections tell nothing")
    rig = next(artefact for _, artefact in made if artefact.kind == "calibrate")
    frames = found[0][0].only("ingest")
    seen = {artefact.summary["camera"]: artefact for _, artefact in found}
    cameras = clip_rig(Ref((frames, rig), clip.name), seen)
    clock_of = [next(k for k, names in enumerate(shared) if name in names) for name in cameras.names]
    return [_track(root, clip, cameras, name, frames, seen[name]) for name in cameras.names], clock_of


def _track(root: Path, clip: Clip, rig: Rig, name: str, frames: Artefact, poses: Artefact) -> Tracks:
    own_ns = open_source(root, clip.sources[name]).probe().t_ns
    index_of = {t_ns: index for index, times in frames_of(frames.path, name).items() for t_ns in times}
    people = {index_of[pose.t_ns]: pose.xy_px for pose in stream_poses2d(poses.path, len(DEFAULT_TOPOLOGY))}
    nobody = np.zeros((0, len(DEFAULT_TOPOLOGY), 2))
    shown = sorted(set(index_of.values()))
    return image_tracks(rig[name], np.array([own_ns[k] for k in shown]) / NS, [people.get(k, nobody) for k in shown])


def _require_sure(root: Path, clip: Clip, clock: ClipClock) -> None:
    frame_ms = max(1e3 / max(open_source(root, source).probe().fps, 1e-9) for source in clip.sources.values())
    camera = max(clock.sigma_ms, key=lambda name: clock.sigma_ms[name])
    if clock.sigma_ms[camera] > MAX_SIGMA_FRAMES * frame_ms:
        raise InputError(f"camera {camera}: known to {clock.sigma_ms[camera]:.1f} ms only (expected half a frame, "
                         f"{MAX_SIGMA_FRAMES * frame_ms:.1f} ms)")  # fmt: skip


def _as_clip_clock(method: str, clocks: Clocks, shared: Sequence[Sequence[str]]) -> ClipClock:
    """Offsets at each camera's own time zero, as session.yaml has them."""
    of = {name: number for number, cameras in enumerate(shared) for name in cameras}
    offset_s = clocks.offset_s - clocks.drift * clocks.about_s
    return ClipClock(
        method=method,
        offset_s={name: round(float(offset_s[k]), 6) for name, k in of.items()},
        drift_ppm={name: round(1e6 * float(clocks.drift[k]), 3) for name, k in of.items()},
        sigma_ms={name: round(1e3 * float(clocks.sigma_s[k]), 3) for name, k in of.items()},
        drift_sigma_ppm={name: round(1e6 * float(clocks.drift_sigma[k]), 3) for name, k in of.items()},
    )
