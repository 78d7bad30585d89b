"""Compiled inference against torch eager: the shipped net, the same images, one process, turn by turn.

Run: ``python -m tests.benchmarks.bench_inference [--photos FOLDER] [--threads 1 2] [--rounds 5]``.

The bar of 3 refers to torch eager as a user would run it: the network as it is loaded, default memory format, inference mode;
channels-last is a column of its own. A turn runs every backend once, so a neighbour on the machine slows all alike; figures are
medians over the turns. With as many threads as cores and a neighbour, torch's threads wait for each other by spinning, which
flatters the others: the bar counts at one thread.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from models.backends import COMPILED, BackendError, TorchBackend, make_backend
from models.detector import Detector, load_detector, load_network
from models.grouping import group
from models.hourglass import STEM_STRIDE, StackedHourglass
from models.letterbox import Letterbox
from tests.models.scenes import picture, standing

BAR = 3.0
SIZES_PX = (160, 256, 384)


class Eager:
    """The network as loaded, called as its docstring says."""

    name = "torch eager"

    def __init__(self, network: StackedHourglass) -> None:
        self._network = network

    @torch.inference_mode()
    def maps(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See Backend."""
        heatmaps, tags = self._network(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)[-1]
        return heatmaps.numpy(), tags.numpy()


def backends(network: StackedHourglass) -> dict[str, Any]:
    """Those that can be had here, eager first."""
    found: dict[str, Any] = {"torch eager": Eager(network), "eager channels-last": TorchBackend(load_network("default")[0])}
    for name in COMPILED:
        try:
            found[name] = make_backend(name, network)
        except BackendError as error:
            print(f"{name}: left out ({error})")
    return found


def photos(folder: Path | None, count: int = 8) -> list[np.ndarray]:
    """Photos of a folder; without one, stick figures of bright squares."""
    if folder is None:
        rng = np.random.default_rng(0)
        return [picture(standing((220, 330), rng), (220, 330), n) for n in range(count)]
    from pipeline.sources import list_images, read_image

    return [read_image(path) for path in list_images(folder)[:count]]


def turns(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, tuple[float, float]]:
    """Median wall and CPU ms of every call, run turn by turn after one to warm up."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            if turn:
                times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {name: tuple(np.median(each, axis=0) * 1e3) for name, each in times.items()}  # type: ignore[misc]


def network_alone(images: list[np.ndarray], stride_px: int, runs: dict[str, Any], threads: int, rounds: int) -> None:
    """A line per size and batch: ms per image, and how many times faster than eager."""
    for size in SIZES_PX:
        box = Letterbox.fit((images[0].shape[1], images[0].shape[0]), size, stride_px)
        for batch in (1, 8):
            padded = np.stack([box.apply(images[0])] * batch)
            calls = {name: lambda run=run, padded=padded: run.maps(padded) for name, run in runs.items()}
            found = turns(calls, rounds)
            base = found["torch eager"][0]
            shown = [f"{name} {ms / batch:6.1f} ({cpu / batch:6.1f}) x{base / ms:4.2f}" for name, (ms, cpu) in found.items()]
            head = f"{threads} threads  {size} px ({box.padded_wh[0]}x{box.padded_wh[1]})  batch {batch}"
            print(f"{head}  {'  '.join(shown)}  load {os.getloadavg()[0]:.1f}", flush=True)


def joints_apart(images: list[np.ndarray], runs: dict[str, Any], detector: Detector) -> None:
    """The largest distance in image px between joints of each backend and those of torch eager, all photos and sizes."""
    for name in list(runs)[1:]:
        worst, joints, same = 0.0, 0, True
        for size in SIZES_PX:
            for image in images:
                one, other = (
                    detector.with_options(backend=runs[key], size_px=size).detect(image[None])[0][0]
                    for key in ("torch eager", name)
                )
                same &= one.shape == other.shape
                if one.shape == other.shape and np.isfinite(one).any():
                    worst, joints = max(worst, float(np.nanmax(np.abs(one - other)))), joints + int(np.isfinite(one).sum()) // 2
        print(f"{name}: {joints} joints, largest difference {worst:.1e} px (bar 0.1), the same people: {same}")


def shares(image: np.ndarray, detector: Detector, runs: dict[str, Any], rounds: int) -> None:
    """Where `Detector.detect` spends its time on one image."""
    box = Letterbox.fit((image.shape[1], image.shape[0]), detector.size_px, detector.network.config.stride_px)
    padded = box.apply(image)[None]
    height, width = (-(-side // STEM_STRIDE) for side in box.resized_wh[::-1])
    for name, run in runs.items():
        heatmaps, tags = run.maps(padded)
        calls: dict[str, Callable[[], Any]] = {
            "letterbox": lambda: box.apply(image),
            "network": lambda run=run: run.maps(padded),
            "grouping": lambda h=heatmaps, t=tags: group(h[0, :, :height, :width], t[0, :, :height, :width], detector.grouping),
        }
        found = {part: ms for part, (ms, _) in turns(calls, rounds).items()}
        total = sum(found.values())
        print(f"detect, {name}: " + ", ".join(f"{part} {ms:.2f} ms ({ms / total:.1%})" for part, ms in found.items()))


def most_possible(network: StackedHourglass, images: list[np.ndarray], rounds: int) -> None:
    """How much faster than eager any backend could be whose convolutions are 32-bit matrix products: eager's arithmetic rate
    beside that of one large product on the same threads."""
    box = Letterbox.fit((images[0].shape[1], images[0].shape[0]), 256, network.config.stride_px)
    padded, square = np.stack([box.apply(images[0])] * 8), torch.rand(2048, 2048)
    with FlopCounterMode(display=False) as counter:
        Eager(network).maps(padded)
    calls: dict[str, Callable[[], Any]] = {"net": lambda: Eager(network).maps(padded), "product": lambda: square @ square}
    ms = {name: wall for name, (wall, _) in turns(calls, rounds).items()}
    rate, best = counter.get_total_flops() / ms["net"] / 1e6, 2 * 2048**3 / ms["product"] / 1e6
    print(f"256 px: {counter.get_total_flops() / 8e9:.1f} GFLOP an image; torch eager does {rate:.0f} GFLOP/s, one matrix "
          f"product of 2048 {best:.0f}: products of 32 bits leave at most {best / rate:.2f} times its speed")  # fmt: skip


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, help="folder of photos; default: drawn figures")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    images, network = photos(chosen.photos), load_network("default")[0].eval()
    print(f"ms per image (CPU ms), times faster than torch eager (bar {BAR:g}); image {images[0].shape[:2]}")
    for threads in chosen.threads:
        torch.set_num_threads(threads)
        runs = backends(network)  # compiled ones take their threads when they are made
        network_alone(images, network.config.stride_px, runs, threads, chosen.rounds)
        if threads == chosen.threads[0]:
            most_possible(network, images, chosen.rounds)
            detector = load_detector(backend="torch", scales=(1.0,))
            joints_apart(images, runs, detector)
            shares(images[0], detector, runs, chosen.rounds)
    print(f"peak of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
