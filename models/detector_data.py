"""Training samples of the detector: views of labelled photos, joined to mosaics, pasted into, with their target heatmaps.

A sample is a pure function of (photos, sources, cut-outs, view, seed, index): resuming at sample n needs no state, with any
number of workers and processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from models.backdrops import Backdrop, photo_backdrop, plain_backdrop
from models.errors import DataError
from models.pasted import paste_people
from models.photos import Photo, Source
from models.skeleton import COCO17, Topology
from models.views import View, ViewConfig, render_view

__all__ = ["PoseSamples", "View", "ViewConfig", "gaussian_maps", "join_tiles", "render_targets"]

Array = NDArray[Any]


@dataclass(frozen=True)
class PoseSamples(Dataset[dict[str, Array]]):
    """Map-style dataset of `length` samples. Item i: image (3, S, S) uint8, target and weight (J, S/4, S/4) float16, joints
    (N, J, 3) float32."""

    photos: Sequence[Sequence[Photo]]
    sources: Sequence[Source]
    view: ViewConfig = field(default_factory=ViewConfig)
    topology: Topology = COCO17
    seed: int = 0
    length: int = 2**62
    cutouts: Sequence[Photo] = ()  # synthetic people on nothing, for the share `view.paste` of the samples

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Array]:
        view = self.sample(index)
        target = render_targets(view, self.view)
        joints = np.zeros((self.view.max_people, len(self.topology), 3), np.float32)
        found = view.joints[: self.view.max_people]
        joints[: len(found)] = found
        joints[..., :2] = (joints[..., :2] + 0.5) / self.view.stride_px - 0.5
        weight = np.maximum(view.weight, target > 0.1)
        maps = {"target": target.astype(np.float16), "weight": weight.astype(np.float16)}  # most of what workers send
        return {"image": view.image.transpose(2, 0, 1).copy(), "joints": joints, **maps}

    def sample(self, index: int) -> View:
        """The augmented view number `index`."""
        rng = np.random.default_rng([self.seed, index])
        view = self._photos_view(rng)
        if self.cutouts and rng.random() < self.view.paste:
            return paste_people(rng, view, self.cutouts, self.view, self.topology)
        return view

    def _photos_view(self, rng: np.random.Generator) -> View:
        """A view of one photo, or a mosaic of several."""
        size = self.view.size_px
        if rng.random() >= self.view.mosaic:
            return self._view(rng, (size, size))
        rows, cols = ((1, 2), (2, 1), (2, 2))[rng.choice(3, p=(0.5, 0.15, 0.35))]
        tiles = [[self._view(rng, (size // cols, size // rows)) for _ in range(cols)] for _ in range(rows)]
        return join_tiles(tiles)

    def _view(self, rng: np.random.Generator, size_wh: tuple[int, int]) -> View:
        shares = np.array([s.weight for s in self.sources], np.float64)
        pick = int(rng.choice(len(self.sources), p=shares / shares.sum()))
        for _ in range(20):
            photo = self.photos[pick][int(rng.integers(len(self.photos[pick])))]
            rich = [p for p in photo.people if p.labelled.sum() >= self.view.min_joints]
            if rich:
                break
        else:
            raise DataError(f"{self.sources[pick].folder}: no person with {self.view.min_joints} joints in 20 draws")
        person = rich[int(rng.integers(len(rich)))]
        return render_view(rng, photo, person, self.sources[pick], self.view, self.topology, self._backdrop(rng, size_wh))

    def _backdrop(self, rng: np.random.Generator, size_wh: tuple[int, int]) -> Backdrop:
        """A photo's empty strip for the share `view.backdrop` of the views, where the photo drawn has one."""
        if rng.random() < self.view.backdrop:
            pick = int(rng.integers(len(self.sources)))
            photo = self.photos[pick][int(rng.integers(len(self.photos[pick])))]
            if found := photo_backdrop(rng, photo, self.sources[pick].outside_weight, size_wh):
                return found
        return plain_backdrop(rng, size_wh)


def join_tiles(tiles: Sequence[Sequence[View]]) -> View:
    """One view of several people from a grid of views."""
    rows, joints, sizes = [], [], []
    top = 0
    for row in tiles:
        left = 0
        for tile in row:
            moved = tile.joints.copy()
            moved[..., :2] += (left, top)
            joints.append(moved)
            sizes.append(tile.sizes_px)
            left += tile.image.shape[1]
        rows.append((np.concatenate([t.image for t in row], 1), np.concatenate([t.weight for t in row], 2)))
        top += row[0].image.shape[0]
    image, weight = np.concatenate([r[0] for r in rows]), np.concatenate([r[1] for r in rows], 1)
    return View(image, np.concatenate(joints), np.concatenate(sizes), weight)


# Gaussian of a joint: share of the person's longer side, within bounds in heatmap pixels.
SIGMA_SHARE, SIGMA_MIN, SIGMA_MAX = 0.04, 0.9, 1.5


def render_targets(view: View, config: ViewConfig) -> NDArray[np.float32]:
    """(J, h/4, w/4) heatmaps: one Gaussian of height 1 per visible joint, the maximum where they meet."""
    height, width = (side // config.stride_px for side in view.image.shape[:2])
    xy = (view.joints[..., :2].astype(np.float32) + 0.5) / config.stride_px - 0.5
    sigma = np.clip(SIGMA_SHARE * view.sizes_px / config.stride_px, SIGMA_MIN, SIGMA_MAX).astype(np.float32)
    return gaussian_maps(xy, view.joints[..., 2], sigma, (height, width))


def gaussian_maps(xy: Array, visible: Array, sigma: Array, shape_hw: tuple[int, int]) -> NDArray[np.float32]:
    """(J, h, w): a Gaussian of height 1 at the visible (N, J) of joints (N, J, 2), the maximum where they meet.

    xy and sigma (N,) in pixels of the map, float32.
    """
    scale = (-0.5 / sigma**2)[:, None, None]
    gx = np.exp(np.square(np.arange(shape_hw[1], dtype=np.float32) - xy[..., :1]) * scale)
    gy = np.exp(np.square(np.arange(shape_hw[0], dtype=np.float32) - xy[..., 1:]) * scale)
    maps = (gy * visible[..., None])[..., :, None] * gx[..., None, :]
    return maps.max(0, initial=0).astype(np.float32)
