"""Samples of the dataset: their names, their labels from skeletons, their images as bytes, and their Parquet rows.

Shared by augment (generated samples) and export (captured ones), so that a generated image can name its parent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.camera import Camera
from models.encoded_image import ImageError, decode_rgb
from pipeline.errors import StageError
from pipeline.parquet import reading
from pipeline.tables import stream_rows
from pipeline.types import Array, Sample, Skeletons3D

VISIBLE = 2  # COCO: labelled and visible; 0: not labelled


def sample_id(clip: str, camera: str, t_ns: int) -> str:
    """The name of the captured sample of one camera at one instant, e.g. ``walk-cam1-000000500000000``."""
    return f"{clip}-{camera}-{t_ns:015d}"


def generated_id(parent: str, variant: int) -> str:
    """The name of the variant-th image generated under the pose of the captured sample `parent`."""
    return f"{parent}-g{variant}"


def derive_seed(*parts: str | int) -> int:
    """A seed in 0..2**63-1 from names and numbers (SHA-256), the same on every machine and in every order of work."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def accepted_people(audit: Path) -> set[tuple[int, int]]:
    """t_ns and person of every skeleton that an AUDIT file accepts. Raises InputError naming the file."""
    with reading(audit):
        rows = stream_rows(audit, ["t_ns", "person", "accepted"])
        return {(row["t_ns"], row["person"]) for row in rows if row["accepted"]}


def keep_accepted(skeletons: Iterable[Skeletons3D], accepted: Container[tuple[int, int]]) -> Iterator[Skeletons3D]:
    """The skeletons that the audit accepted (`accepted_people`); instants that lose all people are left out."""
    for instant in skeletons:
        keep = np.array([(instant.t_ns, int(person)) in accepted for person in instant.person], dtype=bool)
        if keep.any():
            yield instant.take(keep)


def project_labels(camera: Camera, xyz_m: Array) -> tuple[Array, NDArray[np.int64]]:
    """World joints (P, J, 3) in m -> the camera's distorted pixels (P, J, 2) and visibility (P, J), 2 inside the image else 0.

    Joints that are missing, behind the camera or outside the image are NaN. Occlusion is not known from joints alone: a joint
    hidden behind a body counts as visible.
    """
    people, joints = xyz_m.shape[:2]
    xy_px = camera.project(xyz_m).reshape(people, joints, 2)
    inside = np.asarray(np.isfinite(xy_px).all(-1))
    inside &= (np.nan_to_num(xy_px, nan=-1.0) >= -0.5).all(-1)
    inside &= (np.nan_to_num(xy_px, nan=np.inf) <= np.array(camera.size_wh) - 0.5).all(-1)
    return np.where(inside[..., None], xy_px, np.nan), np.where(inside, VISIBLE, 0).astype(np.int64)


def encode_jpeg(image: NDArray[np.uint8], quality: int) -> bytes:
    """RGB uint8 (H, W, 3) as JPEG; the same pixels give the same bytes."""
    return _encode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """RGB uint8 (H, W, 3) as PNG; the same pixels give the same bytes."""
    return _encode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 6])


def _encode(kind: str, image: NDArray[np.uint8], settings: Sequence[int]) -> bytes:
    done, data = cv2.imencode(kind, np.ascontiguousarray(image[..., ::-1]), list(settings))
    if not done:
        raise StageError(f"an image of shape {image.shape} could not be encoded as {kind}")
    return data.tobytes()


def decode_image(data: bytes) -> NDArray[np.uint8]:
    """JPEG or PNG bytes as RGB uint8 (H, W, 3). Raises StageError when they are no image."""
    try:
        return decode_rgb(data)
    except ImageError as error:
        raise StageError(f"a picture of the dataset cannot be decoded: {error}") from error


def sample_rows(samples: Iterable[Sample]) -> Iterator[dict[str, Any]]:
    """Rows of tables.SAMPLES, one per sample; a coordinate that is missing is NaN."""
    for sample in samples:
        suffix = "png" if sample.image.startswith(b"\x89PNG") else "jpg"
        yield {
            "id": sample.id,
            "image": {"bytes": sample.image, "path": f"{sample.id}.{suffix}"},
            "clip": sample.clip,
            "camera": sample.camera,
            "t_ns": sample.t_ns,
            "width_px": sample.size_wh[0],
            "height_px": sample.size_wh[1],
            "x_px": sample.xy_px[..., 0].tolist(),
            "y_px": sample.xy_px[..., 1].tolist(),
            "visible": sample.visible.tolist(),
            "person": [] if sample.person is None else sample.person.tolist(),
            "x_m": sample.xyz_m[..., 0].tolist(),
            "y_m": sample.xyz_m[..., 1].tolist(),
            "z_m": sample.xyz_m[..., 2].tolist(),
            "origin": sample.origin,
            "prompt": sample.prompt,
            "seed": sample.seed,
            "generator": sample.generator,
            "parent": sample.parent,
            "verdict": sample.verdict,
            "reasons": list(sample.reasons),
            "oks": list(sample.oks),
            "drift_px": [list(person) for person in sample.drift_px],
            "ignore_xywh_px": sample.ignore_xywh_px.tolist(),
        }
