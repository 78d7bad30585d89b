"""The label check on pictures whose labels hold and on pictures whose labels were broken on purpose.

Run: ``python -m tests.benchmarks.bench_fidelity --images FOLDER`` where FOLDER holds virtual people nobody trained on
(``posemill draw images FOLDER 2000 --seed 901 --wardrobe WARDROBE``). Pictures of one or two people are taken of whom at least
eight joints are in the picture; half of them are left as they are, the others are shifted, mirrored, short of a person, given
one more, or have limbs exchanged, in turn. Thresholds are chosen on the first half of both and judged on the second.
"""

from __future__ import annotations

import argparse
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.detector import load_detector
from models.photos import Photo
from models.training_sets import read_labelled
from pipeline.augment import find_again, gates_of
from pipeline.config import AugmentConfig
from pipeline.fidelity import Gates, check_labels
from pipeline.types import Poses2D
from tests.benchmarks.corruptions import CORRUPTIONS, Picture

Array = NDArray[Any]
PRECISION, RECALL = 0.95, 0.90
MIN_JOINTS, MOST_PEOPLE = 8, 2


@dataclass(frozen=True, eq=False)
class Case:
    """kind: "clean" or the corruption; labels (P, J, 2) in px, and what was found."""

    kind: str
    labels: Array
    found: Poses2D

    def accepted(self, gates: Gates) -> bool:
        """Whether the label check takes it."""
        return check_labels(self.labels, self.found.xy_px, gates, score=self.found.score).accepted


def usable(photo: Photo) -> bool:
    """Whether everybody in the picture could be found again: few people, none of them hardly there."""
    seen = [person.labelled.sum() for person in photo.people]
    return 0 < len(seen) <= MOST_PEOPLE and min(seen) >= MIN_JOINTS and not len(photo.ignore_boxes)


def pictures(photos: Sequence[Photo]) -> list[Picture]:
    """Pixels and labels of the usable photos."""
    return [(photo.image(), np.stack([person.xy_px for person in photo.people])) for photo in photos if usable(photo)]


def cases(kept: Sequence[Picture], count: int, detector: Any, config: AugmentConfig) -> list[Case]:
    """`count` clean and `count` corrupted pictures with the people found in them; no picture is both."""
    rng, made = np.random.default_rng(0), []
    for image, labels in kept[:count]:
        made.append(Case("clean", labels, find_again(detector, image, config)))
    kinds, rest = itertools.cycle(CORRUPTIONS), list(kept[count:])
    kind = next(kinds)
    for number, picture in enumerate(rest):
        if len(made) == 2 * count:
            break
        broken = CORRUPTIONS[kind](picture, rest[number - 1], rng)
        if broken is not None:
            made.append(Case(kind, broken[1], find_again(detector, broken[0], config)))
            kind = next(kinds)
    return made


def rates(some: Sequence[Case], gates: Gates) -> tuple[float, float]:
    """Of what is accepted, the share that is clean; of what is clean, the share that is accepted."""
    accepted = np.array([case.accepted(gates) for case in some])
    clean = np.array([case.kind == "clean" for case in some])
    return float(clean[accepted].mean()) if accepted.any() else 1.0, float(accepted[clean].mean())


def best_gates(some: Sequence[Case]) -> Gates:
    """The thresholds with the highest recall among those that reach the precision, or else the most precise ones."""
    grid = itertools.product(
        (0.4, 0.45, 0.5, 0.6, 0.7), (0.05, 0.1), (0.1, 0.125, 0.15, 0.2, 0.25), (0.4, 0.5, 0.6, 0.7, 0.75, 0.8)
    )
    tried = [(rates(some, gates), gates) for gates in (Gates(*values) for values in grid)]
    return max(tried, key=lambda one: (min(one[0][0], PRECISION), one[0][1]))[1]


def report(name: str, some: Sequence[Case], gates: Gates) -> None:
    """Precision and recall, and what was accepted of each kind."""
    precision, recall = rates(some, gates)
    print(f"{name}: {gates}: precision {precision:.3f} (bar {PRECISION}), recall {recall:.3f} (bar {RECALL})")
    total = Counter(case.kind for case in some)
    taken = Counter(case.kind for case in some if case.accepted(gates))
    print("  accepted: " + ", ".join(f"{kind} {taken[kind]} of {count}" for kind, count in total.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--size", type=int, help="side at which the detector looks; default: augment.check_size_px")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    config = AugmentConfig()
    detector = load_detector(config.weights, flip=True, size_px=chosen.size or config.check_size_px)
    made = cases(pictures(read_labelled(chosen.images)), chosen.count, detector, config)
    halves = [[case for k, case in enumerate(made) if k % 2 == half] for half in (0, 1)]
    report("thresholds of augment, all", made, gates_of(config))
    report("chosen on the first half, second half", halves[1], best_gates(halves[0]))


if __name__ == "__main__":
    main()
