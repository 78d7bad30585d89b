"""Cutting one training view from one photo: geometry, pixels, labels and loss weights move together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.backdrops import Backdrop
from models.photos import Person, Photo, Source
from models.skeleton import Topology

Array = NDArray[Any]


@dataclass(frozen=True)
class ViewConfig:
    """How a training view is cut: sizes in pixels, angles in degrees, shares of the samples."""

    size_px: int = 128
    stride_px: int = 4
    min_person: float = 0.38  # person's longer side as a share of the view
    max_person: float = 1.2
    rotation_deg: float = 25.0
    rotated: float = 0.6
    mosaic: float = 0.35
    backdrop: float = 0.6  # before a strip of another photo instead of a plain colour
    context: float = 0.2  # cut anywhere in the photo: background, and people in part
    upside_down: float = 0.02
    box_margin: float = 1.3
    max_people: int = 12
    min_joints: int = 4
    mirrored: float = 0.5
    recoloured: bool = True
    paste: float = 0.0  # with one or two synthetic people in front, cut out of virtual-studio pictures


@dataclass(frozen=True)
class View:
    """A rendered training view: image (h, w, 3) uint8, joints (N, J, 3) x, y px and visible, weight (J, h/4, w/4)."""

    image: Array
    joints: Array
    sizes_px: Array
    weight: Array


def render_view(
    rng: np.random.Generator,
    photo: Photo,
    person: Person,
    source: Source,
    view: ViewConfig,
    topology: Topology,
    backdrop: Backdrop,
) -> View:
    """Cut a view around one person (now and then anywhere), moved, flipped, recoloured, before a backdrop of its size."""
    image = photo.image()
    size_wh = (backdrop.image.shape[1], backdrop.image.shape[0])
    flip = bool(rng.random() < view.mirrored)
    if rng.random() < view.context:
        out_from_px, scale = _context_affine(rng, image.shape, view, size_wh, flip)
    else:
        out_from_px, scale = _random_affine(rng, person.box, view, size_wh, flip)
    pixels = warp(image, out_from_px, scale, backdrop.image)
    joints = np.stack([moved_joints(p, out_from_px, flip, topology, size_wh) for p in photo.people])
    known = np.stack([p.labelled[list(topology.mirror)] if flip else p.labelled for p in photo.people])
    weight = _weights(photo, out_from_px, source, view, known, image.shape, backdrop)
    sizes = np.array([max(p.box[2:]) * scale for p in photo.people])
    return View(_recolour(rng, pixels) if view.recoloured else pixels, joints, sizes, weight)


def _random_affine(
    rng: np.random.Generator, box: Array, view: ViewConfig, size_wh: tuple[int, int], flip: bool
) -> tuple[Array, float]:
    """(2, 3) map from image to view pixels, and its scale."""
    share = np.exp(rng.uniform(np.log(view.min_person), np.log(view.max_person)))
    long_side = max(float(box[2:].max()), 1.0)
    scale = share * min(size_wh) / long_side
    if size_wh[1] > size_wh[0] and box[3] > 1.5 * box[2]:  # an upright person fills an upright tile
        scale = min(scale * size_wh[1] / size_wh[0], size_wh[1] / long_side)
    linear = scale * random_turn(rng, view, flip)
    centre = box[:2] + box[2:] / 2
    slack = np.abs(np.array(size_wh) - scale * box[2:]) / 2
    target = (np.array(size_wh) - 1) / 2 + rng.uniform(-1, 1, 2) * slack * 0.6
    return np.concatenate([linear, (target - linear @ centre)[:, None]], 1), float(scale)


def _context_affine(
    rng: np.random.Generator, shape: tuple[int, ...], view: ViewConfig, size_wh: tuple[int, int], flip: bool
) -> tuple[Array, float]:
    """As `_random_affine`, around any point of the image, at a scale at which the image covers the view."""
    wh = np.array(shape[1::-1], np.float64)
    scale = float(max(np.array(size_wh) / wh) * rng.uniform(1.0, 1.6))
    linear = scale * random_turn(rng, view, flip)
    margin = np.minimum(np.array(size_wh) / scale, wh) / 2
    centre = margin + rng.random(2) * (wh - 2 * margin)
    return np.concatenate([linear, ((np.array(size_wh) - 1) / 2 - linear @ centre)[:, None]], 1), scale


def random_turn(rng: np.random.Generator, view: ViewConfig, flip: bool) -> Array:
    """(2, 2) rotation, mirrored left to right by a flip."""
    angle = rng.normal(0, view.rotation_deg) if rng.random() < view.rotated else 0.0
    angle = np.deg2rad(np.clip(angle, -2 * view.rotation_deg, 2 * view.rotation_deg))
    if rng.random() < view.upside_down:
        angle += np.pi
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.array([[-1.0, 0.0], [0.0, 1.0]]) @ turn if flip else turn


def warp(image: Array, out_from_px: Array, scale: float, backdrop: Array) -> Array:
    """The view's pixels before the backdrop; images much larger than the view are halved first so that nothing aliases."""
    out_from_px = out_from_px.copy()
    while scale < 0.6 and min(image.shape[:2]) > 8:
        height, width = image.shape[:2]
        image = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        ratio = np.array([width / (width // 2), height / (height // 2)])
        out_from_px[:, 2] += out_from_px[:, :2] @ ((ratio - 1) / 2)  # x_old = (x + .5) * ratio - .5
        out_from_px[:, :2] *= ratio
        scale *= 2
    size_wh = (backdrop.shape[1], backdrop.shape[0])
    mode = {"flags": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_TRANSPARENT}
    return cv2.warpAffine(image, out_from_px, size_wh, dst=backdrop.copy(), **mode)


def moved_joints(person: Person, out_from_px: Array, flip: bool, topology: Topology, size_wh: tuple[int, int]) -> Array:
    """(J, 3) x, y in view pixels and 1 where labelled; left and right exchanged by a flip."""
    xy, labelled = person.xy_px, person.labelled
    if flip:
        order = list(topology.mirror)
        xy, labelled = xy[order], labelled[order]
    moved = xy @ out_from_px[:, :2].T + out_from_px[:, 2]
    inside = (moved > -0.5).all(1) & (moved < np.array(size_wh) - 0.5).all(1)  # NaN compares false
    return np.column_stack([np.nan_to_num(moved, nan=-1e4), labelled & inside]).astype(np.float32)


def _weights(
    photo: Photo,
    out_from_px: Array,
    source: Source,
    view: ViewConfig,
    known: Array,
    shape: tuple[int, ...],
    backdrop: Backdrop,
) -> Array:
    """(J, h/4, w/4) loss weights: backdrop, background, labelled people 1, and joints of theirs that are not known (N, J)."""
    map_hw = (backdrop.image.shape[0] // view.stride_px, backdrop.image.shape[1] // view.stride_px)
    plane = np.full(map_hw, backdrop.weight, np.float32)
    whole = np.array([0, 0, shape[1], shape[0]], np.float64)

    def fill(target: Array, box: Array, margin: float, value: float) -> None:
        cv2.fillConvexPoly(target, _map_corners(box, margin, out_from_px, view.stride_px), value)

    fill(plane, whole, 1.0, source.outside_weight)
    for box in photo.ignore_boxes:
        fill(plane, box, 1.1, 0.0)
    for person in photo.people:
        fill(plane, person.box, view.box_margin, 1.0)
    for box in photo.ignore_boxes:
        fill(plane, box, 1.0, 0.0)
    weight = np.repeat(plane[None], known.shape[1], 0)
    for person, labelled in zip(photo.people, known, strict=True):
        for j in np.flatnonzero(~labelled):
            fill(weight[j], person.box, view.box_margin, source.unlabelled_weight)
    return weight


def _map_corners(box: Array, margin: float, out_from_px: Array, stride_px: int) -> Array:
    centre, half = box[:2] + box[2:] / 2, box[2:] / 2 * margin
    corners = centre + half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    moved = corners @ out_from_px[:, :2].T + out_from_px[:, 2]
    return np.round((moved + 0.5) / stride_px - 0.5).astype(np.int32)


def _recolour(rng: np.random.Generator, image: Array) -> Array:
    """Gain and offset per channel, gamma, now and then grey, blur or noise."""
    ramp = np.arange(256, dtype=np.float32)[:, None] / 255
    gain, offset = rng.uniform(0.75, 1.25) * rng.uniform(0.9, 1.1, 3), rng.uniform(-0.08, 0.08)
    table = np.clip((ramp ** np.exp(rng.uniform(-0.3, 0.3))) * gain + offset, 0, 1) * 255
    image = cv2.LUT(image, table.astype(np.uint8)[:, None, :])
    if rng.random() < 0.1:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < 0.15:
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.4, 1.2)))
    if rng.random() < 0.15:
        noise = rng.normal(0, rng.uniform(2, 12), image.shape).astype(np.float32)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(image)
