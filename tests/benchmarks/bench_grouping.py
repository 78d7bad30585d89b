"""Grouping of crowds whose people are known: milliseconds, recall, and whether order or solver show.

Run: ``python -m tests.benchmarks.bench_grouping``. One thread; the peer is the usual decoder (`peer_grouping`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from models import grouping
from models.detector import load_network
from models.grouping import GroupConfig, group
from models.hourglass import StackedHourglass
from models.losses import associative_embedding_loss, heatmap_loss
from tests.benchmarks.crowds import Crowd, crowd, recalled
from tests.benchmarks.peer_grouping import munkres_pairs, usual_group
from tests.benchmarks.timing import cpu_seconds

Array = NDArray[Any]
# people, side of the map, K (2: tags of an image and of its mirror image), milliseconds allowed
SCENES = ((30, 128, 1, 8), (30, 256, 1, 20), (5, 512, 2, 40))
SEEDS = range(10)
NETWORK_PX, BATCH = 256, 8


def by_munkres(gains: Array, maximize: bool) -> tuple[Array, Array]:
    assert maximize
    pairs = munkres_pairs(-gains) if gains.size else []
    return np.array([i for i, _ in pairs], int), np.array([j for _, j in pairs], int)


def scipy_pairs(cost: Array) -> list[tuple[int, int]]:
    return list(zip(*grouping.linear_sum_assignment(cost), strict=True))


@contextmanager
def replaced(name: str, value: object) -> Iterator[None]:
    """Another function in the place of one of `models.grouping`."""
    before = getattr(grouping, name)
    setattr(grouping, name, value)
    try:
        yield
    finally:
        setattr(grouping, name, before)


def shuffled_peaks(seed: int) -> Callable[[Array, float], list[tuple[Array, Array]]]:
    """`find_peaks` with each joint's candidates in another order."""
    find, rng = grouping.find_peaks, np.random.default_rng(seed)

    def find_shuffled(heatmaps: Array, threshold: float) -> list[tuple[Array, Array]]:
        order = [(peaks, rng.permutation(len(peaks[0]))) for peaks in find(heatmaps, threshold)]
        return [(pixel[o], score[o]) for (pixel, score), o in order]

    return find_shuffled


def same_people(one: Array, other: Array) -> int:
    """How many of the people (P, J, 2) are among the others, to the last bit."""
    there = {person.tobytes() for person in other}
    return sum(person.tobytes() in there for person in one)


def unchanged(scenes: list[Crowd]) -> tuple[float, float, float]:
    """Shares of people unchanged: under shuffled candidates, under another solver, and the usual decoder's under another."""
    order = solver = usual = people = usual_people = 0
    for seed, scene in enumerate(scenes):
        xy = group(scene.heatmaps, scene.tags)[0]
        with replaced("find_peaks", shuffled_peaks(seed)):
            order += same_people(xy, group(scene.heatmaps, scene.tags)[0])
        with replaced("linear_sum_assignment", by_munkres):
            solver += same_people(xy, group(scene.heatmaps, scene.tags)[0])
        theirs = usual_group(scene.heatmaps, scene.tags)
        usual += same_people(theirs, usual_group(scene.heatmaps, scene.tags, scipy_pairs))
        people, usual_people = people + len(xy), usual_people + len(theirs)
    return 100 * order / people, 100 * solver / people, 100 * usual / usual_people


def coarse(scene: Crowd) -> Crowd:
    """The scene as a network of 8 bits or fewer leaves it: values in steps of 1/16, tags in steps of 1/4, full of ties."""
    return Crowd(np.round(scene.heatmaps * 16) / 16, np.round(scene.tags * 4) / 4, scene.xy, scene.visible)


def report_scene(people: int, side: int, dims: int, allowed_ms: int) -> None:
    scenes = [crowd(people, side, dims, seed) for seed in SEEDS]
    first = scenes[0]
    ours = 1e3 * cpu_seconds(lambda: group(first.heatmaps, first.tags), 31)
    usual = 1e3 * cpu_seconds(lambda: usual_group(first.heatmaps, first.tags), 3)
    print(f"\n{people} people, {side}x{side}, K={dims}")
    print(f"  time             {ours:8.1f} ms  (bar {allowed_ms} ms)   usual {usual:.0f} ms")
    recall = np.mean([recalled(s, group(s.heatmaps, s.tags)[0]) for s in scenes])
    usual_recall = np.mean([recalled(s, usual_group(s.heatmaps, s.tags)) for s in scenes])
    print(f"  recall, cap 30   {recall:8.4f}     (bar 0.99 at 30 people)   usual {usual_recall:.4f}")
    for name, some in (("", scenes), (", in coarse steps", [coarse(s) for s in scenes[:3]])):
        order, solver, theirs = unchanged(some)
        print(f"  unchanged{name}: candidates shuffled {order:.1f} %, solver exchanged {solver:.1f} % (bars 100 %)   "
              f"usual, solver exchanged {theirs:.1f} %")  # fmt: skip


def turn_by_turn(runs: Sequence[Callable[[], object]], times: int) -> list[float]:
    """Median CPU milliseconds of each, in turn, so that a neighbour's load falls on all of them."""
    taken = [[1e3 * cpu_seconds(run, 1) for run in runs] for _ in range(times)]
    return [float(median) for median in np.median(taken, axis=0)]


def loss_step(people: int) -> Callable[[], object]:
    """Forward and backward of the losses of one stack of the shipped network, a batch."""
    rng, side = np.random.default_rng(0), NETWORK_PX // 4
    maps = [torch.rand(BATCH, 17, side, side, requires_grad=True) for _ in range(2)]
    target = torch.rand(BATCH, 17, side, side)
    xy = np.concatenate([rng.uniform(0, side - 1, (BATCH, people, 17, 2)), np.ones((BATCH, people, 17, 1))], -1)
    joints = torch.tensor(xy, dtype=torch.float32)

    def step() -> None:
        value = heatmap_loss(maps[0], target, target) + sum(associative_embedding_loss(maps[1], joints))
        torch.autograd.grad(value, maps)

    return step


def training_forward(network: StackedHourglass, images: torch.Tensor) -> Callable[[], object]:
    """Forward pass of a batch; its activations stay until the next one, as they stay in training until the backward pass."""
    kept: list[object] = []

    def forward() -> None:
        kept[:] = [network.train()(images)]

    return forward


def report_shares() -> None:
    """What grouping adds to the shipped network's forward pass of an image, and the loss to that of a training batch."""
    network, _ = load_network("default")
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.rand(BATCH, 3, NETWORK_PX, NETWORK_PX).contiguous(memory_format=torch.channels_last)
    print(f"\nshare of the network's forward time at {NETWORK_PX} px (bar 5 %)")
    for people in (1, 5, 30):
        scene = crowd(people, NETWORK_PX // 4, 1, 0)
        grouping_step = partial(group, scene.heatmaps, scene.tags, GroupConfig(min_joints=4))
        with torch.inference_mode():
            one, grouped = turn_by_turn([partial(network.eval(), images[:1]), grouping_step], 15)
        batch, loss = turn_by_turn([training_forward(network, images), loss_step(people)], 5)
        loss *= network.config.stacks
        print(f"  {people:2} people: grouping {grouped:.2f} of {one:.0f} ms, loss {loss:.2f} of {batch:.0f} ms a batch: "
              f"together {100 * (grouped / one + loss / batch):.1f} %")  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    print(f"one thread, CPU time; usual: Newell's decoder with munkres {version('munkres')}")
    for scene in SCENES:
        report_scene(*scene)
    report_shares()


if __name__ == "__main__":
    main()
