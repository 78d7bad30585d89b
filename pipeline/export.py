"""Export: accepted skeletons and the images they are seen in, with the generated samples, as one dataset.

data/train-*.parquet (Hugging Face), README.md (the card), coco/ (annotations.json and images/), trc/ (one file per person), and
rejected/ (generated samples that failed their check, kept for inspection, never mixed with the others).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.card import Counts, card
from pipeline.clip_rig import clip_rig
from pipeline.coco import CocoWriter
from pipeline.config import ExportConfig
from pipeline.forwards import Forwards
from pipeline.ingest import read_frame_sets
from pipeline.labels import captured_sample, label_image
from pipeline.pose_rows import SkeletonFile, stream_poses2d
from pipeline.progress import progress
from pipeline.samples import accepted_people, keep_accepted, sample_rows
from pipeline.shards import ShardWriter
from pipeline.store import Ref, Store
from pipeline.tables import SAMPLES, instants_of, stream_rows
from pipeline.trc import Trajectories, write_trc
from pipeline.types import DEFAULT_TOPOLOGY, Array, Artefact, Skeletons3D

VERSION = "3"

JOINTS = len(DEFAULT_TOPOLOGY)


def run(store: Store, ref: Ref, config: ExportConfig) -> Artefact:
    """Write export/<name>/ from every clip's artefacts."""
    slot = store.slot("export", VERSION, config, ref, suffix="", name=config.name, given={"session": store.session.name})
    if done := slot.done():
        return done
    return slot.commit(lambda folder: _write(store, ref, config, folder))


def _write(store: Store, ref: Ref, config: ExportConfig, folder: Path) -> tuple[int, dict[str, Any]]:
    clips = clips_of(store, ref)
    counts = Counts()
    coco = CocoWriter(folder / "coco", f"{store.session.name}: poses of people, seen by several cameras")
    with ShardWriter(folder / "data", SAMPLES, config.rows_per_shard) as shards:
        for clip in clips:
            for row in (*captured_rows(store, clip, config), *_generated_rows(clip, accepted=True)):
                counts.add(row)
                shards.write(row)
                coco.add(row)
    coco.close()
    _write_rejected(clips, folder / "rejected", config, counts)
    for clip in clips:
        write_trajectories(clip.clip, _accepted(clip), instants_of(clip.only("ingest").path), folder / "trc")
    (folder / "README.md").write_text(card(store.session.name, clips, counts, config))
    figures = counts.figures()
    if not counts.captured:
        figures["note"] = "no skeleton was accepted: see what the audit says of them"
    return counts.captured + counts.generated, figures


def clips_of(store: Store, ref: Ref) -> list[Ref]:
    """The inputs of the export by clip: those that stand in the clip's folder, and the rig."""
    rig = ref.only("calibrate")
    return [
        Ref((rig, *(artefact for artefact in ref.inputs if artefact.path.parent.name == clip.name)), clip.name)
        for clip in store.session.people_clips
    ]


def captured_rows(store: Store, clip: Ref, config: ExportConfig) -> Iterator[dict[str, Any]]:
    """SAMPLES rows of one clip's own images, in the order of time and camera; images without an accepted person give none."""
    chosen = {t_ns: skeletons for t_ns, skeletons in _by_time(clip).items() if skeletons[0].size}
    poses = {artefact.summary["camera"]: Forwards(stream_poses2d(artefact.path, JOINTS)) for artefact in clip.all("detect")}
    rig = clip_rig(clip, poses)
    numbers = {row["t_ns"]: row["instant"] for row in stream_rows(clip.only("ingest").path, ["t_ns", "instant"])}
    wanted = [numbers[t_ns] for t_ns in chosen if numbers[t_ns] % config.every == 0]
    with progress(f"export {clip.clip}", len(wanted), "instants") as advance:
        for instant in read_frame_sets(store, clip.only("ingest"), clip.clip, rig.names, wanted):
            for camera, frame in zip(rig.cameras, instant.frames, strict=True):
                pose = poses[camera.name].at(instant.t_ns)
                labels = label_image(camera, *chosen[instant.t_ns], pose)
                if frame is not None and len(labels.xy_px):
                    size = (config.image_long_side_px, config.jpeg_quality)
                    sample = captured_sample(clip.clip, camera, instant.t_ns, frame.image, labels, *size)
                    yield from sample_rows([sample])
            advance(1)


def _accepted(clip: Ref) -> Iterator[Skeletons3D]:
    return keep_accepted(SkeletonFile(clip.only("reconstruct").path), accepted_people(clip.only("audit").path))


def _by_time(clip: Ref) -> dict[int, tuple[NDArray[np.int64], Array, Array]]:
    """t_ns -> identities (P,) and skeletons (P, J, 3) of those accepted, and rejected skeletons (R, J, 3)."""
    accepted = {instant.t_ns: instant.person for instant in _accepted(clip)}
    split = {}
    for instant in SkeletonFile(clip.only("reconstruct").path):
        is_kept = np.isin(instant.person, accepted.get(instant.t_ns, ()))
        split[instant.t_ns] = (instant.person[is_kept], instant.xyz_m[is_kept], instant.xyz_m[~is_kept])
    return split


def _generated_rows(clip: Ref, accepted: bool) -> Iterator[dict[str, Any]]:
    verdict = "accepted" if accepted else "rejected"
    for artefact in clip.all("augment"):
        yield from (row for row in stream_rows(artefact.path, SAMPLES.names) if row["verdict"] == verdict)


def _write_rejected(clips: Sequence[Ref], folder: Path, config: ExportConfig, counts: Counts) -> None:
    """Generated samples that failed their check, in shards of their own; no folder when there are none."""
    rows = (row for clip in clips for row in _generated_rows(clip, accepted=False))
    if (first := next(rows, None)) is None:
        return
    with ShardWriter(folder, SAMPLES, config.rows_per_shard, "rejected") as shards:
        for row in chain([first], rows):
            counts.reject(row)
            shards.write(row)


def write_trajectories(clip: str, accepted: Iterable[Skeletons3D], times: Sequence[int], folder: Path) -> None:
    """trc/<clip>-person<k>.trc for every accepted person: all instants of the clip, gaps where none is accepted.

    Smoothed joints where tracks were smoothed; then trc/raw/ holds files of the same names with what each instant alone gives.
    """
    row_of = {t_ns: row for row, t_ns in enumerate(times)}
    raw: dict[int, Array] = {}
    smooth: dict[int, Array] = {}
    for instant in accepted:
        row, people = row_of[instant.t_ns], instant.person.tolist()
        for tracks, joints_m in ((raw, instant.xyz_m), (smooth, instant.smooth_m)):
            for who, joints in zip(people, [] if joints_m is None else joints_m, strict=False):
                if who not in tracks:
                    tracks[who] = np.full((len(times), JOINTS, 3), np.nan)
                tracks[who][row] = joints
    _write_tracks(clip, smooth or raw, times, folder)
    if smooth:
        _write_tracks(clip, raw, times, folder / "raw")


def _write_tracks(clip: str, tracks: Mapping[int, Array], times: Sequence[int], folder: Path) -> None:
    """A file for each person of tracks (F, J, 3)."""
    folder.mkdir(parents=True, exist_ok=True)
    rate_fps = 1e9 / float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    for who, xyz_m in sorted(tracks.items()):
        track = Trajectories(DEFAULT_TOPOLOGY.joints, np.array(times, dtype=np.int64), xyz_m, round(rate_fps, 6))
        write_trc(track, folder / f"{clip}-person{who}.trc")
