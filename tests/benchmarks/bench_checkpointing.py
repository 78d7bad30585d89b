"""Checkpointed training of the detector against the plain run: what is kept for the backward pass, the step, the gradients.

Run: ``python -m tests.benchmarks.bench_checkpointing``. Saved activations wait between the passes; the peak also counts what is
recomputed. Resident memory falls less than either: the C library keeps what a step has freed.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from models.hourglass import HourglassConfig, StackedHourglass, build_hourglass

BATCH, SIZE_PX = 8, 256
NETWORKS = {"shipped (2 stacks, 64 channels)": HourglassConfig(), "4 stacks": HourglassConfig(stacks=4)}
KEPT, STEP = 0.35, 1.5


class Saved:
    """Bytes of the distinct storages that autograd saved; parameters and buffers are there anyway."""

    def __init__(self, net: StackedHourglass) -> None:
        self.known = {p.untyped_storage().data_ptr() for p in (*net.parameters(), *net.buffers())}
        self.bytes = 0

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.known:
            self.known.add(storage.data_ptr())
            self.bytes += storage.nbytes()
        return tensor


def loss_of(net: StackedHourglass, images: Tensor) -> Tensor:
    total = torch.zeros(())
    for heatmaps, tags in net(images):
        total = total + heatmaps.square().mean() + 1e-3 * tags.square().mean()
    return total


def kept_bytes(net: StackedHourglass, images: Tensor) -> int:
    """Bytes that wait for the backward pass; a step is made with them, so that gradients are there to compare."""
    saved = Saved(net)
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda tensor: tensor):
        loss = loss_of(net, images)
    loss.backward()
    return saved.bytes


def peak_bytes(net: StackedHourglass, images: Tensor) -> int:
    """The most that the tensors made in a step need at one moment: saved, recomputed, gradients and work space."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        loss_of(net, images).backward()
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]  # allocations and releases
    events.sort(key=lambda event: event.start_ns())
    return int(np.cumsum([event.nbytes() for event in events]).max())


def step_seconds(nets: list[StackedHourglass], images: Tensor, rounds: int = 5) -> list[float]:
    """Median CPU seconds of a step per network, turn by turn so that a neighbour's load falls on all."""
    taken: list[list[float]] = [[] for _ in nets]
    for _ in range(rounds):
        for net, times in zip(nets, taken, strict=True):
            begin = time.process_time()
            loss_of(net, images).backward()
            times.append(time.process_time() - begin)
    return [float(np.median(times[1:])) for times in taken]


def largest_difference(plain: StackedHourglass, spared: StackedHourglass) -> float:
    """Between all gradients and all running statistics of the two."""
    pairs = [(a.grad, b.grad) for a, b in zip(plain.parameters(), spared.parameters(), strict=True)]
    pairs += list(zip(plain.buffers(), spared.buffers(), strict=True))
    return max(float((a - b).abs().max()) for a, b in pairs if a is not None and b is not None)


def built(config: HourglassConfig, checkpointed: bool) -> StackedHourglass:
    torch.manual_seed(0)
    net = build_hourglass(replace(config, checkpoint_stacks=checkpointed))
    return net.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload, no-any-return]


def batch() -> Tensor:
    images = torch.rand(BATCH, 3, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(0))
    return images.contiguous(memory_format=torch.channels_last)


def report(name: str, config: HourglassConfig) -> None:
    images = batch()
    nets = [built(config, checkpointed) for checkpointed in (False, True)]
    kept = [kept_bytes(net, images) for net in nets]
    difference = largest_difference(*nets)
    peaks = [peak_bytes(net, images) for net in nets]
    plain, spared = step_seconds(nets, images)
    print(f"{name}: gradients and statistics differ by {difference:.1e} (bar 0)")
    for what, (a, b) in (("saved activations", kept), ("all tensors at the peak of a step", peaks)):
        print(f"  {what:36} {a / 2**20:6.0f} MB -> {b / 2**20:6.0f} MB: {b / a:.2f}   (bar {KEPT})")
    print(f"  step {plain:38.2f} s  -> {spared:6.2f} s : {spared / plain:.2f}   (bar {STEP})")


def main() -> None:
    torch.set_num_threads(1)
    print(f"batch {BATCH}, {SIZE_PX} px, one thread, plain -> checkpointed")
    for name, config in NETWORKS.items():
        report(name, config)


if __name__ == "__main__":
    main()
