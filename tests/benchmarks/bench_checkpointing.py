"""Checkpointed training against the plain run: what is kept for the backward pass, the step, the gradients, the peak.

Run: ``python -m tests.benchmarks.bench_checkpointing [detector|generator ...]``. Saved activations wait between the passes; the
peak also counts what is recomputed. Resident memory, of a process of its own, falls less than either: the C library keeps what
a step has freed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from models.diffusion.learners import Denoiser
from models.diffusion.networks import GeneratorShape, build_networks, build_tokenizer
from models.diffusion.objectives import Objective, denoising_error, make_noise_schedule
from models.hourglass import HourglassConfig, build_hourglass

BATCH, SIZE_PX = 8, 256
KEPT, STEP = 0.35, 1.5


@dataclass(frozen=True, eq=False)
class Case:
    """A network with what is done to it: loss() is one forward pass."""

    net: nn.Module
    loss: Callable[[], Tensor]


def detector(stacks: int, checkpointed: bool) -> Case:
    torch.manual_seed(0)
    net = build_hourglass(replace(HourglassConfig(stacks=stacks), checkpoint_stacks=checkpointed))
    net = net.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    images = torch.rand(BATCH, 3, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(0))
    images = images.contiguous(memory_format=torch.channels_last)

    def loss() -> Tensor:
        return torch.stack([h.square().mean() + 1e-3 * t.square().mean() for h, t in net(images)]).sum()

    return Case(net, loss)


def generator(checkpointed: bool) -> Case:
    """UNet and ControlNet of a generator of 128 px, which learn together."""
    shape = GeneratorShape(size_px=128, unet_channels=(64, 128, 192))
    tokenizer = build_tokenizer(["a person in a red top"], shape.max_tokens)
    networks = build_networks(shape, tokenizer)
    for layer in (*networks.controlnet.controlnet_down_blocks, networks.controlnet.controlnet_mid_block):
        nn.init.normal_(layer.weight, 0, 0.1, generator=torch.Generator().manual_seed(1))  # or ControlNet would learn nothing
    net = Denoiser(networks.unet, networks.text_encoder, networks.controlnet)
    if checkpointed:
        net.enable_checkpointing()
    draw = torch.Generator().manual_seed(0)
    side = shape.size_px // shape.downsampling
    noised = Objective.of(make_noise_schedule("v")).noised(torch.randn(BATCH, 8, side, side, generator=draw), draw)
    ids = tokenizer(["a person"] * BATCH, padding="max_length", return_tensors="pt").input_ids
    maps = torch.randint(256, (BATCH, shape.size_px, shape.size_px, 3), generator=draw, dtype=torch.uint8)
    return Case(net, lambda: denoising_error(net(noised.x, noised.times, ids, maps), noised))


CASES: dict[str, tuple[str, Callable[[bool], Case]]] = {
    "detector, 2 stacks of 64 channels, 256 px": ("detector", lambda checkpointed: detector(2, checkpointed)),
    "detector, 4 stacks": ("detector", lambda checkpointed: detector(4, checkpointed)),
    "generator, UNet and ControlNet, 128 px": ("generator", generator),
}


class Saved:
    """Bytes of the distinct storages that autograd saved; parameters and buffers are there anyway."""

    def __init__(self, net: nn.Module) -> None:
        self.known = {p.untyped_storage().data_ptr() for p in (*net.parameters(), *net.buffers())}
        self.bytes = 0

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.known:
            self.known.add(storage.data_ptr())
            self.bytes += storage.nbytes()
        return tensor


def kept_bytes(case: Case) -> int:
    """Bytes that wait for the backward pass; a step is made with them, so that gradients are there to compare."""
    saved = Saved(case.net)
    with torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda tensor: tensor):
        loss = case.loss()
    loss.backward()
    return saved.bytes


def peak_bytes(case: Case) -> int:
    """The most that the tensors made in a step need at one moment: saved, recomputed, gradients and work space."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        case.loss().backward()
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]  # allocations and releases
    events.sort(key=lambda event: event.start_ns())
    return int(np.cumsum([event.nbytes() for event in events]).max())


def step_seconds(cases: list[Case], rounds: int = 5) -> list[float]:
    """Median CPU seconds of a step per network, turn by turn so that a neighbour's load falls on all."""
    taken: list[list[float]] = [[] for _ in cases]
    for _ in range(rounds):
        for case, times in zip(cases, taken, strict=True):
            begin = time.process_time()
            case.loss().backward()
            times.append(time.process_time() - begin)
    return [float(np.median(times[1:])) for times in taken]


def largest_difference(plain: nn.Module, spared: nn.Module) -> float:
    """Between all gradients and all running statistics of the two."""
    pairs = [(a.grad, b.grad) for a, b in zip(plain.parameters(), spared.parameters(), strict=True)]
    pairs += list(zip(plain.buffers(), spared.buffers(), strict=True))
    return max(float((a - b).abs().max()) for a, b in pairs if a is not None and b is not None)


def resident_bytes(name: str, checkpointed: bool) -> int:
    """Peak resident memory that three steps add in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return int(pool.apply(_steps, (name, checkpointed)))


def _steps(name: str, checkpointed: bool) -> int:
    torch.set_num_threads(1)
    case = CASES[name][1](checkpointed)
    before = _high_water_bytes()
    for _ in range(3):
        case.loss().backward()
    return _high_water_bytes() - before


def _high_water_bytes() -> int:
    """ru_maxrss would be the parent's, which a started process inherits."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return 1024 * int(line.split()[1])


def report(name: str, build: Callable[[bool], Case]) -> None:
    cases = [build(checkpointed) for checkpointed in (False, True)]
    kept = [kept_bytes(case) for case in cases]
    difference = largest_difference(*(case.net for case in cases))
    peaks = [peak_bytes(case) for case in cases]
    plain, spared = step_seconds(cases)
    del cases
    resident = [resident_bytes(name, checkpointed) for checkpointed in (False, True)]
    print(f"{name}: gradients and statistics differ by {difference:.1e} (bar 0)")
    sizes: dict[str, Any] = {"saved activations": kept, "all tensors at the peak of a step": peaks, "resident memory": resident}
    for what, (a, b) in sizes.items():
        bar = f"   (bar {KEPT})" if what == "saved activations" else ""
        print(f"  {what:36} {a / 2**20:6.0f} MB -> {b / 2**20:6.0f} MB: {b / a:.2f}{bar}")
    print(f"  step {plain:38.2f} s  -> {spared:6.2f} s : {spared / plain:.2f}   (bar {STEP})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="detector|generator")
    kinds = parser.parse_args().kinds or ["detector", "generator"]
    torch.set_num_threads(1)
    print(f"batch {BATCH}, one thread, plain -> checkpointed")
    for name, (kind, build) in CASES.items():
        if kind in kinds:
            report(name, build)


if __name__ == "__main__":
    main()
