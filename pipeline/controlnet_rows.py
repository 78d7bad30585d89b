"""A dataset as diffusers' train_controlnet.py reads it: columns image, conditioning_image and text."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.captions import describe
from pipeline.conditions import pose_map
from pipeline.samples import decode_image, encode_png
from pipeline.shards import ShardWriter
from pipeline.tables import CONTROLNET

ROWS_PER_SHARD = 1000


def write_controlnet(rows: Iterable[tuple[str, dict[str, Any]]], folder: Path) -> list[str]:
    """Write (split, SAMPLES row) pairs to SPLIT-*.parquet: the image, its people as an OpenPose-coloured pose map of the same
    size, and the prompt of a generated image, or else a description."""
    with ExitStack() as stack:
        writers: dict[str, ShardWriter] = {}
        for split, row in rows:
            if split not in writers:
                writers[split] = stack.enter_context(ShardWriter(folder, CONTROLNET, ROWS_PER_SHARD, split))
            writers[split].write(_row(row))
    return []


def _row(row: dict[str, Any]) -> dict[str, Any]:
    xy_px = np.stack([row["x_px"], row["y_px"]], axis=-1).astype(np.float64)
    xy_px[np.array(row["visible"]) == 0] = np.nan
    conditioning = encode_png(pose_map(xy_px, (row["width_px"], row["height_px"])))
    text = row["prompt"] or describe(decode_image(row["image"]["bytes"]), xy_px)
    name = f"{row['id']}-pose.png"
    return {"image": row["image"], "conditioning_image": {"bytes": conditioning, "path": name}, "text": text}
