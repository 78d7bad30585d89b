"""Detect: who is in every image of one camera, found by the network or taken from another tool's detections."""

from __future__ import annotations

import glob
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.shipped import weights_path
from pipeline.config import DetectConfig
from pipeline.detections import Detections, read_detections
from pipeline.errors import InputError
from pipeline.ingest import read_frame_sets
from pipeline.parquet import opened
from pipeline.pose_rows import poses2d_rows
from pipeline.progress import progress
from pipeline.session import resolve
from pipeline.store import Ref, Slot, Store
from pipeline.tables import POSES2D, frames_of, instants_of, read_rows, write_rows
from pipeline.types import Array, Artefact, Poses2D

VERSION = "3"
CHUNK_MARK = "@"  # in the part of a chunk: CAMERA@FIRST-END; no camera has it in its name

Image = NDArray[np.uint8]
People = tuple[Array, Array, Array]


class FindsPeople(Protocol):
    """What `models.detector.load_detector` returns."""

    def detect(self, images: NDArray[np.uint8]) -> list[People]:
        """images (B, H, W, 3) RGB -> per image xy_px (P, J, 2), score (P, J), tag (P, K)."""
        ...


def detect(detector: FindsPeople, frames: Iterable[tuple[int, Image]], camera: str, config: DetectConfig) -> Iterator[Poses2D]:
    """People in the frames (t_ns, RGB (H, W, 3)) of one camera, best first, in batches; memory is one batch.

    Joints below min_score are NaN with score 0; people with fewer than min_joints joints are left out.
    """
    stream = iter(frames)
    while batch := list(islice(stream, config.batch)):
        found = detector.detect(np.stack([image for _, image in batch]))
        for (t_ns, _), (xy_px, score, tag) in zip(batch, found, strict=True):
            yield keep_good(Poses2D(camera, t_ns, xy_px, score, tag), config)


def keep_good(pose: Poses2D, config: DetectConfig) -> Poses2D:
    """Weak joints made missing, people with too few joints dropped, at most max_people kept, best mean score first."""
    seen = np.isfinite(pose.xy_px).all(-1) & (np.nan_to_num(pose.score) >= max(config.min_score, 1e-9))
    score = np.where(seen, pose.score, 0.0)
    order = np.argsort(-score.mean(1), kind="stable") if len(pose) else np.zeros(0, dtype=np.int64)
    keep = [p for p in order if seen[p].sum() >= config.min_joints][: config.max_people]
    xy_px = np.where(seen[..., None], pose.xy_px, np.nan)
    return Poses2D(pose.camera, pose.t_ns, xy_px[keep], score[keep], pose.tag[keep])


def imported(detections: Detections, shown: dict[int, list[int]], camera: str, config: DetectConfig) -> Iterator[Poses2D]:
    """Detections of another tool as poses. shown: frame index -> t_ns of the instants it is on screen at.

    Raises InputError when the number of frames they tell of differs from the clip's by more than max_frame_difference.
    """
    last = max(shown, default=-1)
    # A folder has a file for every frame; a COCO file is silent about frames without people, so it may well end early.
    off = detections.last_index - last if detections.source.is_dir() else max(0, detections.last_index - last)
    if abs(off) > config.max_frame_difference:
        raise InputError(
            f"{detections.source}: detections reach frame {detections.last_index}, those of camera {camera} end at {last}: "
            "expected detections of every frame of this very clip, numbered from 0. Export them again, or allow the "
            f"difference: --set detect.max_frame_difference={abs(off)}"
        )
    for t_ns, index in sorted((t_ns, index) for index, times in shown.items() for t_ns in times):
        xy_px, score = detections.at(index)
        yield keep_good(Poses2D(camera, t_ns, xy_px, score, np.zeros((len(xy_px), 0))), config)


def run(store: Store, ref: Ref, config: DetectConfig) -> Artefact:
    """Detect in one camera (`ref.part`) of one clip; POSES2D rows. Raises InputError for unreadable imported detections.

    Our own network works chunk by chunk, each a result of its own until all are joined: a killed run goes on from the last one,
    and several workers can share them.
    """
    camera, span = _chunk_of(ref.part)
    source = store.session.clip(ref.clip).detections.get(camera, "")
    told = _told_of_import(resolve(store.root, source)) if source else told_of_weights(config.weights)
    slot = store.slot("detect", VERSION, config, ref, given=told)
    if done := slot.done():
        if span is None and not source:
            _forget_chunks(store, ref, config, told)
        return done
    if span is not None:
        return _write(slot, list(_detected(store, ref, camera, span, config)))
    instants = len(instants_of(ref.only("ingest").path))
    about = {"camera": camera, "instants": instants, **in_short(told)}
    if source:
        return _write(slot, list(_imported(store, ref, source, config)), about)
    return _joined(store, slot, [run(store, chunk, config) for chunk in chunks(store, ref, config)], about)


def chunks(store: Store, ref: Ref, config: DetectConfig) -> list[Ref]:
    """The chunks that a camera's part of a clip is detected in, equally long but for the last; none where it is imported or
    done. Lengths are whole batches, so that the network sees the same batches however many chunks there are."""
    told = told_of_weights(config.weights)
    if ref.part in store.session.clip(ref.clip).detections or store.slot("detect", VERSION, config, ref, given=told).done():
        return []
    return _cut(ref, config)


def _cut(ref: Ref, config: DetectConfig) -> list[Ref]:
    frames = len(_instants_with_image(ref, ref.part))
    count = max(1, math.ceil(frames / config.chunk_frames))
    length = math.ceil(frames / count / config.batch) * config.batch
    spans = ((first, min(first + length, frames)) for first in range(0, frames, max(length, 1)))
    return [replace(ref, part=f"{ref.part}{CHUNK_MARK}{first:06d}-{end:06d}") for first, end in spans]


def _forget_chunks(store: Store, ref: Ref, config: DetectConfig, told: Mapping[str, Any]) -> None:
    """Chunks of a camera that is done: a run killed while it forgot them has left some."""
    if store.has(f"clips/{glob.escape(ref.clip)}/detect-{glob.escape(ref.part)}{CHUNK_MARK}*"):
        for chunk in _cut(ref, config):
            slot = store.slot("detect", VERSION, config, chunk, given=told)
            store.forget(Artefact(slot.kind, slot.path, slot.digest, 0))


def _chunk_of(part: str) -> tuple[str, tuple[int, int] | None]:
    """Camera, and first and end of the frames of a chunk; None for all of them."""
    camera, mark, span = part.partition(CHUNK_MARK)
    first, _, end = span.partition("-")
    return camera, (int(first), int(end)) if mark else None


def _joined(store: Store, slot: Slot, parts: Sequence[Artefact], about: Mapping[str, Any]) -> Artefact:
    """The chunks as one result; then they are not needed any more."""
    rows = [row for part in parts for row in read_rows(part.path)]
    told = summarise([part.summary for part in parts], about)
    made = slot.commit(lambda path: write_rows(path, rows, POSES2D), len(rows), told)
    for part in parts:
        store.forget(part)
    return made


def _write(slot: Slot, poses: Sequence[Poses2D], about: Mapping[str, Any] | None = None) -> Artefact:
    """Poses of a chunk, or, with what there is to say about it, of a whole clip."""
    rows = list(poses2d_rows(poses))
    told = counts_of(poses)
    return slot.commit(
        lambda path: write_rows(path, rows, POSES2D), len(rows), told if about is None else summarise([told], about)
    )


def _imported(store: Store, ref: Ref, source: str, config: DetectConfig) -> Iterator[Poses2D]:
    shown = frames_of(ref.only("ingest").path, ref.part)
    poses = imported(read_detections(resolve(store.root, source)), shown, ref.part, config)
    yield from _counted(poses, ref.part, sum(map(len, shown.values())))


def _detected(store: Store, ref: Ref, camera: str, span: tuple[int, int], config: DetectConfig) -> Iterator[Poses2D]:
    instants = _instants_with_image(ref, camera)[slice(*span)]
    sets = read_frame_sets(store, ref.only("ingest"), ref.clip, [camera], instants)
    frames = ((instant.t_ns, frame.image) for instant in sets if (frame := instant.frames[0]) is not None)
    yield from _counted(detect(detector_of(config), frames, camera, config), ref.part, span[1] - span[0])


def _instants_with_image(ref: Ref, camera: str) -> list[int]:
    """The instants at which a camera has a frame, in order."""
    shown = [("camera", "==", camera), ("frame_index", ">=", 0)]
    path = ref.only("ingest").path
    with opened(path, ["instant", "camera", "frame_index"]):
        return sorted(pq.read_table(path, columns=["instant"], filters=shown)["instant"].to_pylist())


def _counted(poses: Iterable[Poses2D], label: str, total: int) -> Iterator[Poses2D]:
    with progress(f"detect {label}", total, "frames") as advance:
        for pose in poses:
            yield pose
            advance(1)


def detector_of(config: DetectConfig) -> FindsPeople:
    """The detector of the settings, on a GPU when there is one. Raises WeightsError and BackendError."""
    from models.detector import load_detector

    options = config.model_dump(include={"size_px", "scales", "flip", "turned", "batch"})
    digest = told_of_weights(config.weights)["weights_sha256"]
    return _loaded(load_detector, digest, config.weights, config.backend, tuple(options.items()))


@lru_cache(maxsize=1)
def _loaded(load: Callable[..., FindsPeople], _: str, weights: str, backend: str, options: tuple[Any, ...]) -> FindsPeople:
    """Loaded once for all chunks of a process, and anew when the weights change."""
    return load(weights, "auto", backend=backend, **dict(options))


def counts_of(poses: Sequence[Poses2D]) -> dict[str, float]:
    """What adds up over chunks: images, people in them, images without people, joints found and the sum of their scores."""
    scores = np.concatenate([pose.score[pose.score > 0] for pose in poses]) if poses else np.zeros(0)
    return {
        "images": len(poses),
        "people": sum(map(len, poses)),
        "images_without_people": sum(not len(pose) for pose in poses),
        "joints": len(scores),
        "score_sum": float(scores.sum()),
    }


def summarise(counts: Sequence[Mapping[str, float]], about: Mapping[str, Any]) -> dict[str, Any]:
    """Figures for the result table, from the counts of all chunks; about: camera, instants, and what else is to be told."""
    total = {name: sum(count[name] for count in counts) for name in counts_of([])}
    rest = {name: value for name, value in about.items() if name not in ("camera", "instants")}
    return {
        "camera": about["camera"],
        "images": total["images"],
        "instants_without_image": about["instants"] - total["images"],
        "people": total["people"],
        "images_without_people": total["images_without_people"],
        "mean_score": round(total["score_sum"] / total["joints"], 3) if total["joints"] else 0.0,
        **rest,
    }


def told_of_weights(weights: str) -> dict[str, Any]:
    """What decides the result of our own network, and goes into the dataset card: new weights run the stage again."""
    file = weights_path(weights)
    if not file.is_file():
        return {"weights": weights, "weights_sha256": ""}  # loading them will say what is there instead
    content = file.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])  # the format's own first lines
    licence = json.loads(header.get("__metadata__", {}).get("licence", '"not stated"'))
    return {"weights": weights, "weights_sha256": hashlib.sha256(content).hexdigest(), "weights_licence": licence}


def in_short(told: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of weights as the result table and cards show it: hashes by their first letters."""
    return {name: value[:12] if name.endswith("sha256") else value for name, value in told.items()}


def _told_of_import(path: Path) -> dict[str, Any]:
    """The same for detections of another tool: SHA-256 of the file, or of every JSON file in the folder."""
    digest = hashlib.sha256()
    for file in sorted(path.glob("*.json")) if path.is_dir() else [path] if path.is_file() else []:
        digest.update(f"{file.name}\n".encode() + hashlib.sha256(file.read_bytes()).digest())
    return {"imported": path.name, "imported_sha256": digest.hexdigest()}
