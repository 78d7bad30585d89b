"""Training images of the virtual studio: images of 256 px per second and core, and where the time goes.

Run: ``LP_NUM_THREADS=1 python -m tests.benchmarks.bench_studio [--wardrobe DIR] [--photos DIR] [--images N]``. CPU time of the
whole process, Mesa's threads included, after one set of people that warms up. The plain studio beside it draws the same images
with every triangle, a device for every cast, and visibility and normals in plain numpy.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from itertools import chain
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np

from pipeline import render, studio_images, studio_people
from pipeline.samples import encode_jpeg
from pipeline.studio_coco import jpeg_quality
from pipeline.studio_images import IMAGES_PER_CAST, Labelled, training_images
from tests.benchmarks import peer_studio

SEED, BAR = 3, 7.0
# What is timed: where its name is looked up, the name, and the row it counts for. Inner ones are taken off outer ones.
PARTS: tuple[tuple[Any, str, str], ...] = (
    (studio_images, "make_actor", "people, garments"), (studio_images, "_pose", "posing, skinning"),
    (studio_people.Actor, "posed", "posing, skinning"), (studio_people, "vertex_normals", "normals"),
    (studio_images, "seen", "visibility"), (studio_images, "_box", "boxes"), (studio_images, "_indoors", "room"),
    (studio_images, "_shadow_floor", "room"), (render.Renderer, "upload", "upload"),
    (render.Renderer, "shine", "shadow + draw"), (render.Renderer, "draw", "shadow + draw"),
    (studio_images, "background", "backdrop"), (studio_images, "spoiled", "spoil"),
)  # fmt: skip


class Stopwatch:
    """CPU seconds by row."""

    def __init__(self) -> None:
        self.total: dict[str, float] = defaultdict(float)
        self._inner = [0.0]

    @contextmanager
    def watch(self, row: str) -> Iterator[None]:
        begin = time.process_time()
        self._inner.append(0.0)
        yield
        spent = time.process_time() - begin
        self.total[row] += spent - self._inner.pop()
        self._inner[-1] += spent

    def wrap(self, function: Callable[..., Any], row: str) -> Callable[..., Any]:
        def timed(*args: Any, **named: Any) -> Any:
            with self.watch(row):
                return function(*args, **named)

        return timed


def plain(stack: ExitStack) -> None:
    """Every triangle, no faster visibility or normals."""
    stack.enter_context(patch.object(studio_images, "CELL_M", 0.0))
    stack.enter_context(patch.object(studio_images, "SHADOW_PX", 1024))
    stack.enter_context(patch.object(studio_images, "seen", peer_studio.seen))
    stack.enter_context(patch.object(studio_people, "vertex_normals", peer_studio.vertex_normals))


def drawn(watch: Stopwatch, images: Iterator[Labelled], first: int, count: int) -> list[Labelled]:
    """The next `count` images, encoded, timed."""
    out = []
    with ExitStack() as stack:
        for owner, name, row in PARTS:
            stack.enter_context(patch.object(owner, name, watch.wrap(getattr(owner, name), row)))
        with watch.watch("rest"):
            for number in range(first, first + count):
                out.append(next(images))
                with watch.watch("JPEG"):
                    encode_jpeg(out[-1].image, jpeg_quality(SEED, number))
    return out


def main() -> None:
    asked = argparse.ArgumentParser()
    for name in ("--wardrobe", "--photos"):
        asked.add_argument(name, default=None)
    asked.add_argument("--images", type=int, default=48)
    given = asked.parse_args()
    cv2.setNumThreads(1)
    warm, count = IMAGES_PER_CAST, given.images
    watches, sets = (Stopwatch(), Stopwatch()), []
    for watch, size in zip(watches, (warm + count, IMAGES_PER_CAST), strict=True):
        with ExitStack() as stack:
            for name in ("load_wardrobe", "background_photos"):  # read once, whoever asks
                stack.enter_context(patch.object(studio_images, name, lru_cache(getattr(studio_images, name))))
            if watch is watches[1]:
                plain(stack)
            # Two devices at a time would draw onto each other, so one studio has done when the other begins.
            starts = range(0, warm + count, size)
            images = chain.from_iterable(training_images(size, SEED, given.wardrobe, given.photos, k) for k in starts)
            drawn(watch, images, 0, warm)
            watch.total.clear()
            sets.append(drawn(watch, images, warm, count))
    pairs = list(zip(*sets, strict=True))
    differ = sum(int((a.flags != b.flags).sum()) for a, b in pairs)
    joints = all(np.array_equal(a.xy_px, b.xy_px) for a, b in pairs)
    report(*watches, count)
    print(f"joints equal: {joints}; visibility flags that differ: {differ} of {sum(a.flags.size for a, _ in pairs)}   (bar 0)")


def report(ours: Stopwatch, slow: Stopwatch, images: int) -> None:
    print(f"{images} images of 256 px, LP_NUM_THREADS={os.environ.get('LP_NUM_THREADS', 'unset')}, CPU ms per image")
    for row in sorted(ours.total, key=lambda row: -ours.total[row]):
        print(f"{row:18} ours {ours.total[row] / images * 1e3:7.1f}   plain {slow.total[row] / images * 1e3:7.1f}")
    rates = [images / sum(watch.total.values()) for watch in (ours, slow)]
    print(f"images per CPU s   ours {rates[0]:7.2f}   plain {rates[1]:7.2f}   (bar {BAR:g})")


if __name__ == "__main__":
    main()
