"""The generator beside plain diffusers, its ControlNet at the start, and its samplers against each other.

Run: ``python -m tests.benchmarks.bench_generator [overhead|zero|judge|samplers ...]``; the first two without a word. judge
says how well people are found again in pictures under the poses of --portraits that were kept out of training. samplers
takes half an hour (DDPM asks for a thousand steps a picture). Times are CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.detector import load_detector, load_network
from models.diffusion.controlnet import Generator, load_generator
from models.diffusion.networks import build_networks, build_tokenizer
from models.shipped import weights_folder
from pipeline.augment import check_image
from pipeline.augment_load import SHIPPED
from pipeline.conditions import pose_map
from pipeline.config import AugmentConfig
from pipeline.generator_data import read_examples
from pipeline.generator_judge import generate_examples, judge_images, sheet
from pipeline.samples import encode_png
from tests.benchmarks.pose_maps import PROMPT, maps_of
from tests.models.diffusion.mixture import sliced_w1
from tests.models.diffusion.tiny import CAPTIONS, TINY
from tests.pipeline.test_conditions import standing

COUNT, STEPS, SCALE = 8, 20, 2.0
OVERHEAD, FASTER = 0.03, 20
DETECTOR_PX = 128  # a multiple of what the hourglass halves


def bare(pipeline: Any, maps: NDArray[np.uint8], seeds: list[int]) -> tuple[list[Tensor], list[Tensor]]:
    """What somebody with diffusers alone would write: latents (1, c, h, w) and pictures (1, 3, S, S)."""
    latents, pictures = [], []
    for condition, seed in zip(maps, seeds, strict=True):
        image = torch.from_numpy(condition[None]).movedim(-1, 1).float() / 255
        draw = [torch.Generator().manual_seed(seed)]
        told = {"num_inference_steps": STEPS, "guidance_scale": SCALE, "output_type": "latent"}
        latents.append(pipeline([PROMPT], image=image, negative_prompt=[""], generator=draw, **told).images)
        with torch.no_grad():
            pictures.append(pipeline.vae.decode(latents[-1] / pipeline.vae.config.scaling_factor).sample)
    return latents, pictures


def overhead(generator: Generator) -> None:
    """Turn by turn, so that a neighbour's load falls on both."""
    maps, seeds = maps_of(generator.size_px, COUNT), list(range(COUNT))
    kept: list[Tensor] = []
    decode = Generator._decode
    Generator._decode = lambda self, latents, order: kept.extend(latents) or decode(self, latents, order)  # type: ignore[method-assign]
    ours, theirs = [], []
    for _ in range(3):
        kept.clear()
        begin = time.process_time()
        generator.generate(maps, [PROMPT] * COUNT, seeds, "", STEPS, SCALE)
        ours.append(time.process_time() - begin)
        begin = time.process_time()
        latents, _ = bare(generator.pipeline, maps, seeds)
        theirs.append(time.process_time() - begin)
    Generator._decode = decode  # type: ignore[method-assign]
    same = all(torch.equal(a, b) for a, b in zip(torch.cat(kept), torch.cat(latents), strict=True))
    a, b = min(ours), min(theirs)
    print(f"generate {a / COUNT:.3f} s, a bare loop {b / COUNT:.3f} s a picture: {a / b - 1:+.1%} (bar {OVERHEAD:.0%}); "
          f"latents {'equal bit for bit' if same else 'DIFFER'}")  # fmt: skip
    rest(generator, b / COUNT)


def rest(generator: Generator, seconds: float) -> None:
    """What the stage does beside generating, a picture."""
    config = AugmentConfig(size_px=generator.size_px)
    detector = load_detector(config.weights, flip=True)
    labels = standing(64) / 128 * generator.size_px
    image = np.random.default_rng(0).integers(0, 256, (generator.size_px, generator.size_px, 3), dtype=np.uint8)
    parts = {
        "pose map": lambda: pose_map(labels, (generator.size_px,) * 2),
        "label check": lambda: check_image(labels, image, detector, config),
        "PNG": lambda: encode_png(image),
    }
    for name, call in parts.items():
        call()
        begin = time.process_time()
        for _ in range(5):
            call()
        each = (time.process_time() - begin) / 5
        print(f"  {name:12} {1000 * each:7.1f} ms: {each / seconds:.1%} of such a picture's bare loop")


def zero() -> None:
    """A ControlNet that has learnt nothing changes nothing."""
    networks = build_networks(replace(TINY, size_px=64), build_tokenizer(CAPTIONS, TINY.max_tokens))
    draw = torch.Generator().manual_seed(0)
    x, text = torch.randn((2, 8, 32, 32), generator=draw), torch.randn((2, 12, TINY.text_width), generator=draw)
    times, maps = torch.tensor([10, 900]), torch.rand((2, 3, 64, 64), generator=draw)
    with torch.no_grad():
        down, mid = networks.controlnet(x, times, text, maps, return_dict=False)
        extra = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
        same = torch.equal(networks.unet(x, times, text, **extra).sample, networks.unet(x, times, text).sample)
    print(f"zero convolutions at the start: output {'equal to' if same else 'DIFFERS from'} the base model's, bit for bit")


def judge(generator: Generator, portraits: Path, kept_out: int, count: int, out: Path | None) -> None:
    """The first crops that training never saw, without guidance by a detector; by the next crop's pose for chance."""
    examples = read_examples(portraits, generator.size_px, held_out=-kept_out)[:count]
    config = AugmentConfig(size_px=generator.size_px)
    images, kept = generate_examples(generator, examples, config)
    detector = load_detector(config.weights, flip=True)
    for name, shown, poses in (
        ("generated", list(images), kept), ("generated, judged by the next pose", list(images), [*kept[1:], kept[0]]),
        ("drawn", [example.image for example in kept], kept),
    ):  # fmt: skip
        print(f"{name}: {judge_images(shown, poses, detector, config).figures()}", flush=True)
    if out is not None:
        out.write_bytes(sheet(kept, images, 12))


def samplers(count: int) -> None:
    """DDIM in 50 steps against DDPM in 1,000 on the shipped net, by what the detector sees in their pictures."""
    features, found, seconds = load_network("studio")[0].eval(), {}, {}
    for name, scheduler, steps, first in (("DDPM", "ddpm", 1000, 0), ("DDIM", "ddim", 50, 0), ("DDIM again", "ddim", 50, 1000)):
        generator = load_generator(weights_folder() / SHIPPED, scheduler=scheduler)
        begin = time.process_time()
        maps = maps_of(generator.size_px, count)
        made = generator.generate(maps, [PROMPT] * count, range(first, first + count), "", steps, 1.0).images
        seconds[name] = (time.process_time() - begin) / count
        with torch.no_grad():
            images = torch.from_numpy(made).movedim(-1, 1).float() / 255
            seen = features(torch.nn.functional.interpolate(images, (DETECTOR_PX, DETECTOR_PX), mode="bilinear"))[-1][0]
        found[name] = seen.movedim(1, -1).flatten(0, 2)
    slow, fast = seconds["DDPM"], seconds["DDIM"]
    print(f"{count} pictures each, no guidance: DDPM 1000 steps {slow:.1f} s, DDIM 50 steps {fast:.2f} s a picture: "
          f"{slow / fast:.0f} times faster (bar {FASTER})")  # fmt: skip
    between, band = sliced_w1(found["DDPM"], found["DDIM"]), sliced_w1(found["DDIM"], found["DDIM again"])
    print(f"proxy of FID, sliced Wasserstein-1 of the detector's heatmaps: DDIM to DDPM {between:.5f}, "
          f"DDIM to DDIM with other seeds {band:.5f}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="overhead|zero|judge|samplers")
    parser.add_argument("--pictures", type=int, default=16, help="of each sampler, or to judge")
    parser.add_argument("--portraits", type=Path, default=Path("portraits"), help="what the generator was trained on")
    parser.add_argument("--held-out", type=int, default=200, help="so many of their last pictures were kept out")
    parser.add_argument("--out", type=Path, help="a sheet of what was judged")
    chosen = parser.parse_args()
    parts = chosen.parts or ["overhead", "zero"]
    torch.set_num_threads(1)
    if "overhead" in parts:
        overhead(load_generator(weights_folder() / SHIPPED))
    if "zero" in parts:
        zero()
    if "judge" in parts:
        generator = load_generator(weights_folder() / SHIPPED)
        judge(generator, chosen.portraits, chosen.held_out, chosen.pictures, chosen.out)
    if "samplers" in parts:
        samplers(chosen.pictures)


if __name__ == "__main__":
    main()
