"""The network as an ONNX model for compiled backends: last stack only, uint8 images in, any number and size of them."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor, nn

from models.atomic import replacing
from models.hourglass import StackedHourglass
from models.weights import tensors_sha256

OPSET = 17
VERSION = "2"  # of what is exported; a new one makes cached models anew


class LastMaps(nn.Module):
    """(B, H, W, 3) uint8 -> heatmaps (B, J, H/4, W/4) and tags (B, J, H/4, W/4, K) of the last stack."""

    def __init__(self, network: StackedHourglass) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Sides must be multiples of the network's stride."""
        return self.network(images.permute(0, 3, 1, 2).float() / 255)[-1]


def onnx_model(network: StackedHourglass) -> bytes:
    """The network as ONNX, from the cache when it was exported before; a cache that cannot be written is done without."""
    cached = cache_folder() / f"{_key(network)}.onnx"
    if (known := _read(cached)) is not None:
        return known
    model = export(network)
    with suppress(OSError), replacing(cached) as temporary:  # a read-only home costs an export per process, nothing else
        temporary.write_bytes(hashlib.sha256(model).digest() + model)
    return model


def _read(cached: Path) -> bytes | None:
    """The model of a cached file, which its hash precedes; None for a file that is not there or was damaged."""
    if not cached.is_file():
        return None
    content = cached.read_bytes()
    digest, model = content[: hashlib.sha256().digest_size], content[hashlib.sha256().digest_size :]
    return model if hashlib.sha256(model).digest() == digest else None


def export(network: StackedHourglass) -> bytes:
    """The network, wherever it lives, as ONNX with batch norms folded into the convolutions (the exporter does that)."""
    copy = StackedHourglass(network.config)
    copy.load_state_dict({name: tensor.cpu() for name, tensor in network.state_dict().items()})
    stride = network.config.stride_px
    maps = {0: "batch", 2: "map_height", 3: "map_width"}
    file = io.BytesIO()
    with warnings.catch_warnings():
        # The newer exporter (torch.export) needs onnxscript beside onnx.
        warnings.simplefilter("ignore", DeprecationWarning)
        # The network's check of its sides is traced away; Letterbox keeps to the stride.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        torch.onnx.export(
            LastMaps(copy).eval(),
            (torch.zeros(1, stride, 2 * stride, 3, dtype=torch.uint8),),
            file,  # type: ignore[arg-type]  # the annotation forgets files
            input_names=["images"],
            output_names=["heatmaps", "tags"],
            dynamic_axes={"images": {0: "batch", 1: "height", 2: "width"}, "heatmaps": maps, "tags": maps},
            opset_version=OPSET,
            dynamo=False,
        )
    return file.getvalue()


def cache_folder() -> Path:
    """Folder of exported models: posemill/onnx in XDG_CACHE_HOME, by default ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "posemill" / "onnx"


def _key(network: StackedHourglass) -> str:
    parts = (VERSION, OPSET, torch.__version__, network.config, tensors_sha256(network.state_dict()))
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()[:32]
