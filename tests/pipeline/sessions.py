"""A small session on disk that has passed every stage up to the audit: two people, three cameras, one of them unlabelled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from calibration.formats import save_rig
from calibration.rig import Rig
from pipeline.config import AuditConfig, ReconstructConfig
from pipeline.pose_rows import poses2d_rows
from pipeline.session import Clip, Session, Source, save_session
from pipeline.store import Ref, Store
from pipeline.tables import FRAMES, POSES2D, write_rows
from pipeline.types import Artefact, Poses2D
from pipeline.walkers import ring, see, time_ns, walk

INSTANTS = 4
SIZE_WH = (320, 240)


def made_session(root: Path, noise_px: float = 0.3, audit_config: AuditConfig | None = None) -> tuple[Store, Ref]:
    """The store, and what export gets. Person 0 is seen by all; somebody else by cam1 alone; joint 9 is never detected."""
    from pipeline import audit, reconstruct

    rig = ring(3, size_wh=(960, 720))
    scaled = [_small(camera) for camera in rig.cameras]
    rig = type(rig)(tuple(scaled))
    people_m = walk((0.1, 0.0), (0.3, 0.0), INSTANTS)[None]
    seen = see(rig, people_m, noise_px)
    for views in seen:
        for c, pose in enumerate(views):
            assert pose is not None
            views[c] = _without(pose, joint=9) if c else _with_stranger(_without(pose, joint=9))
    clip = Clip(name="walk", sources={name: Source(path=f"raw/{name}") for name in rig.names})
    save_session(Session(name="demo", cameras=rig.names, clips=(clip,)), root)
    store = Store(root)
    _write_images(root, rig.names)
    (root / "rig" / "r").mkdir(parents=True)
    save_rig(rig, root / "rig" / "r" / "rig.yaml")
    calibrate = Artefact("calibrate", root / "rig" / "r", "rig", 3, {"rms_px": 0.2})
    ingest = _ingest(root, rig.names)
    detects = tuple(_detect(root, name, [views[c] for views in seen]) for c, name in enumerate(rig.names))
    ref = Ref((ingest, calibrate, *detects), "walk")
    made = reconstruct.run(store, ref, ReconstructConfig(match_share=20 / 320, threshold_share=8 / 320))
    ref = Ref((*ref.inputs, made), "walk")
    made = audit.run(store, ref, audit_config or AuditConfig())
    return store, Ref((*ref.inputs, made))


def made_clip(root: Path, rig: Rig, seen: Sequence[Sequence[Poses2D | None]]) -> tuple[Store, Ref]:
    """A session whose one clip, `walk`, is ingested, calibrated and detected: what reconstruct gets. No images."""
    clip = Clip(name="walk", sources={name: Source(path=f"raw/{name}") for name in rig.names})
    save_session(Session(name="demo", cameras=rig.names, clips=(clip,)), root)
    (root / "rig" / "r").mkdir(parents=True)
    save_rig(rig, root / "rig" / "r" / "rig.yaml")
    calibrate = Artefact("calibrate", root / "rig" / "r", "rig", len(rig), {"rms_px": 0.2})
    size_wh = rig.cameras[0].size_wh
    ingest = _ingest(root, rig.names, len(seen), size_wh)
    detects = tuple(_detect(root, name, [views[c] for views in seen]) for c, name in enumerate(rig.names))
    return Store(root), Ref((ingest, calibrate, *detects), "walk")


def _small(camera):
    """The same view in images of a third of the size."""
    from dataclasses import replace

    K = camera.K.copy()
    K[:2] /= 3.0
    return replace(camera, size_wh=SIZE_WH, K=K)


def _without(pose: Poses2D, joint: int) -> Poses2D:
    xy_px, score = pose.xy_px.copy(), pose.score.copy()
    xy_px[:, joint], score[:, joint] = np.nan, 0
    return Poses2D(pose.camera, pose.t_ns, xy_px, score, pose.tag)


def _with_stranger(pose: Poses2D) -> Poses2D:
    """Somebody more, at the left edge of the image, whom no other camera sees."""
    stranger = np.stack([np.linspace(5, 25, 17), np.linspace(60, 200, 17)], axis=-1)[None]
    return Poses2D(
        pose.camera,
        pose.t_ns,
        np.concatenate([pose.xy_px, stranger]),
        np.concatenate([pose.score, np.full((1, 17), 0.8)]),
        np.zeros((len(pose) + 1, 1)),
    )


def _write_images(root: Path, cameras: tuple[str, ...]) -> None:
    for c, camera in enumerate(cameras):
        (root / "raw" / camera).mkdir(parents=True)
        for f in range(INSTANTS):
            image = np.full((SIZE_WH[1], SIZE_WH[0], 3), 40 * c + 10 * f, np.uint8)
            cv2.imwrite(str(root / "raw" / camera / f"{f:04d}.png"), image)


def _ingest(root: Path, cameras: tuple[str, ...], instants: int = INSTANTS, size_wh: tuple[int, int] = SIZE_WH) -> Artefact:
    (root / "clips" / "walk").mkdir(parents=True)
    path = root / "clips" / "walk" / "ingest-0.parquet"
    rows = [
        {
            "instant": f, "t_ns": time_ns(f), "camera": camera, "frame_index": f, "frame_t_ns": time_ns(f),
            "width_px": size_wh[0], "height_px": size_wh[1],
        }
        for f in range(instants) for camera in cameras
    ]  # fmt: skip
    write_rows(path, rows, FRAMES)
    figures = {"size_wh": dict.fromkeys(cameras, list(size_wh)), "image_origin_px": {}, "image_scale": {}}
    return Artefact("ingest", path, "frames", len(rows), figures)


def _detect(root: Path, camera: str, poses: list[Poses2D | None]) -> Artefact:
    path = root / "clips" / "walk" / f"detect-{camera}-0.parquet"
    rows = list(poses2d_rows([pose for pose in poses if pose is not None]))
    write_rows(path, rows, POSES2D)
    told = {"camera": camera, "weights": "default", "weights_sha256": "ab" * 32, "weights_licence": "CC0"}
    return Artefact("detect", path, f"poses {camera}", len(rows), told)
