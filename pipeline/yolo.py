"""A dataset as Ultralytics' YOLO-pose reads it: images/SPLIT/*.jpg, labels/SPLIT/*.txt and data.yaml."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from models.skeleton import Topology, box_xywh_px
from pipeline.labels import clip_box
from pipeline.types import DEFAULT_TOPOLOGY

PERSON = 0
SPLITS = {"train": "train", "validation": "val", "test": "test"}  # ours: theirs


def write_yolo(rows: Iterable[tuple[str, dict[str, Any]]], folder: Path, topology: Topology = DEFAULT_TOPOLOGY) -> list[str]:
    """Write (split, SAMPLES row) pairs; returns notes on what the format cannot say.

    A line per person: class, box centre and size, then x, y, visible per joint, all lengths as shares of the image's sides as
    Ultralytics' own converter makes them from COCO (pixel numbers over the side; boxes over the outer edges).
    """
    used: set[str] = set()
    ignored = 0
    for split, row in rows:
        used.add(split)
        image = folder / "images" / SPLITS[split] / row["image"]["path"]
        label = folder / "labels" / SPLITS[split] / (Path(row["image"]["path"]).stem + ".txt")
        for file, content in ((image, row["image"]["bytes"]), (label, "".join(_lines(row)).encode())):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        ignored += bool(row["ignore_xywh_px"])
    (folder / "data.yaml").write_text(_data_yaml(used, topology))
    return [f"{ignored} images show people without a label, whom YOLO takes for background"] if ignored else []


def _lines(row: dict[str, Any]) -> Iterable[str]:
    size_wh = np.array([row["width_px"], row["height_px"]], float)
    for x_px, y_px, visible in zip(row["x_px"], row["y_px"], row["visible"], strict=True):
        shown = np.array(visible) > 0
        joints = np.where(shown[:, None], np.stack([x_px, y_px], axis=-1), np.nan)
        if (box := box_xywh_px(joints)) is not None:
            box = clip_box(box, (row["width_px"], row["height_px"]))
            centre = (box[:2] + box[2:] / 2 + 0.5) / size_wh  # edges: our first pixel begins at -0.5
            shares = np.concatenate([centre, box[2:] / size_wh])
            triplets = np.column_stack([np.nan_to_num(joints) / size_wh, visible])
            told = [f"{value:.6f}" for value in shares]
            told += [text for x, y, v in triplets for text in (f"{x:.6f}", f"{y:.6f}", f"{v:.0f}")]
            yield f"{PERSON} {' '.join(told)}\n"


def _data_yaml(used: set[str], topology: Topology) -> str:
    content: dict[str, Any] = {
        "path": ".",
        **{theirs: f"images/{theirs}" for ours, theirs in SPLITS.items() if ours in used},
        "kpt_shape": [len(topology), 3],
        "flip_idx": [int(joint) for joint in topology.mirror],
        "names": {PERSON: "person"},
    }
    if "val" not in content:
        content["val"] = content.get("test", content.get("train"))  # Ultralytics refuses a dataset without one
    return yaml.safe_dump(content, sort_keys=False)
