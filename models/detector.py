"""The detector: images in, people with joints in the images' own pixels out. Letterboxing is written here and only here."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample

from models.grouping import GroupConfig, group
from models.hourglass import STEM_STRIDE, HourglassConfig, StackedHourglass
from models.skeleton import TOPOLOGIES, Topology
from models.weights import WeightsError, load_tensors, weights_folder

Array = NDArray[Any]
People = tuple[Array, Array, Array]
PADDING = 114  # grey of the training crops' border


@dataclass(frozen=True)
class Letterbox:
    """How images (H, W) become network input: resized to `resized_wh`, padded right and below to `padded_wh`."""

    size_wh: tuple[int, int]
    resized_wh: tuple[int, int]
    padded_wh: tuple[int, int]

    @staticmethod
    def fit(size_wh: tuple[int, int], long_side_px: int, stride_px: int) -> Letterbox:
        """Longer side to `long_side_px`, then each side up to the next multiple of the network's stride: no square."""
        scale = long_side_px / max(size_wh)
        resized = (max(round(size_wh[0] * scale), 1), max(round(size_wh[1] * scale), 1))
        padded = (-(-resized[0] // stride_px) * stride_px, -(-resized[1] // stride_px) * stride_px)
        return Letterbox(size_wh, resized, padded)

    def apply(self, image: Array) -> Array:
        """(H, W, 3) uint8 -> (padded H, padded W, 3) uint8."""
        shrinks = self.resized_wh[0] < self.size_wh[0]
        mode = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        out = np.full((self.padded_wh[1], self.padded_wh[0], 3), PADDING, np.uint8)
        out[: self.resized_wh[1], : self.resized_wh[0]] = cv2.resize(image, self.resized_wh, interpolation=mode)
        return out

    def image_from_map(self, xy: Array) -> Array:
        """Heatmap pixels (..., 2) to the image's own pixels, by x -> (x + .5) * s - .5 per axis."""
        stride = np.array(self.size_wh, np.float64) / np.array(self.resized_wh) * STEM_STRIDE
        return ((xy + 0.5) * stride - 0.5).astype(np.float32)


@dataclass(frozen=True)
class Detector:
    """A network with its decoder. `size_px`: longer side of the network's input; `flip`: average with the mirror image.

    scales: sizes of the input as shares of `size_px`. With several, heatmaps are averaged on the finest map and tags are read
    from the coarsest input, where a person fits the network's view best (multi-scale test of Newell 2017).
    """

    network: StackedHourglass
    topology: Topology
    about: dict[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    size_px: int = 256
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    batch: int = 8
    grouping: GroupConfig = field(default_factory=lambda: GroupConfig(min_joints=4))

    def detect(self, images: Array) -> list[People]:
        """(B, H, W, 3) uint8 RGB -> per image xy_px (P, J, 2), score (P, J), tag (P, K); best person first.

        NaN with score 0 where a joint was not found; an image without people gives arrays with P = 0.
        Raises ValueError when the images are not uint8 RGB of that shape.
        """
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or 0 in images.shape[1:]:
            raise ValueError(f"Detector.detect: expected images (B, H, W, 3) uint8 RGB, got {images.shape} {images.dtype}")
        sizes = sorted(max(round(self.size_px * scale), 1) for scale in self.scales)
        stride = self.network.config.stride_px
        boxes = [Letterbox.fit((images.shape[2], images.shape[1]), size, stride) for size in sizes]
        found: list[People] = []
        for begin in range(0, len(images), self.batch):
            heatmaps, tags = self._pyramid(images[begin : begin + self.batch], boxes)
            found += [self._people(h, t, boxes[-1]) for h, t in zip(heatmaps.numpy(), tags.numpy(), strict=True)]
        return found

    def _pyramid(self, images: Array, boxes: list[Letterbox]) -> tuple[Tensor, Tensor]:
        """Heatmaps averaged over the sizes and tags of the coarsest one, both on the finest map; boxes coarsest first."""
        maps = [self.maps(torch.from_numpy(np.stack([box.apply(image) for image in images]))) for box in boxes]
        heatmaps = [resampled(h, box, boxes[-1]) for (h, _), box in zip(maps, boxes, strict=True)]
        tags = maps[0][1].movedim(-1, 1).flatten(1, 2)
        tags = resampled(tags, boxes[0], boxes[-1]).unflatten(1, (-1, maps[0][1].shape[1])).movedim(1, -1)
        return torch.stack(heatmaps).mean(0), tags

    @torch.inference_mode()
    def maps(self, padded: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, W, 3) uint8 -> heatmaps (B, J, H/4, W/4) and tags (B, J, H/4, W/4, K, or 2 K with `flip`)."""
        images = padded.to(self.device).permute(0, 3, 1, 2).float().div(255)
        images = images.contiguous(memory_format=torch.channels_last)
        heatmaps, tags = self.network(images)[-1]
        if self.flip:
            mirror = list(self.topology.mirror)
            other, other_tags = self.network(images.flip(-1))[-1]
            heatmaps = (heatmaps + other.flip(-1)[:, mirror]) / 2
            tags = torch.cat([tags, other_tags.flip(-2)[:, mirror]], -1)
        return heatmaps.cpu(), tags.cpu()

    def _people(self, heatmaps: Array, tags: Array, box: Letterbox) -> People:
        height, width = (-(-side // STEM_STRIDE) for side in box.resized_wh[::-1])  # nobody stands in the padding
        xy, score, tag = group(heatmaps[:, :height, :width], tags[:, :height, :width], self.grouping)
        return box.image_from_map(xy), score, tag

    def with_options(self, **options: Any) -> Detector:
        """The same network with other `size_px`, `flip`, `scales`, `batch` or `grouping`."""
        return replace(self, **options)


def resampled(maps: Tensor, source: Letterbox, target: Letterbox) -> Tensor:
    """Maps (B, C, h, w) of one letterbox on the map of another, of the same images; bilinear."""
    if source == target:
        return maps
    axes = []
    for axis, side in ((1, maps.shape[-2]), (0, maps.shape[-1])):
        share = (torch.arange(target.padded_wh[axis] // STEM_STRIDE) + 0.5) / target.resized_wh[axis]
        axes.append(2 * share * source.resized_wh[axis] / side - 1)  # grid_sample's -1..1 over the whole map
    y, x = torch.meshgrid(*axes, indexing="ij")
    grid = torch.stack([x, y], -1).expand(len(maps), -1, -1, -1)
    return grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)


def load_detector(weights: str | Path = "default", device: str = "cpu", **options: Any) -> Detector:
    """A detector from shipped weights ("default" or a name in data/weights) or from a .safetensors file.

    options: `size_px`, `flip`, `scales`, `batch`, `grouping` of Detector; otherwise those recorded with the weights.
    Raises WeightsError for weights that are missing, tampered with, or of another topology.
    """
    network, about = load_network(weights)
    network = network.to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    chosen = {**about.get("inference", {}), **options}
    chosen["scales"] = tuple(chosen.get("scales", (1.0,)))
    return Detector(network, TOPOLOGIES[network.config.topology], about, device, **chosen)


def load_network(weights: str | Path) -> tuple[StackedHourglass, dict[str, Any]]:
    """The network of trained weights in 32 bits, and what is recorded with them. Raises WeightsError as `load_detector`."""
    path = weights_path(weights)
    tensors, about = load_tensors(path)
    config = _network_config(path, about)
    network = StackedHourglass(config)
    try:
        network.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in tensors.items()})
    except RuntimeError as error:
        raise WeightsError(f"{path}: the tensors do not fit the recorded network {config}: {error}") from error
    return network, about


def weights_path(weights: str | Path) -> Path:
    """File of "default", of a shipped name, or of a path as given."""
    text = str(weights)
    if text.endswith(".safetensors"):
        return Path(text)
    return weights_folder() / f"{'detector' if text == 'default' else text}.safetensors"


def _network_config(path: Path, about: dict[str, Any]) -> HourglassConfig:
    if "network" not in about:
        raise WeightsError(f"{path}: expected metadata 'network' of a detector, found {sorted(about)}")
    topology = TOPOLOGIES.get(about["network"].get("topology"))
    if topology is None or len(topology) != about["network"].get("joints"):
        raise WeightsError(f"{path}: expected a topology among {sorted(TOPOLOGIES)} with its number of joints, found "
                           f"{about['network'].get('topology')!r} with {about['network'].get('joints')}")  # fmt: skip
    known = asdict(HourglassConfig())
    return HourglassConfig(**{key: value for key, value in about["network"].items() if key in known})
