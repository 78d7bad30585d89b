"""Quick validation during training: PCK of labelled people in known crops, and a sheet of pictures.

The crop is known here and one person is asked for, so these figures show the course of training; the figures of the
model card come from whole pictures (`pipeline.evaluate_detector`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from models.curves import append_row
from models.errors import DataError
from models.hourglass import StackedHourglass
from models.photos import Person, Photo
from models.skeleton import COCO17, Topology
from models.train_config import TrainConfig
from models.training_sets import read_labelled

Array = NDArray[Any]
THRESHOLD = 0.2  # share of the torso (left shoulder to right hip)


def validation_report(
    net: StackedHourglass,
    config: TrainConfig,
    sets: Mapping[str, Sequence[Photo]],
    step: int,
    out: Path,
    report: Callable[[str], None],
) -> dict[str, float]:
    """PCK of every set of `validation_sets`; writes validation.csv and validation-<set>.png."""
    figures: dict[str, float] = {}
    for name, photos in sets.items():
        crops = [c for p in photos for c in labelled_crops(p, config.view.size_px)]
        found = crop_joints(net, [c[0] for c in crops], config.view.stride_px)
        figures[name] = crop_pck(found, np.stack([c[1] for c in crops]))
        sheet = draw_sheet([c[0] for c in crops[:: max(len(crops) // 32, 1)]], found[:: max(len(crops) // 32, 1)])
        cv2.imwrite(str(out / f"validation-{name}.png"), sheet[..., ::-1])
    append_row(out / "validation.csv", ("step", *figures), {"step": step, **figures})
    report(f"validation at step {step}: " + ", ".join(f"{k} PCK {v:.3f}" for k, v in figures.items()))
    return figures


def validation_sets(config: TrainConfig, held: Mapping[str, list[str]]) -> dict[str, list[Photo]]:
    """Photos to watch: every validation folder, and the photos held out. Raises DataError for a set that shows nobody."""
    sets = {Path(s.folder).name: read_labelled(Path(s.folder)) for s in config.validation}
    for source in config.sources:
        folder = Path(source.folder)
        if names := held.get(folder.name):
            sets[f"{folder.name}_held_out"] = read_labelled(folder, only=names)
    if empty := [name for name, photos in sets.items() if not any(photo.people for photo in photos)]:
        raise DataError(f"--validation {empty[0]}: expected photos with labelled people, found none")
    return sets


def labelled_crops(photo: Photo, size_px: int, share: float = 0.85) -> list[tuple[Array, Array]]:
    """(S, S, 3) crops around the labelled people, the box's longer side at `share`, with joints (J, 3) in crop pixels."""
    image = photo.image()
    return [_crop(image, person, size_px, share) for person in photo.people]


def _crop(image: Array, person: Person, size_px: int, share: float) -> tuple[Array, Array]:
    scale = share * size_px / max(float(person.box[2:].max()), 1.0)
    shift = (size_px - 1) / 2 - scale * (person.box[:2] + person.box[2:] / 2)
    while scale < 0.5 and min(image.shape[:2]) > 8:  # a box may claim far more than its picture, of which little is left
        height, width = image.shape[:2]
        image = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        scale *= 2  # half a pixel of shift at most: within the tolerance of a progress figure
    full = person.xy_px * (share * size_px / max(float(person.box[2:].max()), 1.0)) + shift
    crop = cv2.warpAffine(
        image, np.array([[scale, 0, shift[0]], [0, scale, shift[1]]]), (size_px, size_px), borderValue=(114,) * 3
    )
    return crop, np.column_stack([full, person.labelled])


@torch.inference_mode()
def crop_joints(net: StackedHourglass, crops: list[Array], stride_px: int, batch: int = 32) -> Array:
    """(P, J, 2) place of the highest heatmap value of the last stack, in crop pixels."""
    found, device = [], net.mean.device
    for begin in range(0, len(crops), batch):
        images = torch.from_numpy(np.stack(crops[begin : begin + batch])).to(device).permute(0, 3, 1, 2).float() / 255
        heat = net(images)[-1][0]
        best = heat.flatten(2).argmax(-1).cpu().numpy()
        xy = np.stack([best % heat.shape[-1], best // heat.shape[-1]], -1)
        found.append((xy + 0.5) * stride_px - 0.5)
    return np.concatenate(found)


def crop_pck(found: Array, truth: Array, topology: Topology = COCO17) -> float:
    """Mean over the limb joints of the share within THRESHOLD of the torso; people without a labelled torso are left out."""
    shoulder, hip = topology.index("left_shoulder"), topology.index("right_hip")
    torso = np.linalg.norm(truth[:, shoulder, :2] - truth[:, hip, :2], axis=-1)
    keep = np.nan_to_num(torso) > 0
    error = np.linalg.norm(found[keep] - truth[keep, :, :2], axis=-1) / torso[keep, None]
    right = [
        np.mean(error[truth[keep, j, 2] > 0, j] < THRESHOLD) for j in topology.limb_joints if (truth[keep, j, 2] > 0).any()
    ]
    return float(np.mean(right)) if right else float("nan")


def draw_sheet(crops: list[Array], found: Array, columns: int = 8, topology: Topology = COCO17) -> Array:
    """A contact sheet of crops with the found joints; left limbs green, right limbs red."""
    tiles = []
    for crop, xy in zip(crops, found, strict=True):
        tile = cv2.resize(crop, None, fx=2, fy=2)
        for a, b in topology.limbs:
            colour = (255, 60, 60) if "right" in topology.joints[a] + topology.joints[b] else (60, 255, 60)
            ends = [tuple(int(v) for v in (xy[j] + 0.5) * 2 - 0.5) for j in (a, b)]
            cv2.line(tile, ends[0], ends[1], colour, 2)
        tiles.append(tile)
    while len(tiles) % columns:
        tiles.append(np.zeros_like(tiles[0]))
    return np.concatenate([np.concatenate(tiles[i : i + columns], 1) for i in range(0, len(tiles), columns)])
