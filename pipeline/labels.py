"""Labels of captured images: where accepted skeletons are in them, which joints were seen there, and who has no label."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from calibration.camera import Camera
from calibration.transforms import scale_px
from models.skeleton import box_xywh_px
from pipeline.samples import encode_jpeg, project_labels, sample_id
from pipeline.types import Array, Poses2D, Sample

SEEN, HIDDEN, NOT_LABELLED = 2, 1, 0  # COCO's v
# A detection belongs to a label, and its joint to the label's, within this share of the diagonal of the person's box.
NEAR = 0.15


@dataclass(frozen=True, eq=False)
class Labels:
    """People of one image: identities person (P,), xy_px (P, J, 2), xyz_m (P, J, 3), visible (P, J) as in COCO,
    ignore_xywh_px (B, 4)."""

    person: NDArray[np.int64]
    xy_px: Array
    xyz_m: Array
    visible: NDArray[np.int64]
    ignore_xywh_px: Array


def label_image(
    camera: Camera, person: NDArray[np.int64], accepted_m: Array, rejected_m: Array, pose: Poses2D | None
) -> Labels:
    """Labels from skeletons (P, J, 3) of people (P,) and the detections in this image.

    A joint is SEEN where it was detected too, HIDDEN where it is only projected, NOT_LABELLED outside the image. People who are
    in the image without a label (detected without a skeleton, or with a rejected one) get a box to ignore.
    """
    xy_px, inside = project_labels(camera, accepted_m)
    here = (inside > 0).any(1)
    xy_px, xyz_m, shown = xy_px[here], accepted_m[here], inside[here] > 0
    owner = _owners(xy_px, pose)
    visible = np.where(shown, HIDDEN, NOT_LABELLED).astype(np.int64)
    boxes = [box for box in map(box_xywh_px, project_labels(camera, rejected_m)[0]) if box is not None]
    for d, label in enumerate(owner):
        assert pose is not None
        if label >= 0:
            near_px = NEAR * _diagonal_px(xy_px[label])
            off_px = np.linalg.norm(pose.xy_px[d] - xy_px[label], axis=-1)
            visible[label, shown[label] & (off_px <= near_px)] = SEEN
        elif (box := box_xywh_px(pose.xy_px[d])) is not None:
            boxes.append(box)
    return Labels(person[here], xy_px, xyz_m, visible, np.array(boxes).reshape(-1, 4))


def _owners(xy_px: Array, pose: Poses2D | None) -> NDArray[np.int64]:
    """(D,) which labelled person each detection shows, -1 for none."""
    owner = np.full(0 if pose is None else len(pose), -1, dtype=np.int64)
    if pose is None or not len(pose) or not len(xy_px):
        return owner
    share = np.full((len(pose), len(xy_px)), 1e3)
    for d, p in np.ndindex(share.shape):
        off_px = np.linalg.norm(pose.xy_px[d] - xy_px[p], axis=-1)
        if np.isfinite(off_px).any():
            share[d, p] = min(1e3, float(np.nanmedian(off_px)) / max(_diagonal_px(xy_px[p]), 1.0))
    for d, p in zip(*linear_sum_assignment(share), strict=True):
        owner[d] = p if share[d, p] <= NEAR else -1
    return owner


def clip_box(box: Array, size_wh: tuple[int, int]) -> Array:
    """The part of a box (left, top, width, height) inside an image, whose first pixel reaches from -0.5 to 0.5."""
    low = np.clip(box[:2], -0.5, np.array(size_wh) - 0.5)
    high = np.clip(box[:2] + box[2:], -0.5, np.array(size_wh) - 0.5)
    return np.concatenate([low, high - low])


def _diagonal_px(xy_px: Array) -> float:
    seen = xy_px[np.isfinite(xy_px).all(-1)]
    return float(np.linalg.norm(np.ptp(seen, axis=0))) if len(seen) else 0.0


def captured_sample(
    clip: str, camera: Camera, t_ns: int, image: NDArray[np.uint8], labels: Labels, long_side_px: int, quality: int
) -> Sample:
    """One image (H, W, 3) with its labels, made smaller so that its long side has at most long_side_px."""
    height, width = image.shape[:2]
    scale = min(1.0, long_side_px / max(width, height))
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    ratio = np.array(size_wh) / (width, height)
    small = image if size_wh == (width, height) else cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)
    corners = scale_px(labels.ignore_xywh_px[:, :2], ratio)
    boxes = np.concatenate([corners, labels.ignore_xywh_px[:, 2:] * ratio], axis=1)
    inside = [clip_box(box, size_wh) for box in boxes]
    return Sample(
        id=sample_id(clip, camera.name, t_ns),
        clip=clip,
        camera=camera.name,
        t_ns=t_ns,
        image=encode_jpeg(small.astype(np.uint8, copy=False), quality),
        size_wh=size_wh,
        xy_px=scale_px(labels.xy_px, ratio),
        xyz_m=labels.xyz_m,
        visible=labels.visible,
        person=labels.person,
        origin="captured",
        ignore_xywh_px=np.array([box for box in inside if (box[2:] >= 1.0).all()]).reshape(-1, 4),
    )
