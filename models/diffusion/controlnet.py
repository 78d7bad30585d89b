"""Images under pose maps: diffusers' StableDiffusionControlNetPipeline from a local folder, one seed per image."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.diffusion.base import load_controlnet
from models.diffusion.digest import folder_digest
from models.diffusion.folder import check_pipeline, pipeline_variant
from models.diffusion.guidance import Guided
from models.diffusion.networks import quiet_libraries
from models.diffusion.schedulers import GUIDABLE, make_scheduler, sampler_name

SMALL_PARAMETERS = 100_000_000  # networks below this gain nothing from more threads
DECODER_MAPS = 8  # feature maps of full size that an autoencoder's decoder holds at once, about


@dataclass(frozen=True, eq=False)
class Generated:
    """images RGB uint8 (N, H, W, 3); index (N,) the request each answers; dropped_seeds: of images whose latents were NaN."""

    images: NDArray[np.uint8]
    index: NDArray[np.int64]
    dropped_seeds: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Generator:
    """A loaded pipeline. name: of its folder; digest: of its files; size_px: the image side it was trained for."""

    pipeline: Any
    name: str
    digest: str
    size_px: int
    device: str

    @property
    def stride_px(self) -> int:
        """Image sides must be multiples of this: autoencoder and UNet both halve."""
        return int(self.pipeline.vae_scale_factor * 2 ** (len(self.pipeline.unet.config.block_out_channels) - 1))

    def generate(
        self,
        conditions: NDArray[np.uint8],
        prompts: Sequence[str],
        seeds: Sequence[int],
        negative_prompt: str = "",
        steps: int = 20,
        guidance_scale: float = 5.0,
        guided: Guided | None = None,
    ) -> Generated:
        """Pose maps RGB uint8 (B, H, W, 3), B prompts and B seeds -> images of the same size.

        guided: a detector that draws people to their labels on the way, which needs a sampler of GUIDABLE and square images.

        Each image has a random generator of its own, so it can be made again alone. An image whose latents are not finite is
        dropped and its seed named. Raises ValueError on shapes that do not fit.
        """
        self._check(conditions, prompts, seeds)
        chunk = chunk_size(self.pipeline, conditions.shape[1:3], self.device)
        parts = [slice(i, i + chunk) for i in range(0, len(seeds), chunk)]
        told = {"num_inference_steps": steps, "guidance_scale": guidance_scale}
        if guided is not None:
            self._check_guided(guided, conditions)
        with _threads(self.pipeline, self.device):
            latents = [self._latents(conditions, prompts, seeds, p, negative_prompt, told, guided) for p in parts]
            return self._decode(latents, seeds, conditions.shape)

    def _check(self, conditions: NDArray[np.uint8], prompts: Sequence[str], seeds: Sequence[int]) -> None:
        if conditions.ndim != 4 or conditions.shape[-1] != 3 or conditions.dtype != np.uint8:
            raise ValueError(f"generate: expected pose maps uint8 (B, H, W, 3), got {conditions.dtype} {conditions.shape}")
        if not len(conditions) == len(prompts) == len(seeds):
            raise ValueError(f"generate: {len(conditions)} pose maps, {len(prompts)} prompts and {len(seeds)} seeds must agree")
        if any(side % self.stride_px for side in conditions.shape[1:3]):
            raise ValueError(
                f"generate: sides must be multiples of {self.stride_px} px for {self.name}, got {conditions.shape[1:3]}"
            )

    def _check_guided(self, guided: Guided, conditions: NDArray[np.uint8]) -> None:
        sampler, (height, width) = sampler_name(self.pipeline.scheduler), conditions.shape[1:3]
        if sampler not in GUIDABLE or height != width or len(guided.labels_px) != len(conditions):
            raise ValueError(
                f"generate: guidance by the detector needs the sampler {' or '.join(GUIDABLE)}, square images and labels for "
                f"each, got {sampler}, {width}x{height} px and labels of {len(guided.labels_px)} for {len(conditions)} images"
            )

    def _latents(
        self,
        conditions: NDArray[np.uint8],
        prompts: Sequence[str],
        seeds: Sequence[int],
        part: slice,
        negative: str,
        told: dict[str, Any],
        guided: Guided | None,
    ) -> Tensor:
        """Sampled latents (B, c, h, w) of a part of the images; halves it and tries again when the device's memory is full."""
        image = torch.from_numpy(np.ascontiguousarray(conditions[part])).movedim(-1, 1).float() / 255
        callback = {} if guided is None else {"callback_on_step_end": guided.callback(part, conditions.shape[1])}
        try:
            return self.pipeline(
                list(prompts[part]),
                image=image.to(self.device, self.pipeline.unet.dtype),
                negative_prompt=[negative] * len(image),
                generator=[torch.Generator("cpu").manual_seed(int(seed)) for seed in seeds[part]],
                output_type="latent",
                **told,
                **callback,
            ).images
        except torch.OutOfMemoryError:
            if len(image) == 1:
                raise
            logging.getLogger(__name__).warning("%s: out of memory with %d images at once; halving", self.name, len(image))
            torch.cuda.empty_cache()
            middle = part.start + len(image) // 2
            halves = (slice(part.start, middle), slice(middle, part.start + len(image)))
            return torch.cat([self._latents(conditions, prompts, seeds, half, negative, told, guided) for half in halves])

    @torch.no_grad()
    def _decode(self, latents: list[Tensor], seeds: Sequence[int], shape: tuple[int, ...]) -> Generated:
        """Latents to pixels, one image at a time; those that are not finite are left out."""
        images, kept, dropped = [np.zeros((0, *shape[1:]), np.uint8)], [], []
        vae = self.pipeline.vae
        for number, latent in enumerate(one for chunk in latents for one in chunk):
            pixels = vae.decode(latent[None] / vae.config.scaling_factor).sample if latent.isfinite().all() else latent
            if not pixels.isfinite().all():
                dropped.append(int(seeds[number]))
                continue
            unit = (pixels.float() / 2 + 0.5).clamp(0, 1)
            images.append((unit * 255).round().byte().movedim(1, -1).cpu().numpy())
            kept.append(number)
        return Generated(np.concatenate(images), np.array(kept, dtype=np.int64), tuple(dropped))


def load_generator(folder: str | Path, device: str = "cpu", controlnet: str | Path = "", scheduler: str = "ddim") -> Generator:
    """Load a diffusers folder (a ControlNet pipeline; or a plain one and a `controlnet` folder) without touching the network.

    Only safetensors are read. scheduler: one of SCHEDULERS. Raises WeightsError naming the file that is missing, half there, of
    another layout or of another base.
    """
    from diffusers import StableDiffusionControlNetPipeline

    folder, extra = Path(folder), Path(controlnet) if controlnet else None
    check_pipeline(folder, extra)
    settings: dict[str, Any] = {
        "local_files_only": True,
        "use_safetensors": True,
        "dtype": torch.float32 if device == "cpu" else torch.float16,
        # The checker blanks whole images that it takes for nudity, people in sports clothes among them; prompts and poses are
        # the user's own here, and every image is checked against its labels afterwards.
        "safety_checker": None,
        "requires_safety_checker": False,
        "feature_extractor": None,
        "image_encoder": None,
        "variant": pipeline_variant(folder),
    }
    with quiet_libraries():
        if extra is not None:
            settings["controlnet"] = load_controlnet(extra, dtype=settings["dtype"])
        pipeline: Any = StableDiffusionControlNetPipeline.from_pretrained(folder, **settings).to(device)
        pipeline.scheduler = make_scheduler(scheduler, pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    digest = folder_digest(folder) if extra is None else folder_digest(folder) + folder_digest(extra)
    size_px = int(pipeline.unet.config.sample_size) * pipeline.vae_scale_factor
    return Generator(pipeline, folder.resolve().name, digest, size_px, device)


def chunk_size(pipeline: Any, shape_hw: tuple[int, ...], device: str) -> int:
    """How many images at once. On a processor one: batching gains little there, and results do not depend on free memory.

    On a GPU as many as fit in half of its free memory, by the decoder's feature maps, which are the largest.
    """
    if not device.startswith("cuda"):
        return 1
    free_bytes, _ = torch.cuda.mem_get_info(device)
    each = DECODER_MAPS * 2 * max(pipeline.vae.config.block_out_channels) * shape_hw[0] * shape_hw[1] * 2
    return int(max(1, min(64, free_bytes // 2 // each)))


@contextmanager
def _threads(pipeline: Any, device: str) -> Iterator[None]:
    """One thread for small networks on a processor: as fast, and sums are taken in the same order on every machine size."""
    small = sum(p.numel() for p in pipeline.unet.parameters()) < SMALL_PARAMETERS
    before = torch.get_num_threads()
    if device == "cpu" and small:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
