"""Detect: who is in every image of one camera, found by the network or taken from another tool's detections."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.shipped import weights_path
from pipeline.config import DetectConfig
from pipeline.detections import Detections, read_detections
from pipeline.errors import InputError
from pipeline.ingest import read_frame_sets
from pipeline.progress import progress
from pipeline.session import resolve
from pipeline.store import Ref, Store
from pipeline.tables import POSES2D, frames_of, instants_of, poses2d_rows, write_rows
from pipeline.types import Array, Artefact, Poses2D

VERSION = "2"

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
    """Detect in one camera (`ref.part`) of one clip; POSES2D rows. Raises InputError for unreadable imported detections."""
    source = store.session.clip(ref.clip).detections.get(ref.part, "")
    told = _told_of_import(resolve(store.root, source)) if source else told_of_weights(config.weights)
    slot = store.slot("detect", VERSION, config, ref, given=told)
    if done := slot.done():
        return done
    poses: list[Poses2D] = []
    shown = frames_of(ref.only("ingest").path, ref.part)
    with progress(f"detect {ref.part}", sum(map(len, shown.values())), "frames") as advance:
        for pose in _imported(store, ref, config, shown) if source else _detected(store, ref, config):
            poses.append(pose)
            advance(1)
    rows = list(poses2d_rows(poses))
    short = {name: value[:12] if name.endswith("sha256") else value for name, value in told.items()}
    figures = summarise(ref.part, poses, len(instants_of(ref.only("ingest").path))) | short
    return slot.commit(lambda path: write_rows(path, rows, POSES2D), len(rows), figures)


def _imported(store: Store, ref: Ref, config: DetectConfig, shown: dict[int, list[int]]) -> Iterator[Poses2D]:
    source = resolve(store.root, store.session.clip(ref.clip).detections[ref.part])
    yield from imported(read_detections(source), shown, ref.part, config)


def _detected(store: Store, ref: Ref, config: DetectConfig) -> Iterator[Poses2D]:
    detector = detector_of(config)
    sets = read_frame_sets(store, ref.only("ingest"), ref.clip, [ref.part])
    frames = ((instant.t_ns, frame.image) for instant in sets if (frame := instant.frames[0]) is not None)
    yield from detect(detector, frames, ref.part, config)


def detector_of(config: DetectConfig) -> FindsPeople:
    """The detector of the settings, on a GPU when there is one. Raises WeightsError and BackendError."""
    from models.detector import load_detector

    options = config.model_dump(include={"size_px", "scales", "flip", "turned", "batch"})
    return load_detector(config.weights, "auto", backend=config.backend, **options)


def summarise(camera: str, poses: Sequence[Poses2D], instants: int) -> dict[str, Any]:
    """Figures for the result table: images, people in them, images without people, mean joint score."""
    scores = np.concatenate([pose.score[pose.score > 0] for pose in poses]) if poses else np.zeros(0)
    return {
        "camera": camera,
        "images": len(poses),
        "instants_without_image": instants - len(poses),
        "people": sum(map(len, poses)),
        "images_without_people": sum(not len(pose) for pose in poses),
        "mean_score": round(float(scores.mean()), 3) if len(scores) else 0.0,
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


def _told_of_import(path: Path) -> dict[str, Any]:
    """The same for detections of another tool: SHA-256 of the file, or of every JSON file in the folder."""
    digest = hashlib.sha256()
    for file in sorted(path.glob("*.json")) if path.is_dir() else [path] if path.is_file() else []:
        digest.update(f"{file.name}\n".encode() + hashlib.sha256(file.read_bytes()).digest())
    return {"imported": path.name, "imported_sha256": digest.hexdigest()}
