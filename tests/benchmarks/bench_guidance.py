"""Guidance by the detector on the shipped generator: are the people of a picture where its labels are?

Run: ``python -m tests.benchmarks.bench_guidance --images FOLDER [--out sheet.png]`` where FOLDER holds virtual people nobody
trained on (``posemill draw images``). The same pose maps, captions, seeds and steps, with ControlNet alone and guided; another
network finds the people again than guides. Captured pictures at the same size are the most that can be reached.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.detector import load_detector
from models.diffusion.controlnet import Generator, load_generator
from models.shipped import weights_folder
from models.training_sets import read_labelled
from pipeline.augment import find_again, gates_of
from pipeline.augment_load import SHIPPED, load_guide
from pipeline.captions import describe
from pipeline.conditions import pose_map, square_around
from pipeline.config import AugmentConfig
from pipeline.evaluate import oks_ap
from pipeline.fidelity import area_px2, check_labels
from pipeline.samples import encode_png
from tests.benchmarks.bench_fidelity import usable

Array = NDArray[Any]
BAR = 0.10  # of OKS-AP above ControlNet alone


def subjects(folder: Path, count: int, config: AugmentConfig) -> tuple[Array, list[Array]]:
    """Squares (N, S, S, 3) around single people, and their labels (1, J, 2) in px of the square."""
    squares, labels = [], []
    for photo in read_labelled(folder):
        if usable(photo) and len(photo.people) == 1 and len(squares) < count:
            xy_px = photo.people[0].xy_px[None]
            crop = square_around(xy_px, config.size_px, config.margin)
            if crop is not None:
                squares.append(crop.cut(photo.image()))
                labels.append(crop.to_crop(xy_px))
    return np.stack(squares), labels


def generated(generator: Generator, squares: Array, labels: Sequence[Array], config: AugmentConfig) -> Array:
    """A picture for each of the labels, guided where the configuration says so."""
    size_wh, guide = (config.size_px, config.size_px), load_guide(config)
    made = generator.generate(
        np.stack([pose_map(people, size_wh) for people in labels]),
        [describe(square, people) for square, people in zip(squares, labels, strict=True)],
        list(range(len(labels))),
        config.negative_prompt,
        config.steps,
        config.guidance_scale,
        None if guide is None else guide.aimed_at(labels),
    )
    return made.images


def figures(images: Array, labels: Sequence[Array], detector: Any, config: AugmentConfig) -> tuple[float, float, float]:
    """OKS-AP of the people found again, their mean OKS, and the share of pictures that the label check accepts."""
    found = [find_again(detector, image, config) for image in images]
    gates = gates_of(config)
    checks = [check_labels(people, seen.xy_px, gates, score=seen.score) for people, seen in zip(labels, found, strict=True)]
    rows = []
    for number, people in enumerate(labels):
        low, high = np.nanmin(people[0], 0), np.nanmax(people[0], 0)
        table = np.column_stack([np.nan_to_num(people[0]), 2.0 * np.isfinite(people[0, :, 0])])
        box = {"bbox": [*low.tolist(), *(high - low).tolist()], "area": float(area_px2(people)[0]), "iscrowd": 0}
        rows.append({"id": number + 1, "image_id": number, "keypoints": table.ravel().tolist(), **box})
    truth = {"images": [{"id": number} for number in range(len(labels))], "annotations": rows}
    ap = oks_ap({number: (people.xy_px, people.score) for number, people in enumerate(found)}, truth)["AP"]
    return ap, float(np.mean([check.oks.mean() for check in checks])), float(np.mean([check.accepted for check in checks]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--out", type=Path, help="a sheet of the first pictures: captured, ControlNet alone, guided")
    parser.add_argument("--model", type=Path, default=weights_folder() / SHIPPED, help="another generator")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    detector, generator = load_detector(AugmentConfig().weights, flip=True), load_generator(chosen.model)
    guided = AugmentConfig(size_px=generator.size_px)
    alone = guided.model_copy(update={"detector_guidance": 0.0})
    squares, labels = subjects(chosen.images, chosen.count, guided)
    bands, ap = [squares], {}
    print(
        f"{len(squares)} pictures of {guided.size_px} px; found again by {guided.weights}, guided by {guided.guidance_weights}"
    )
    print("captured: OKS-AP {:.3f}, mean OKS {:.3f}, accepted {:.3f}".format(*figures(squares, labels, detector, guided)))
    for name, config in (("ControlNet alone", alone), (f"guided ({guided.detector_guidance:g})", guided)):
        begin = time.process_time()
        bands.append(generated(generator, squares, labels, config))
        seconds = (time.process_time() - begin) / len(labels)
        ap[name], oks, accepted = figures(bands[-1], labels, detector, config)
        print(f"{name}: OKS-AP {ap[name]:.3f}, mean OKS {oks:.3f}, accepted {accepted:.3f}, {seconds:.2f} CPU s a picture")
    first, second = ap.values()
    print(f"guidance: {second - first:+.3f} OKS-AP (bar +{BAR:.2f})")
    if chosen.out:
        chosen.out.write_bytes(encode_png(np.vstack([np.hstack(list(band[:16])) for band in bands])))


if __name__ == "__main__":
    main()
