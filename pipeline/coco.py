"""COCO keypoint JSON beside its image files, for tools that read nothing else (cocodataset.org, data format 4)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.skeleton import Topology, box_xywh_px
from pipeline.labels import clip_box
from pipeline.types import DEFAULT_TOPOLOGY, Array

PERSON = 1


class CocoWriter:
    """Collects annotations and writes each image to folder/images as it comes; `close` writes folder/annotations.json.

    Boxes are those of the joints with a margin: nobody outlined the body. People without labels are crowd boxes, which COCO's
    evaluation and training ignore.
    """

    def __init__(self, folder: Path, description: str, topology: Topology = DEFAULT_TOPOLOGY) -> None:
        self.folder, self.description, self.topology = folder, description, topology
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        (folder / "images").mkdir(parents=True, exist_ok=True)

    def add(self, row: dict[str, Any]) -> None:
        """One SAMPLES row: an image with its people."""
        name, size_wh = row["image"]["path"], (row["width_px"], row["height_px"])
        (self.folder / "images" / name).write_bytes(row["image"]["bytes"])
        image_id = len(self._images) + 1
        told = {key: row[key] for key in ("clip", "camera", "t_ns", "origin")}
        self._images.append({"id": image_id, "file_name": name, "width": size_wh[0], "height": size_wh[1], **told})
        for x_px, y_px, visible in zip(row["x_px"], row["y_px"], row["visible"], strict=True):
            labelled = np.where(np.array(visible)[:, None] > 0, np.stack([x_px, y_px], axis=-1), np.nan)
            box = box_xywh_px(labelled)
            if box is not None:
                self._annotate(image_id, clip_box(box, size_wh), _triplets(labelled, visible), crowd=None)
        for box in np.array(row["ignore_xywh_px"], dtype=float).reshape(-1, 4):
            nothing: list[float] = [0] * (3 * len(self.topology))
            self._annotate(image_id, box, nothing, crowd=_box_rle(box, *size_wh))

    def _annotate(self, image_id: int, box: Array, keypoints: list[float], crowd: dict[str, Any] | None) -> None:
        # COCO's boxes count from the corner of the first pixel, ours from its centre.
        left, top, width, height = (round(float(v), 2) for v in box + [0.5, 0.5, 0.0, 0.0])
        right, bottom = left + width, top + height
        outline = [[left, top, right, top, right, bottom, left, bottom]]
        self._annotations.append(
            {
                "id": len(self._annotations) + 1,
                "image_id": image_id,
                "category_id": PERSON,
                "keypoints": keypoints,
                "num_keypoints": sum(v > 0 for v in keypoints[2::3]),
                "bbox": [left, top, width, height],
                "area": round(width * height, 2),
                "segmentation": outline if crowd is None else crowd,
                "iscrowd": 0 if crowd is None else 1,
            }
        )

    def close(self) -> None:
        """Write annotations.json."""
        content = {
            "info": {"description": self.description},
            "licenses": [],
            "categories": [
                {
                    "id": PERSON,
                    "name": "person",
                    "supercategory": "person",
                    "keypoints": list(self.topology.joints),
                    "skeleton": [[a + 1, b + 1] for a, b in self.topology.limbs],
                }
            ],
            "images": self._images,
            "annotations": self._annotations,
        }
        (self.folder / "annotations.json").write_text(json.dumps(content))


def write_coco(rows: Iterable[tuple[str, dict[str, Any]]], folder: Path) -> list[str]:
    """(split, SAMPLES row) pairs as COCO, a folder with annotations.json and images/ for each split; one split: `folder`."""
    writers: dict[str, CocoWriter] = {}
    for split, row in rows:
        if split not in writers:
            writers[split] = CocoWriter(folder / split, "poses of people, seen by several cameras")
        writers[split].add(row)
    for writer in writers.values():
        writer.close()
    if len(writers) == 1:
        [only] = writers
        for path in (folder / only).iterdir():
            path.rename(folder / path.name)
        (folder / only).rmdir()
    return []


def _triplets(xy_px: Array, visible: Sequence[int]) -> list[float]:
    """x, y, v per joint; 0, 0, 0 without a label. COCO's keypoints are pixel numbers: 0 is the centre of the first, as ours."""
    flat: list[float] = []
    for (x, y), v in zip(xy_px, visible, strict=True):
        flat += [round(float(x), 2), round(float(y), 2), int(v)] if v > 0 else [0, 0, 0]
    return flat


def _box_rle(box: Array, width: int, height: int) -> dict[str, Any]:
    """A box as COCO's uncompressed run lengths, column by column: crowds must have a mask."""
    left, top = (int(v) for v in np.floor(box[:2] + 0.5))
    right, bottom = (int(v) for v in np.ceil(box[:2] + box[2:] + 0.5))
    columns, rows = min(right, width) - left, min(bottom, height) - top
    counts = [left * height + top]
    for column in range(columns):
        counts += [rows, height - rows if column < columns - 1 else 0]
    counts[-1] = width * height - sum(counts[:-1])
    return {"counts": counts, "size": [height, width]}
