"""What mosaics, synthetic people, stacks and tag dimensions are worth to the detector: equal steps, several seeds, one table.

Run: ``python -m tests.benchmarks.ablation_detector --data DATA --out runs/ablation`` where DATA holds the photo sets
stanford40_pose, lspet_train and lspet_dev. The virtual sets are drawn first. Every run goes on where it was stopped and a
finished one is not made again, so the command may be killed and repeated; the Markdown table comes at the end.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from models.detector import Detector, load_detector
from models.detector_data import ViewConfig
from models.hourglass import STEM_STRIDE, HourglassConfig
from models.letterbox import Letterbox
from models.photos import Person, Source, read_photos
from models.train_config import TrainConfig
from models.train_detector import train
from pipeline.evaluate import oks_ap
from pipeline.evaluate_detector import evaluate_detector

Array = NDArray[Any]

PASTE = 0.3
VARIANTS = (
    "base", "without mosaics", "without pasting", "without synthetic people", "1 stack", "tags of 2 dimensions",
)  # fmt: skip
FIGURES = {
    "pck": "PCK@0.2, lspet_dev",
    "oks_ap": "OKS-AP, virtual scenes of several",
    "tags": "joints nearest to their own person's tag",
}


@dataclass(frozen=True)
class Sets:
    """Folders that the runs read: photos and virtual people to train on, cut-outs to paste, and what nobody trains on."""

    photos: tuple[Source, ...]
    photos_dev: Path
    virtual: Path
    virtual_dev: Path
    cutouts: Path


def made_sets(data: Path, out: Path, images: int, wardrobe: Path | None) -> Sets:
    """Draw the virtual sets that are not there yet; people of different seeds are different people."""
    from pipeline.studio_coco import write_cutouts, write_training_images

    sets = Sets(
        (Source(str(data / "stanford40_pose"), 0.6, 0.4, 0.1), Source(str(data / "lspet_train"), 0.4, 0.4, 0.1)),
        data / "lspet_dev", out / "virtual", out / "virtual_dev", out / "cutouts",
    )  # fmt: skip
    for folder, draw, count, seed in (
        (sets.virtual, write_training_images, images, 1),
        (sets.virtual_dev, write_training_images, max(images // 10, 8), 2),
        (sets.cutouts, write_cutouts, max(images // 4, 8), 3),
    ):
        if not (folder / "annotations.json").is_file():
            draw(folder, count, seed, wardrobe)
    return sets


def configured(variant: str, seed: int, sets: Sets, out: Path, options: argparse.Namespace) -> TrainConfig:
    """The base has everything; each variant leaves one thing out, or changes one."""
    base = TrainConfig(
        out=str(out), sources=(*sets.photos, Source(str(sets.virtual), 0.2, 1, 1)), cutouts=str(sets.cutouts), seed=seed,
        network=HourglassConfig(channels=options.channels), view=ViewConfig(size_px=options.size, paste=PASTE),
        steps=options.steps, batch=options.batch, learning_rate=5e-3, decay=0.5, warmup=options.steps // 20,
        validate_every=10 * options.steps, ema=1 - min(0.1, 20 / options.steps),
        tag_weight=5e-3, tag_ramp=(options.steps // 10, options.steps // 4),
    )  # fmt: skip
    unpasted = replace(base, cutouts=None, view=replace(base.view, paste=0.0))
    return {
        "base": base,
        "without mosaics": replace(base, view=replace(base.view, mosaic=0.0)),
        "without pasting": unpasted,
        "without synthetic people": replace(unpasted, sources=sets.photos),
        "1 stack": replace(base, network=replace(base.network, stacks=1)),
        "tags of 2 dimensions": replace(base, network=replace(base.network, tag_dims=2)),
    }[variant]


def run(variant: str, seed: int, sets: Sets, options: argparse.Namespace) -> dict[str, float]:
    """Train and measure; or the figures of the run that was finished before with the same steps."""
    out = options.out / f"{variant.replace(' ', '-')}-{seed}"
    done = out / "figures.json"
    if done.exists() and (found := json.loads(done.read_text()))["steps"] == options.steps:
        return dict(found["figures"])
    print(f"--- {variant}, seed {seed}", flush=True)
    weights = train(configured(variant, seed, sets, out, options), lambda text: print(text, flush=True))
    detector = load_detector(weights, size_px=options.size)
    if detector.about["step"] < options.steps:
        sys.exit(f"stopped at step {detector.about['step']} of {variant}, seed {seed}: run the same command to go on")
    figures = measured(detector, sets)
    done.write_text(json.dumps({"steps": options.steps, "figures": figures}))
    return figures


def measured(detector: Detector, sets: Sets) -> dict[str, float]:
    """PCK on whole photos; OKS-AP, and how well tags tell people apart, on virtual scenes of two or more."""
    scenes = [photo for photo in read_photos(sets.virtual_dev) if len(photo.people) > 1]
    images = [photo.image() for photo in scenes]
    found = {k: detector.detect(image[None])[0][:2] for k, image in enumerate(images)}
    right = [tags_right(tags_at(detector, image, p.people), known(p.people)) for image, p in zip(images, scenes, strict=True)]
    names = {photo.file_name: k for k, photo in enumerate(scenes)}
    return {
        "pck": evaluate_detector(detector, sets.photos_dev).pck,
        "oks_ap": oks_ap(found, truth_of(sets.virtual_dev, names))["AP"],
        "tags": float(np.concatenate(right).mean()),
    }


def truth_of(folder: Path, names: dict[str, int]) -> dict[str, Any]:
    """The COCO annotations of some images, numbered as they are here."""
    content = json.loads((folder / "annotations.json").read_text())
    number = {image["id"]: names[image["file_name"]] for image in content["images"] if image["file_name"] in names}
    images = [{**image, "id": number[image["id"]]} for image in content["images"] if image["id"] in number]
    people = [{**a, "image_id": number[a["image_id"]]} for a in content["annotations"] if a["image_id"] in number]
    return {**content, "images": images, "annotations": people}


def known(people: Sequence[Person]) -> Array:
    """(P, J) which joints are labelled."""
    return np.stack([person.labelled for person in people])


def tags_at(detector: Detector, image: Array, people: Sequence[Person]) -> Array:
    """(P, J, K) the tags at the true joints: what grouping has to work with, whatever the heatmaps are worth."""
    height, width = image.shape[:2]
    box = Letterbox.fit((width, height), detector.size_px, detector.network.config.stride_px)
    tags = detector.maps(box.apply(image)[None])[1][0]
    share = np.array(box.resized_wh) / (width, height) / STEM_STRIDE
    xy = np.nan_to_num((np.stack([p.xy_px for p in people]) + 0.5) * share - 0.5).round().astype(int)
    xy = xy.clip(0, np.array(tags.shape[2:0:-1]) - 1)
    return np.asarray(tags[np.arange(tags.shape[0]), xy[..., 1], xy[..., 0]])


def tags_right(tags: Array, seen: Array) -> Array:
    """(n,) of each labelled joint of tags (P, J, K): whether its own person's mean, taken without it, is the nearest of all."""
    weight = seen[..., None].astype(float)
    total, count = (tags * weight).sum(1), seen.sum(1).astype(float)
    right = []
    for person, joint in np.argwhere(seen & (count > 1)[:, None]):
        others_total, others_count = total.copy(), count.copy()
        others_total[person] -= tags[person, joint]
        others_count[person] -= 1
        means = others_total / np.maximum(others_count, 1)[:, None]
        distance = np.where(others_count > 0, np.linalg.norm(means - tags[person, joint], axis=-1), np.inf)
        right.append(distance[person] < np.delete(distance, person).min())
    return np.array(right)


def table(figures: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> str:
    """Markdown: mean and standard deviation over the seeds."""
    seeds = min(len(runs) for runs in figures.values())
    title = f"{seeds} seeds, {options.steps} steps of {options.batch} views of {options.size} px"
    lines = [f"{title}, {options.channels} channels: mean ± standard deviation over the seeds", ""]
    lines += ["| variant | " + " | ".join(FIGURES.values()) + " |", "|---|" + "---|" * len(FIGURES)]
    for variant, runs in figures.items():
        values = [np.array([run[name] for run in runs]) for name in FIGURES]
        cells = [f"{v.mean():.3f} ± {v.std(ddof=1) if len(v) > 1 else 0:.3f}" for v in values]
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the photo sets")
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--wardrobe", type=Path, help="clothes of the virtual people; painted ones without it")
    parser.add_argument("--only", nargs="*", default=list(VARIANTS), choices=VARIANTS)
    for name, value in (("seeds", 3), ("steps", 5000), ("batch", 16), ("size", 128), ("channels", 64), ("images", 4000)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    sets = made_sets(options.data, options.out, options.images, options.wardrobe)
    # Seed by seed: after the first round the table has every row already.
    figures: dict[str, list[dict[str, float]]] = {variant: [] for variant in options.only}
    for seed in range(options.seeds):
        for variant in options.only:
            figures[variant].append(run(variant, seed, sets, options))
        text = table(figures, options)
        (options.out / "table.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
