"""The detector: images in, people with joints in the images' own pixels out."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.backends import Backend, TorchBackend, make_backend
from models.grouping import GroupConfig, group
from models.hourglass import STEM_STRIDE, HourglassConfig, StackedHourglass
from models.letterbox import Letterbox, resampled
from models.shipped import weights_path
from models.skeleton import TOPOLOGIES, Topology
from models.turned import People, one_per_place, unturned
from models.weights import WeightsError, load_tensors

Array = NDArray[Any]


@dataclass(frozen=True)
class Detector:
    """A network with its decoder. `size_px`: longer side of the network's input; `flip`: average with the mirror image.

    scales: sizes of the input as shares of `size_px`. With several, heatmaps are averaged on the finest map and tags are read
    from the coarsest input, where a person fits the network's view best (multi-scale test of Newell 2017). turned: look at
    every image in four quarter turns, for people who lie or stand on their heads (`models.turned`); four times the cost.
    """

    network: StackedHourglass
    topology: Topology
    about: dict[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    size_px: int = 256
    flip: bool = False
    turned: bool = False
    scales: tuple[float, ...] = (1.0,)
    batch: int = 8
    # Candidates of less value begin more people who are not there than they find joints.
    grouping: GroupConfig = field(default_factory=lambda: GroupConfig(detection=0.2, min_joints=4))
    backend: Backend | None = None  # None: torch on `device`

    def detect(self, images: Array) -> list[People]:
        """(B, H, W, 3) uint8 RGB -> per image xy_px (P, J, 2), score (P, J), tag (P, K); best person first.

        NaN with score 0 where a joint was not found; an image without people gives arrays with P = 0.
        Raises ValueError when the images are not uint8 RGB of that shape.
        """
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or 0 in images.shape[1:]:
            raise ValueError(f"Detector.detect: expected images (B, H, W, 3) uint8 RGB, got {images.shape} {images.dtype}")
        upright = self._found(images)
        if not self.turned:
            return upright
        size_wh = (images.shape[2], images.shape[1])
        turned = [self._found(np.ascontiguousarray(np.rot90(images, turns, axes=(1, 2)))) for turns in (1, 2, 3)]
        back = [[(unturned(xy, k + 1, size_wh), *rest) for xy, *rest in found] for k, found in enumerate(turned)]
        return [one_per_place(people) for people in zip(upright, *back, strict=True)]

    def _found(self, images: Array) -> list[People]:
        """People of images (B, H, W, 3) as they stand."""
        sizes = sorted(max(round(self.size_px * scale), 1) for scale in self.scales)
        stride = self.network.config.stride_px
        boxes = [Letterbox.fit((images.shape[2], images.shape[1]), size, stride) for size in sizes]
        found: list[People] = []
        for begin in range(0, len(images), self.batch):
            heatmaps, tags = self._pyramid(images[begin : begin + self.batch], boxes)
            found += [self._people(h, t, boxes[-1]) for h, t in zip(heatmaps, tags, strict=True)]
        return found

    def _pyramid(self, images: Array, boxes: list[Letterbox]) -> tuple[Array, Array]:
        """Heatmaps averaged over the sizes and tags of the coarsest one, both on the finest map; boxes coarsest first."""
        maps = [self.maps(np.stack([box.apply(image) for image in images])) for box in boxes]
        if len(boxes) == 1:
            return maps[0]
        found = [(torch.from_numpy(h), torch.from_numpy(t)) for h, t in maps]
        heatmaps = [resampled(h, box, boxes[-1]) for (h, _), box in zip(found, boxes, strict=True)]
        tags = found[0][1].movedim(-1, 1).flatten(1, 2)
        tags = resampled(tags, boxes[0], boxes[-1]).unflatten(1, (-1, found[0][1].shape[1])).movedim(1, -1)
        return torch.stack(heatmaps).mean(0).numpy(), tags.numpy()

    def maps(self, padded: Array) -> tuple[Array, Array]:
        """(B, H, W, 3) uint8 -> heatmaps (B, J, H/4, W/4) and tags (B, J, H/4, W/4, K, or 2 K with `flip`)."""
        heatmaps, tags = self._runs.maps(padded)
        if self.flip:
            mirror = list(self.topology.mirror)
            other, other_tags = self._runs.maps(np.ascontiguousarray(padded[:, :, ::-1]))
            heatmaps = (heatmaps + other[..., ::-1][:, mirror]) / 2
            tags = np.concatenate([tags, other_tags[..., ::-1, :][:, mirror]], -1)
        return heatmaps, tags

    @cached_property
    def _runs(self) -> Backend:
        return self.backend or TorchBackend(self.network, self.device)

    def _people(self, heatmaps: Array, tags: Array, box: Letterbox) -> People:
        height, width = (-(-side // STEM_STRIDE) for side in box.resized_wh[::-1])  # nobody stands in the padding
        xy, score, tag = group(heatmaps[:, :height, :width], tags[:, :height, :width], self.grouping)
        return box.image_from_map(xy), score, tag

    def with_options(self, **options: Any) -> Detector:
        """The same network with other `size_px`, `flip`, `turned`, `scales`, `batch` or `grouping`."""
        return replace(self, **options)


def load_detector(weights: str | Path = "default", device: str = "cpu", *, backend: str = "auto", **options: Any) -> Detector:
    """A detector from shipped weights ("default", or a name in data/weights: "photo", "studio") or from a .safetensors file.

    device: of torch, or "auto": a GPU when there is one. backend: auto | torch | onnxruntime | openvino, see `make_backend`.
    options: `size_px`, `flip`, `turned`, `scales`, `batch`, `grouping` of Detector; those recorded with the weights where None.
    Raises WeightsError for weights that are missing, tampered with, or of another topology, and BackendError.
    """
    network, about = load_network(weights)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    runs = make_backend(backend, network.to(device).eval(), device)
    chosen = {**about.get("inference", {}), **{name: told for name, told in options.items() if told is not None}}
    chosen["scales"] = tuple(chosen.get("scales", (1.0,)))
    return Detector(network, TOPOLOGIES[network.config.topology], about, device, backend=runs, **chosen)


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


def _network_config(path: Path, about: dict[str, Any]) -> HourglassConfig:
    if "network" not in about:
        raise WeightsError(f"{path}: expected metadata 'network' of a detector, found {sorted(about)}")
    topology = TOPOLOGIES.get(about["network"].get("topology"))
    if topology is None or len(topology) != about["network"].get("joints"):
        raise WeightsError(f"{path}: expected a topology among {sorted(TOPOLOGIES)} with its number of joints, found "
                           f"{about['network'].get('topology')!r} with {about['network'].get('joints')}")  # fmt: skip
    known = asdict(HourglassConfig())
    return HourglassConfig(**{key: value for key, value in about["network"].items() if key in known})
