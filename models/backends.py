"""What runs the network: torch, onnxruntime or OpenVINO, behind one protocol. The compiled ones take the same ONNX model.

All compute in 32-bit floats and agree to 0.1 px of the image. Threads are torch's (OMP_NUM_THREADS), so that a worker among
others does not take all cores.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from models.hourglass import StackedHourglass
from models.onnx_export import LastMaps, onnx_model

Array = NDArray[Any]
log = logging.getLogger(__name__)


class BackendError(ValueError):
    """A backend that is not known, not installed, or not for this device."""


class Backend(Protocol):
    """A network that can be run."""

    name: str

    def maps(self, images: NDArray[np.uint8]) -> tuple[Array, Array]:
        """(B, H, W, 3) uint8, sides multiples of the stride -> heatmaps (B, J, H/4, W/4) and tags (B, J, H/4, W/4, K)."""
        ...


class TorchBackend:
    """The network as it is, on any device of torch."""

    name = "torch"

    def __init__(self, network: StackedHourglass, device: str = "cpu") -> None:
        self._device = device
        self._network = LastMaps(network).to(device=device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    @torch.inference_mode()
    def maps(self, images: NDArray[np.uint8]) -> tuple[Array, Array]:
        """See Backend."""
        heatmaps, tags = self._network(torch.from_numpy(images).to(self._device))
        return heatmaps.cpu().numpy(), tags.cpu().numpy()


class OnnxRuntimeBackend:
    """The network compiled by onnxruntime, on the CPU."""

    name = "onnxruntime"

    def __init__(self, network: StackedHourglass) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
        # Threads that wait by spinning would take the core from the grouping between two batches.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(onnx_model(network), options, providers=["CPUExecutionProvider"])

    def maps(self, images: NDArray[np.uint8]) -> tuple[Array, Array]:
        """See Backend."""
        heatmaps, tags = self._session.run(["heatmaps", "tags"], {"images": np.ascontiguousarray(images)})
        return heatmaps, tags


class OpenVinoBackend:
    """The network compiled by OpenVINO, on the CPU."""

    name = "openvino"

    def __init__(self, network: StackedHourglass) -> None:
        import openvino

        config = {
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "f32",  # bfloat16, where a CPU has it, moves joints by more than 0.1 px
            "ENABLE_CPU_PINNING": False,  # workers side by side would be pinned to the same cores
        }
        core = openvino.Core()
        self._model = core.compile_model(core.read_model(onnx_model(network)), "CPU", config)

    def maps(self, images: NDArray[np.uint8]) -> tuple[Array, Array]:
        """See Backend."""
        found = self._model([np.ascontiguousarray(images)])
        return np.array(found["heatmaps"]), np.array(found["tags"])  # its buffers are used again by the next batch


# Fastest first (tests/benchmarks/bench_inference.py: equal within the noise; onnxruntime is half the size).
COMPILED: dict[str, Callable[[StackedHourglass], Backend]] = {"onnxruntime": OnnxRuntimeBackend, "openvino": OpenVinoBackend}
BACKENDS = ("auto", "torch", *COMPILED)


def make_backend(name: str, network: StackedHourglass, device: str = "cpu") -> Backend:
    """The backend of a name; auto takes torch on a GPU, else the first compiled one that works, else torch and says why.

    Raises BackendError for a name that is not known, a package that is not installed, or a compiled backend on a GPU.
    """
    if name not in BACKENDS:
        raise BackendError(f"backend: expected one of {', '.join(BACKENDS)}, got {name!r}")
    on_cpu = torch.device(device).type == "cpu"
    if name == "torch" or (name == "auto" and not on_cpu):
        return TorchBackend(network, device)
    if name == "auto":
        return _first_that_works(network, device)
    if not on_cpu:
        raise BackendError(f"backend {name}: runs on the CPU, got device {device!r}; take backend torch or device cpu")
    try:
        return COMPILED[name](network)
    except ImportError as error:
        raise BackendError(f"backend {name}: cannot be imported ({error}); pip install {name}, or take backend auto") from error


def _first_that_works(network: StackedHourglass, device: str) -> Backend:
    reasons = []
    for name, make in COMPILED.items():
        try:
            return make(network)
        except Exception as error:  # whatever a compiler of another project stumbles over: torch can still do the work
            reasons.append(f"{name}: {error}")
    _say_once(f"no compiled backend ({'; '.join(reasons)}): torch runs the network, which is slower")
    return TorchBackend(network, device)


@cache
def _say_once(line: str) -> None:
    log.warning(line)
