"""Stable Diffusion 1.5 with ControlNet at its true size, random weights: loads offline and draws at 512 px; on a GPU how fast.

Run: ``python -m tests.benchmarks.bench_sd15 [--folder FOLDER] [--device cuda]``. Writes 3 GB of random weights below --folder,
and as much again as a single file. On a processor two steps of one picture, ten minutes of two cores; on a GPU a batch of
--pictures in --steps with guidance, beside what the card multiplies in half precision (matrices of 8192), a minute.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from models.diffusion.controlnet import Generator, load_generator
from models.diffusion.networks import build_tokenizer
from models.diffusion.objectives import make_noise_schedule
from tests.benchmarks.pose_maps import PROMPT, maps_of
from tests.models.diffusion.single_file import write_single_file

SIZE_PX, GUIDANCE = 512, 5.0
MATRIX = 8192


def write_full(folder: Path, device: str) -> None:
    """The published sizes: UNet 860 M, ControlNet 361 M, text encoder 123 M, autoencoder 84 M parameters; half precision."""
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.set_default_dtype(torch.float16)
    with torch.device(device):
        unet: Any = diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
        vae: Any = diffusers.AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, sample_size=512,
        )  # fmt: skip
        text = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
        encoder, controlnet = CLIPTextModel(text), diffusers.ControlNetModel.from_unet(unet)
    torch.set_default_dtype(torch.float32)
    pipeline: Any = diffusers.StableDiffusionControlNetPipeline(
        vae=vae, text_encoder=encoder, tokenizer=build_tokenizer([PROMPT], 77), unet=unet, controlnet=controlnet,
        scheduler=make_noise_schedule("epsilon"), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder)


def on_a_processor(generator: Generator, folder: Path) -> None:
    """Two steps of one picture, from the folder and from a single file."""
    begin = time.perf_counter()
    made = generator.generate(maps_of(SIZE_PX, 1), [PROMPT], [0], steps=2).images
    seconds, peak = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"two steps at {SIZE_PX} px with guidance on {torch.get_num_threads()} threads: {seconds:.0f} s, peak memory "
          f"{peak:.1f} GiB, picture {made.shape}, {'finite' if len(made) else 'NaN'}", flush=True)  # fmt: skip
    single = write_single_file(folder, folder.with_suffix(".safetensors"))
    generator, seconds = loaded(single, controlnets=[folder / "controlnet"])
    again = generator.generate(maps_of(SIZE_PX, 1), [PROMPT], [0], steps=2).images
    # Weights that lie elsewhere in memory are summed in another order: floats differ in the sixth digit.
    apart = np.abs(made.astype(int) - again).max()
    print(f"as a single file of {single.stat().st_size / 2**30:.1f} GiB: loaded in {seconds:.0f} s, the picture differs by at "
          f"most {apart} of 255 levels")  # fmt: skip


def loaded(model: Path, **told: Any) -> tuple[Generator, float]:
    """A generator, and how long it took to load."""
    begin = time.perf_counter()
    return load_generator(model, **told), time.perf_counter() - begin


def on_a_gpu(generator: Generator, pictures: int, steps: int) -> None:
    """Pictures a second, and the share of what the card multiplies that their operations are."""

    def draw(count: int) -> int:
        maps, prompts = maps_of(SIZE_PX, count), [PROMPT] * count
        return len(generator.generate(maps, prompts, range(count), steps=steps, guidance_scale=GUIDANCE).images)

    with FlopCounterMode(display=False) as counter:
        draw(1)
    seconds, finite = timed(lambda: draw(pictures))
    each, ceiling = counter.get_total_flops() / 1e12, matrix_tflops(generator.device)
    peak = torch.cuda.max_memory_allocated() / 2**30
    print(f"{torch.cuda.get_device_name()}: {pictures} pictures of {SIZE_PX} px, {steps} steps with guidance, half precision: "
          f"{pictures / seconds:.2f} pictures a second ({finite} finite), peak memory {peak:.1f} GiB")  # fmt: skip
    print(f"{each:.1f} Tflop a picture: {each * pictures / seconds:.0f} Tflop/s of the {ceiling:.0f} that matrices of {MATRIX} "
          f"reach here: {each * pictures / seconds / ceiling:.0%}")  # fmt: skip


def timed(call: Callable[[], int]) -> tuple[float, int]:
    """Seconds of the second of two calls, and what it returned."""
    call()
    torch.cuda.synchronize()
    begin = time.perf_counter()
    result = call()
    torch.cuda.synchronize()
    return time.perf_counter() - begin, result


def matrix_tflops(device: str) -> float:
    """What the card reaches on a product of random matrices in half precision."""
    a, b = (torch.randn(MATRIX, MATRIX, device=device, dtype=torch.float16) for _ in range(2))

    def multiply() -> int:
        for _ in range(20):
            a @ b
        return 20

    seconds, count = timed(multiply)
    return 2 * MATRIX**3 * count / seconds / 1e12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "sd15-random")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--pictures", type=int, default=16, help="at once on a GPU")
    parser.add_argument("--steps", type=int, default=20, help="of a picture on a GPU")
    chosen = parser.parse_args()
    if not (chosen.folder / "model_index.json").is_file():
        write_full(chosen.folder, chosen.device)
    generator, seconds = loaded(chosen.folder, device=chosen.device)
    gib = sum(file.stat().st_size for file in chosen.folder.rglob("*") if file.is_file()) / 2**30
    print(f"loaded in {seconds:.0f} s, {gib:.1f} GiB of files", flush=True)
    if chosen.device == "cpu":
        on_a_processor(generator, chosen.folder)
    else:
        on_a_gpu(generator, chosen.pictures, chosen.steps)


if __name__ == "__main__":
    main()
