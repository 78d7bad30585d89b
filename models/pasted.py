"""Synthetic people pasted into training views: cut out in the virtual studio, with exact labels, in front of a photo's people.

Cut, paste and learn (Dwibedi 2017): edges are feathered and colours drawn towards the photo's, so that a network does not
learn to find the seam. What the pasted person covers is known to be hers: a joint of somebody else there is no longer seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.encoded_image import ImageError, decode_rgba
from models.errors import DataError
from models.photos import Photo, read_photos
from models.skeleton import COCO17, Topology
from models.views import View, ViewConfig, moved_joints, random_turn, warp

Array = NDArray[Any]

MOST_PEOPLE = 2  # pasted into one view
TRIES = 8  # places tried for a person before she is left out
LEAST_SHOWN = 0.5  # share of the seen joints that everybody else keeps
SMALLEST = 0.2  # a pasted person's longer side, as a share of the view
HIDDEN_RADIUS = 3  # heatmap pixels around a covered joint that teach nothing: two sigmas of the widest target


@dataclass(frozen=True)
class Layer:
    """A cut-out where it will be pasted: colour (h, w, 3) float32, alpha (h, w) 0..1, joints (J, 3) x, y px and visible."""

    colour: Array
    alpha: Array
    joints: Array
    size_px: float


def read_cutouts(folder: Path, topology: Topology = COCO17) -> list[Photo]:
    """Cut-outs of a COCO-layout folder of RGBA pictures with one labelled person each (`pipeline.studio_coco.write_cutouts`).

    Raises DataError when there are none, or when the first has no alpha.
    """
    if not (folder / "annotations.json").is_file():
        raise DataError(f"{folder}: expected annotations.json and images/ of cut-out people, found no annotations.json; "
                         "draw some with `posemill draw cutouts DIR N`")  # fmt: skip
    photos = [photo for photo in read_photos(folder, topology) if len(photo.people) == 1]
    if not photos:
        raise DataError(f"{folder}: expected pictures of one labelled person each, found none")
    _rgba(photos[0])
    return photos


def paste_people(
    rng: np.random.Generator, view: View, cutouts: Sequence[Photo], config: ViewConfig, topology: Topology
) -> View:
    """The view with one or two people before it; each is left out where she would hide too much of somebody."""
    seen = view.joints[..., 2].sum(1)  # of everybody before anybody hid a joint of theirs
    for _ in range(int(rng.integers(1, MOST_PEOPLE + 1))):
        cutout = cutouts[int(rng.integers(len(cutouts)))]
        rgba = _rgba(cutout)
        for _ in range(TRIES):
            layer = place_cutout(rng, rgba, cutout, view, config, topology)
            if layer.joints[:, 2].sum() >= config.min_joints and _leaves_enough(view, layer, seen):
                view = lay_over(rng, view, layer, config.stride_px)
                seen = np.append(seen, layer.joints[:, 2].sum())
                break
    return view


def place_cutout(
    rng: np.random.Generator, rgba: Array, cutout: Photo, view: View, config: ViewConfig, topology: Topology
) -> Layer:
    """A person (h, w, 4) anywhere in the view, about as large as somebody in it, turned and flipped as photos are."""
    [person] = cutout.people
    size_wh = (view.image.shape[1], view.image.shape[0])
    flip = bool(rng.random() < 0.5)
    size_px = _long_side_px(rng, view, config)
    scale = size_px / max(float(person.box[2:].max()), 1.0)
    linear = scale * random_turn(rng, config, flip)
    target = rng.uniform(0.1, 0.9, 2) * size_wh
    centre = person.box[:2] + person.box[2:] / 2
    view_from_px = np.concatenate([linear, (target - linear @ centre)[:, None]], 1)
    moved = warp(rgba, view_from_px, scale, np.zeros((*view.image.shape[:2], 4), np.float32))
    alpha = moved[..., 3]
    colour = moved[..., :3] / np.maximum(alpha, 1e-3)[..., None]
    return Layer(colour, _feathered(rng, alpha), moved_joints(person, view_from_px, flip, topology, size_wh), size_px)


def lay_over(rng: np.random.Generator, view: View, layer: Layer, stride_px: int) -> View:
    """The view with a person before it: pixels, joints, and loss weights (1 on her; nothing where she hides a joint)."""
    alpha = layer.alpha[..., None]
    image = view.image * (1 - alpha) + _matched(rng, layer, view.image) * alpha
    hidden = covered(view, layer)
    joints = view.joints.copy()
    joints[..., 2] *= ~hidden
    weight = _weight(view, layer, hidden, stride_px)
    everybody = np.concatenate([joints, layer.joints[None]])
    return View(image.round().astype(np.uint8), everybody, np.append(view.sizes_px, layer.size_px), weight)


def covered(view: View, layer: Layer) -> Array:
    """(N, J) seen joints of the view's people that lie under the layer."""
    height, width = layer.alpha.shape
    xy = view.joints[..., :2].round().astype(int).clip(0, (width - 1, height - 1))
    return np.asarray((view.joints[..., 2] > 0) & (layer.alpha[xy[..., 1], xy[..., 0]] >= 0.5))


def _leaves_enough(view: View, layer: Layer, seen: Array) -> bool:
    left = view.joints[..., 2].sum(1) - covered(view, layer).sum(1)
    return bool((left >= LEAST_SHOWN * seen).all())


def _long_side_px(rng: np.random.Generator, view: View, config: ViewConfig) -> float:
    """Near that of somebody whose joints are seen; anything a view may show where nobody is."""
    side, present = min(view.image.shape[:2]), view.sizes_px[view.joints[..., 2].any(1)]
    if len(present):
        size_px = present[int(rng.integers(len(present)))] * np.exp(rng.uniform(-0.4, 0.4))
    else:
        size_px = side * np.exp(rng.uniform(np.log(config.min_person), np.log(config.max_person)))
    return float(np.clip(size_px, SMALLEST * side, config.max_person * side))


def _feathered(rng: np.random.Generator, alpha: Array) -> Array:
    """Alpha that fades inwards, where the colour is known."""
    return np.asarray(alpha * cv2.GaussianBlur(alpha, (0, 0), float(rng.uniform(0.5, 1.2))))


def _matched(rng: np.random.Generator, layer: Layer, image: Array) -> Array:
    """The layer's colours with mean and contrast drawn up to half of the way to the view's."""
    share, body = rng.uniform(0, 0.5), layer.colour[layer.alpha > 0.5]
    if not len(body):
        return layer.colour
    mean, contrast = body.mean(0), float(image.std() / max(body.std(), 1.0))
    gain = 1 + share * (np.clip(contrast, 0.6, 1.4) - 1)
    goal = mean + share * (image.mean((0, 1)) - mean)
    return np.asarray(np.clip((layer.colour - mean) * gain + goal, 0, 255))


def _weight(view: View, layer: Layer, hidden: Array, stride_px: int) -> Array:
    """(J, h/4, w/4): everything is known on the pasted person, and nothing of the joints that she hides."""
    _, height, width = view.weight.shape
    body = cv2.resize(layer.alpha, (width, height), interpolation=cv2.INTER_AREA) >= 0.5
    weight = np.where(body, np.float32(1), view.weight)
    for person, j in np.argwhere(hidden):
        x, y = ((view.joints[person, j, :2] + 0.5) / stride_px - 0.5).round().astype(int)
        cv2.circle(weight[j], (int(x), int(y)), HIDDEN_RADIUS, 0.0, -1)
    return weight


def _rgba(cutout: Photo) -> Array:
    """(h, w, 4) float32: premultiplied RGB in 0..255 and alpha in 0..1."""
    try:
        rgba = decode_rgba(cutout.encoded)
    except ImageError as error:
        raise DataError(f"{cutout.file_name}: not a cut-out person: {error}") from error
    alpha = rgba[..., 3:].astype(np.float32) / 255
    return np.concatenate([rgba[..., :3] * alpha, alpha], axis=-1)
